"""Whitening makes correlated patches spherical, keeps what is spherical, and bounds what has no variance."""

from __future__ import annotations

import numpy as np
import pytest

from swag_ray.core.whitening import whitening


def correlated(rows: int = 4000, channels: int = 6) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.normal(size=(rows, channels)) @ generator.normal(size=(channels, channels))


def test_without_shrinkage_to_speak_of_the_covariance_becomes_the_identity() -> None:
    x = correlated()
    white = x @ whitening(x, 1e-9)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(6), atol=1e-3)


def test_distances_are_mahalanobis() -> None:
    x = correlated()
    shrunk = np.cov(x.T, bias=True) + 0.1 * np.eye(6)
    d = x[0] - x[1]
    assert np.sum((d @ whitening(x, 0.1)) ** 2) == pytest.approx(d @ np.linalg.inv(shrunk) @ d, rel=1e-4)


def test_a_direction_without_variance_is_bounded_by_the_shrinkage() -> None:
    x = correlated()
    x[:, 3] = 7.0
    assert np.abs(np.linalg.eigvalsh(whitening(x, 0.25))).max() == pytest.approx(2.0, rel=1e-3)


def test_order_of_the_patches_does_not_matter() -> None:
    x = correlated()
    np.testing.assert_allclose(whitening(x, 0.1), whitening(x[::-1], 0.1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("rows", "shrinkage"), [(10, 0.0), (1, 0.1)])
def test_refuses_what_has_no_meaning(rows: int, shrinkage: float) -> None:
    with pytest.raises(ValueError, match="shrinkage"):
        whitening(correlated(rows), shrinkage)
