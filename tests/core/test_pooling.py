"""Pooled features: which patches a number averages, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from swag_ray.core.pooling import pool_features
from swag_ray.errors import InputError


def test_every_place_is_the_mean_of_its_patches() -> None:
    rng = np.random.default_rng(0)
    features = {16: rng.random((3, 64, 5)).astype(np.float16), 8: rng.random((3, 64, 2)).astype(np.float16)}
    x_ND = pool_features(features, 4)
    assert x_ND.shape == (3, 16 * 7) and x_ND.dtype == np.float32
    grid_NGGC = features[8].astype(np.float64).reshape(3, 8, 8, 2)
    # stride 8 comes first although it was given last; place (row 1, column 2), channel 1
    assert x_ND[1, (1 * 4 + 2) * 2 + 1] == pytest.approx(grid_NGGC[1, 2:4, 4:6, 1].mean(), abs=1e-6)
    assert np.allclose(x_ND[:, : 16 * 2].reshape(3, 16, 2).mean(1), grid_NGGC.mean((1, 2)), atol=1e-6)


def test_the_stored_grid_passes_through() -> None:
    patches = np.random.default_rng(1).random((2, 16, 3)).astype(np.float16)
    assert np.array_equal(pool_features({8: patches}, 4), patches.astype(np.float32).reshape(2, -1))


@pytest.mark.parametrize("grid", [0, 3, 16])
def test_a_grid_that_does_not_divide_is_refused(grid: int) -> None:
    with pytest.raises(InputError, match=r"head\.grid"):
        pool_features({8: np.zeros((1, 64, 2), np.float16)}, grid)


def test_patches_must_form_a_square() -> None:
    with pytest.raises(ValueError, match="square"):
        pool_features({8: np.zeros((1, 60, 2), np.float16)}, 4)
