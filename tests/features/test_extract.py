"""Images to features: the bits of an image's features are the image's alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from swag_ray.features.backbone import Backbone, build_backbone
from swag_ray.features.extract import BATCH, ahead
from tests.features.inputs import SIZE, STRIDES, bits, image, rows


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_float16_on_one_grid_of_every_stride(backbone: Backbone) -> None:
    (row,) = rows(backbone, [image(1)])
    shapes = {stride: (f.shape, f.dtype) for stride, f in row["features"].items()}
    assert shapes == {s: ((64, c), np.float16) for s, c in zip(STRIDES, (40, 112, 320), strict=True)}
    assert all(np.isfinite(f).all() and f.astype(np.float32).std() > 0 for f in row["features"].values())


def test_bits_do_not_depend_on_neighbours_or_position(backbone: Backbone) -> None:
    images = [image(i) for i in range(BATCH + 5)]
    straight = rows(backbone, images)
    backward = rows(backbone, images[::-1])[::-1]
    alone = [rows(backbone, [images[i]])[0] for i in (0, BATCH - 1, BATCH + 4)]
    assert [bits(r) for r in straight] == [bits(r) for r in backward]
    assert [bits(straight[i]) for i in (0, BATCH - 1, BATCH + 4)] == [bits(r) for r in alone]
    assert len({bits(r) for r in straight}) == len(images), "another image has other features"


def test_unreadable_images_shift_nobody(backbone: Backbone) -> None:
    images = [image(1), b"no image", image(2), b"", image(3)]
    found = rows(backbone, images)
    assert [r["error"] is None for r in found] == [True, False, True, False, True]
    assert [bits(r) for r in found if r["error"] is None] == [
        bits(r) for r in rows(backbone, [images[i] for i in (0, 2, 4)])
    ]
    assert found[1]["features"] is None and rows(backbone, [b"", b"x"])[1]["features"] is None


def test_an_image_whose_features_are_not_finite_is_unusable_alone(backbone: Backbone) -> None:
    images = [image(i) for i in range(BATCH + 2)]
    expected = rows(backbone, images)

    def spoil(module: torch.nn.Module, inputs: object, features: dict[int, torch.Tensor]) -> dict[int, torch.Tensor]:
        spoilt = features[16].clone()
        spoilt[1, 3, 5] = torch.inf  # the second of each batch
        return features | {16: spoilt}

    handle = backbone.register_forward_hook(spoil)
    found = rows(backbone, images)
    handle.remove()
    reasons = [row["error"] for row in found]
    assert [i for i, reason in enumerate(reasons) if reason] == [1, BATCH + 1]
    assert reasons[1] == "its features are not finite numbers"
    assert found[1]["features"] is None and found[1]["statistics"] is None
    assert [bits(r) for r in found if r["error"] is None] == [
        bits(r) for i, r in enumerate(expected) if i not in (1, BATCH + 1)
    ]


def test_too_little_memory_is_not_remembered_as_a_fault_of_the_image(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.Image.Image.load", full)
    with pytest.raises(MemoryError):
        rows(backbone, [image(1)])


def test_fault_8_imagenet_mean_and_std_are_applied(tmp_path: Path) -> None:
    """The published script feeds raw greys. The network must see (x - mean) / std of the weights' own training."""
    import timm

    state = timm.create_model("resnet18", pretrained=False).state_dict()
    torch.save(state, tmp_path / "resnet18.pth")
    backbone = build_backbone("resnet18", str(tmp_path / "resnet18.pth"), (8,), 4)
    seen: list[torch.Tensor] = []
    backbone.features.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    grey = torch.randint(0, 256, (2, 1, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    backbone(grey)
    for channel, (mean, sd) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        torch.testing.assert_close(seen[0][:, channel], (grey[:, 0] / 255 - mean) / sd, rtol=1e-5, atol=1e-5)


def test_normalisation_of_the_bundled_weights(backbone: Backbone) -> None:
    assert backbone.mean.flatten().tolist() == [0.5] * 3 and backbone.std.flatten().tolist() == [0.5] * 3


def test_ahead_is_as_far_ahead_as_it_may_and_ends_with_its_reader() -> None:
    done: list[int] = []

    def work(item: int) -> int:
        done.append(item)
        return item * item

    with ThreadPoolExecutor(1) as threads:
        results = ahead(threads, work, range(1_000), 8)
        assert [next(results) for _ in range(3)] == [0, 1, 4]
        results.close()
    assert set(range(3)) <= set(done) <= set(range(11)), "the others were never begun"
    with ThreadPoolExecutor(3) as threads:
        assert list(ahead(threads, work, range(20), 8)) == [i * i for i in range(20)]
        assert list(ahead(threads, work, [], 8)) == []
        with pytest.raises(ZeroDivisionError):
            list(ahead(threads, lambda i: 1 // (3 - i), range(20), 8))
