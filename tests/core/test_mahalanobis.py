"""The kept directions give the shrunk Mahalanobis distance; what is left out counts as one variance."""

from __future__ import annotations

import numpy as np
import pytest

from swag_ray.core import mahalanobis
from swag_ray.core.mahalanobis import fit_spread, spread_distance


def test_with_every_direction_kept_it_is_the_shrunk_mahalanobis_distance() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(50, 6)) @ generator.normal(size=(6, 6)) + 3
    query = generator.normal(3, 4, (9, 6))
    z, q = (x - x.mean(0)) / x.std(0), (query - x.mean(0)) / x.std(0)
    inverse = np.linalg.inv(z.T @ z / 50 + 6 / 50 * np.eye(6))
    expected = np.sqrt(np.einsum("ni,ij,nj->n", q, inverse, q) / 6)
    np.testing.assert_allclose(spread_distance(fit_spread(x), query), expected, rtol=1e-4)


def test_left_out_directions_share_a_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mahalanobis, "DIRECTIONS", 2)
    x = np.random.default_rng(1).normal(size=(4000, 40))
    spread = fit_spread(x)
    assert spread.axes_CR.shape == (40, 2) and spread.rest.shape == ()
    # Of independent channels all directions have about the same variance: the distance is Euclid's, per root C.
    query = np.random.default_rng(2).normal(size=(20, 40))
    np.testing.assert_allclose(spread_distance(spread, query), np.sqrt((query**2).mean(1)), rtol=0.1)


def test_a_channel_that_never_moved_does_not_make_everything_far() -> None:
    x = np.random.default_rng(3).normal(size=(60, 8))
    x[:, 0] = 5
    query = np.random.default_rng(4).normal(size=(10, 8))
    query[:, 0] = 5.001
    assert np.isfinite(spread_distance(fit_spread(x), query)).all()
    assert (spread_distance(fit_spread(x), query) < 3).all()
