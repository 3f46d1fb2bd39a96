"""A map over a film: clear where there is nothing to see, the same colour for the same heat."""

from __future__ import annotations

import numpy as np

from swag_ray.report.page.overlay import grey_levels, heat_colour, heat_overlay

GREY = np.full((64, 96), 90.0, np.float32)


def test_nothing_is_drawn_up_to_low_and_the_brightest_from_high_on() -> None:
    map_GG = np.full((8, 8), 2.0, np.float32)
    clear = heat_overlay(GREY, map_GG, 2.0, 4.0)
    assert clear.shape == (64, 96, 3) and (clear == 90).all()
    bright, brighter = heat_overlay(GREY, map_GG, 0.0, 2.0), heat_overlay(GREY, map_GG + 9, 0.0, 2.0)
    np.testing.assert_allclose(bright, brighter)
    np.testing.assert_allclose(bright[0, 0], 0.25 * 90 + 0.75 * heat_colour(np.ones(1))[0], rtol=1e-5)


def test_a_hot_cell_is_drawn_where_it_is() -> None:
    map_GG = np.zeros((8, 8), np.float32)
    map_GG[1, 6] = 8
    changed = np.abs(heat_overlay(GREY, map_GG, 2.0, 4.0) - 90).sum(axis=2)
    y, x = np.unravel_index(changed.argmax(), changed.shape)
    assert (y // 8, x // 12) == (1, 6) and (changed[24:, :60] == 0).all()


def test_a_large_film_becomes_a_thumbnail_of_its_shape() -> None:
    assert grey_levels(np.zeros((1000, 500), np.uint8)).shape == (320, 160)
