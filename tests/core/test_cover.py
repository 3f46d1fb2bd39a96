"""A rectangle of one grey level where no trusted image has one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from swag_ray.core.cover import covered_share, flat_places


def noise(images: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(50, 200, (images, 32, 32)).astype(np.uint8)


@pytest.mark.parametrize(("top", "left", "height", "width"), [(10, 8, 12, 9), (0, 0, 6, 6), (26, 20, 6, 12)])
def test_a_rectangle_is_found_at_its_size(top: int, left: int, height: int, width: int) -> None:
    nothing_seen = flat_places(noise(5))
    covered = noise(2, 1)
    covered[1, top : top + height, left : left + width] = 7
    assert nothing_seen.shape == (27, 27) and not nothing_seen.any()
    np.testing.assert_allclose(covered_share(covered, nothing_seen), [0, height * width / 1024])


def test_what_is_small_or_goes_on_beyond_a_rectangle_is_none() -> None:
    images = noise(2)
    images[0, 4:9, 4:9] = 7  # five cells a side
    row, column = np.ogrid[:32, :32]
    images[1, (row - 16) ** 2 + (column - 16) ** 2 <= 36] = 7  # round, as a cyst
    assert covered_share(images, np.zeros((27, 27), bool)).tolist() == [0, 0]


def test_where_trusted_images_have_one_it_is_nothing_new() -> None:
    trusted, image = noise(3), noise(1, 1)
    trusted[2, 0:8, 0:8] = 0  # a collimated corner
    image[0, 0:9, 0:9] = 0  # and one that reaches a cell further
    seen = flat_places(trusted)
    assert seen[:3, :3].all() and not seen[10:, 10:].any()
    assert covered_share(image, seen).tolist() == [0]
    assert covered_share(image, np.zeros((27, 27), bool)).tolist() == [81 / 1024]
