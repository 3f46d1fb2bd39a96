"""Maps at another size: bilinear, as Pillow has it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from swag_ray.core.enlarge import enlarge


@pytest.mark.parametrize("shape", [(8, 8), (37, 90), (4, 5), (256, 256)])
def test_maps_are_enlarged_as_pillow_does(shape: tuple[int, int]) -> None:
    maps = np.random.default_rng(0).normal(size=(3, 4, 4)).astype(np.float32)
    found = enlarge(maps, shape)
    for one, map_gg in zip(found, maps, strict=True):
        expected = Image.fromarray(map_gg).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(one, np.asarray(expected), atol=1e-5)
    assert found.dtype == np.float32 and found.max() <= maps.max() + 1e-6 and found.min() >= maps.min() - 1e-6


def test_its_own_size_is_the_map_itself() -> None:
    maps = np.random.default_rng(1).normal(size=(2, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(enlarge(maps, (8, 8)), maps)
