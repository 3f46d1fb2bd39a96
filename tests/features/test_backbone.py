"""A bundle's backbone is the run's; what a model does not offer is refused by name."""

from __future__ import annotations

import pytest
import torch

from swag_ray.errors import InputError
from swag_ray.features.backbone import build_backbone, restore_backbone

NAME, STRIDES, GRID = "tf_efficientnet_lite0", (8, 32), 4


def test_restored_from_its_state_it_gives_the_same_bits() -> None:
    grey = torch.randint(0, 256, (4, 1, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    state = build_backbone(NAME, "bundled", STRIDES, GRID, fused=False).state_dict()
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    built, restored = (
        build_backbone(NAME, "bundled", STRIDES, GRID)(grey),
        restore_backbone(NAME, STRIDES, GRID, arrays)(grey),
    )
    assert {s: tuple(x.shape) for s, x in built.items()} == {8: (4, 16, 40), 32: (4, 16, 320)}
    assert all(torch.equal(built[s], restored[s]) for s in STRIDES)


def test_a_stride_the_model_does_not_offer() -> None:
    with pytest.raises(InputError, match=r"^backbone\.strides: .* not \[64\]$"):
        build_backbone(NAME, "bundled", (8, 64), GRID)
