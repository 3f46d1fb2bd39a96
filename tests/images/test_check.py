from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from swag_ray.errors import InputError
from swag_ray.images.check import describe, guess_classes, read_images
from swag_ray.images.folders import list_folder
from swag_ray.images.oddities import join_twins
from swag_ray.images.split import make_split
from tests.support.command_line import Command
from tests.support.images import blocks, encoded, real_set, small_set, write


def test_describe_counts_and_survives_broken_images(tmp_path: Path) -> None:
    root = small_set(tmp_path, normals=60, anomalies=20)
    broken = root / "train" / "NORMAL" / "broken.jpeg"
    broken.write_bytes(encoded(blocks(99), "JPEG")[:-100])
    (root / "test" / "PNEUMONIA" / "empty.png").write_bytes(b"")
    (root / "train" / "NORMAL" / "wide.png").write_bytes(encoded(blocks(5).resize((64, 16))))
    write(root / "train" / "OTHER" / "x.png", 7)
    listing = list_folder(root, normal="NORMAL", anomaly=["PNEUMONIA"], group=None)
    found = describe(listing, seed_fraction=0.3, folds=5)
    assert set(found.unreadable) == {"train/NORMAL/broken.jpeg", "test/PNEUMONIA/empty.png"}
    assert found.unreadable["test/PNEUMONIA/empty.png"] == "empty file"
    rows = [(row.split, row.class_name, row.images, row.unreadable) for row in found.classes]
    assert rows == [
        ("train", "NORMAL", 62, 1),
        ("train", "PNEUMONIA", 20, 0),
        ("test", "NORMAL", 60, 0),
        ("test", "PNEUMONIA", 21, 1),
    ]
    assert found.classes[0].widths == (32, 32.0, 64)
    assert found.classes[0].heights == (16, 32.0, 32)
    assert found.image_sizes == {"32 x 32": 160, "64 x 16": 1}
    assert found.ignored == {"class train/OTHER": 1}
    assert found.split_counts is not None
    assert found.split_counts["seed"] + found.split_counts["pool"] == 81
    assert found.highest_contamination == found.contamination == pytest.approx(20 / (20 + 61 - 18))
    assert any("rough" in line for line in found.warnings)
    assert any(line.startswith("calibration.false_positive_rate: with 18 seeds no p") for line in found.warnings)
    fine = describe(listing, seed_fraction=0.3, folds=5, false_positive_rate=0.053)
    assert not any("false_positive_rate" in line for line in fine.warnings), "the advice is what cures it"


def test_doubtful_images_are_counted_and_told(tmp_path: Path, command: Command) -> None:
    """12-bit films in 16 bits, one of them of 9 bits, one blank, one inverted, one again as a BMP."""
    generator = np.random.default_rng(0)
    column = 40 + 150 * np.exp(-(np.linspace(-2, 2, 64) ** 2))
    for number in range(40):
        film = np.clip(column + generator.normal(0, 9, (64, 64)), 0, 255)
        film = 255 - film if number == 3 else film * 0 if number == 4 else film / 8 if number == 5 else film
        folder = tmp_path / ("train" if number < 30 else "test") / ("NORMAL" if number % 2 else "PNEUMONIA")
        folder.mkdir(parents=True, exist_ok=True)
        deep = Image.fromarray(np.round(film * (4095 / 255)).astype(np.uint16))
        (folder / f"{number}.png").write_bytes(encoded(deep))
        if number == 7:
            (folder / "again.tif").write_bytes(encoded(deep, "TIFF"))
    ended = command("datasets", "check", tmp_path, "--json")
    found = json.loads(ended.out)
    assert found["odd"] == {"deep": 41, "bits": 12, "blank": 1, "inverted": 1, "look_alikes": 2}
    told = " ".join(found["warnings"])
    for part in (
        "41 16-bit images use 12 bits at most", "2 of 41 16-bit images use 9 bits at most",
        "1 image is blank or nearly so (train/PNEUMONIA/4.png)", "1 image looks inverted",
        "(train/NORMAL/3.png)", "2 images of other bytes look the same as a thumbnail, 1 picture in all",
        "train/NORMAL/again.tif",
    ):  # fmt: skip
        assert part in told, part
    shown = command("datasets", "check", tmp_path).out
    assert "16-bit images: 41" in shown and "inverted images: 1" in shown and "bits in use of 16: 12" in shown
    assert "1 image looks inverted" in shown


