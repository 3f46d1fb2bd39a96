"""The discriminant of altered cells: it points where they differ, whatever a channel is measured in."""

from __future__ import annotations

import numpy as np
import pytest

from swag_ray.core.altered_cells import RIDGE, direction
from swag_ray.core.moments import Moments

MOVED = np.array([1, 0.8, 0])  # of the altered cells


def cells(seed: int, count: int = 4000) -> np.ndarray:
    """Three channels, of which the second follows the first."""
    x_nC = np.random.default_rng(seed).normal(size=(count, 3))
    x_nC[:, 1] = 0.8 * x_nC[:, 0] + 0.6 * x_nC[:, 1]
    return x_nC


def test_it_is_fishers_direction_with_a_ridge() -> None:
    plain, altered = cells(0), cells(1) + MOVED
    within = (np.cov(plain.T, bias=True) + np.cov(altered.T, bias=True)) / 2
    sd = np.sqrt(within.diagonal())
    wanted = np.linalg.solve(within / np.outer(sd, sd) + RIDGE * np.eye(3), (altered - plain).mean(axis=0) / sd) / sd
    found = direction(Moments.of(altered), Moments.of(plain))
    np.testing.assert_allclose(found, wanted, rtol=0.02, atol=0.01)
    assert (altered @ found).mean() > (plain @ found).mean() + 0.5
    assert abs(found[2]) < 0.1, "a channel that tells nothing"


def test_a_channel_in_other_units_or_without_variance_changes_no_order() -> None:
    plain, altered = cells(0), cells(1) + MOVED
    units = np.array([1, 1000, 0.001])
    plainly = direction(Moments.of(altered), Moments.of(plain))
    scaled = direction(Moments.of(altered * units), Moments.of(plain * units))
    np.testing.assert_allclose(scaled * units, plainly, rtol=1e-3, atol=1e-4)
    constant = np.column_stack([cells(2), np.full(4000, 7.0)])
    assert np.isfinite(direction(Moments.of(constant), Moments.of(constant))).all()


def test_no_difference_gives_no_direction() -> None:
    same = Moments.of(cells(0))
    assert direction(same, same) == pytest.approx(np.zeros(3))