def test_the_split_that_is_tried_is_the_runs(tmp_path: Path) -> None:
    """Images that look the same are one group, as in a run, and told where they stand in two places."""
    root = small_set(tmp_path, normals=60, anomalies=20)
    normals = sorted((root / "train" / "NORMAL").iterdir())
    for number, path in enumerate(normals[:5]):
        again = encoded(Image.open(path))
        (path.with_name(f"again{number}.png")).write_bytes(again)
        if number == 0:
            (root / "test" / "PNEUMONIA" / "copy.png").write_bytes(again + b"x")
    listing = list_folder(root, normal="NORMAL", anomaly=["PNEUMONIA"], group=None)
    found = describe(listing, seed_fraction=0.3, folds=5)
    assert found.odd == {"look_alikes": 11}
    assert found.split_counts is not None and found.split_counts["train_groups"] == 80
    table = join_twins(listing.table, read_images(listing)[1])[0]
    split = make_split(table, seed_fraction=0.3, folds=5, contamination=None, random_seed=0)
    assert found.split_counts == split.counts
    told = " ".join(found.warnings)
    assert "1 picture is in train and in test, the same as a thumbnail" in told
    assert "1 picture stands under both labels, the same as a thumbnail" in told


def test_a_file_that_goes_while_the_range_is_found_is_told(tmp_path: Path) -> None:
    root = small_set(tmp_path)
    deep = Image.fromarray(np.asarray(blocks(1)).astype(np.uint16) * 9)
    (root / "train" / "NORMAL" / "deep.png").write_bytes(encoded(deep))
    listing = list_folder(root, normal="NORMAL", anomaly=["PNEUMONIA"], group=None)
    (root / "train" / "NORMAL" / "deep.png").unlink()
    found = describe(listing, seed_fraction=0.3, folds=2)
    assert found.unreadable == {"train/NORMAL/deep.png": "No such file or directory"}


def test_describe_reports_a_set_that_cannot_be_split(tmp_path: Path) -> None:
    listing = list_folder(small_set(tmp_path), normal="NORMAL", anomaly=["PNEUMONIA"], group=None)
    found = describe(listing, seed_fraction=0.3, folds=5)
    assert found.split_counts is None
    assert found.highest_contamination is None
    assert any(line.startswith("split.folds") for line in found.warnings)


def test_an_image_that_vanished_is_a_reason(tmp_path: Path) -> None:
    listing = list_folder(small_set(tmp_path), normal="NORMAL", anomaly=["PNEUMONIA"], group=None)
    (tmp_path / str(listing.table["path"][0].as_py())).unlink()
    assert read_images(listing)[0][0] == "No such file or directory"


def test_too_little_memory_ends_the_check_with_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    listing = list_folder(small_set(tmp_path), normal="NORMAL", anomaly=["PNEUMONIA"], group=None)
    monkeypatch.setattr("swag_ray.images.check.read_grey", full)
    with pytest.raises(InputError, match=r"^memory: too little to decode images like '"):
        read_images(listing)


def test_classes_are_guessed(tmp_path: Path) -> None:
    small_set(tmp_path / "a" / "set")
    write(tmp_path / "a" / "set" / "test" / "COVID19" / "x.png", 7)
    assert guess_classes(tmp_path / "a") == ("NORMAL", ["PNEUMONIA", "COVID19"])
    for split in ("train", "test"):
        write(tmp_path / "b" / split / "healthy" / "x.png", 7)
        write(tmp_path / "b" / split / "sick" / "x.png", 8)
    with pytest.raises(InputError, match=r"^dataset\.normal: .*NORMAL .*healthy, sick"):
        guess_classes(tmp_path / "b")
    assert guess_classes(tmp_path / "b", "healthy") == guess_classes(tmp_path / "b", "HEALTHY") == ("healthy", ["sick"])
    with pytest.raises(InputError, match=r"^dataset\.normal: .*called well in .*healthy, sick"):
        guess_classes(tmp_path / "b", "well")


@pytest.mark.data
def test_real_chest_xray() -> None:
    listing = list_folder(real_set("chest_xray"), normal="NORMAL", anomaly=["PNEUMONIA"], group=None)
    found = describe(listing, seed_fraction=0.3, folds=5)
    assert found.unreadable == {}
    assert found.image_sizes == {"224 x 224": 5840}
    assert found.highest_contamination == pytest.approx(0.805, abs=0.001)
