"""Patch distances and image scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from swag_ray.core import score
from swag_ray.core.knn import Index
from tests.benchmarks.naive import brute_force_knn


def patches(images: int, seed: int, dim: int = 20) -> NDArray[np.float32]:
    x_NPD = np.random.default_rng(seed).standard_normal((images, 16, dim))
    x_NPD /= np.linalg.norm(x_NPD, axis=2, keepdims=True)
    return x_NPD.astype(np.float32)


def test_patch_distance_is_the_mean_over_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    bank_MD = patches(6, 0).reshape(-1, 20)
    query_NPD = patches(4, 1)
    expected_NK, _ = brute_force_knn(bank_MD, query_NPD.reshape(-1, 20), 3)
    monkeypatch.setattr(score, "QUERIES", 30)  # several searches, the last one short
    distance_NP = score.patch_distances(Index(bank_MD), query_NPD, 3)
    np.testing.assert_allclose(distance_NP, expected_NK.mean(axis=1).reshape(4, 16), atol=1e-5)


def test_fault_2_a_stored_patch_scores_zero() -> None:
    # The bank and the queries must pass through the very same normalisation.
    query_NPD = patches(8, 2)
    bank_MD = query_NPD.reshape(-1, 20)[::2]
    distance_NP = score.patch_distances(Index(bank_MD), query_NPD, 1)
    assert distance_NP[:, ::2].max() < 1e-3
    assert distance_NP[:, 1::2].min() > 0.1
    assert score.image_score(distance_NP[:, ::2], 0.1).max() < 1e-3


@given(st.integers(1, 400), st.integers(1, 100))
def test_top_count_is_the_exact_ceiling(count: int, percent: int) -> None:
    assert score.top_patches(count, percent / 100) == -(-percent * count // 100)


def test_image_score_is_the_mean_of_the_largest() -> None:
    distance_NP = np.random.default_rng(0).permuted(np.tile(np.arange(64, dtype=np.float32), (5, 1)), axis=1)
    np.testing.assert_allclose(score.image_score(distance_NP, 0.1), np.arange(57, 64).mean())
    np.testing.assert_allclose(score.image_score(distance_NP, 1.0), np.arange(64).mean())
    assert len(set(score.image_score(distance_NP, 0.3))) == 1  # the order of patches is nothing


def test_wrong_fraction_is_refused() -> None:
    for fraction in (0.0, 1.01, float("nan")):
        with pytest.raises(ValueError, match="top_fraction"):
            score.image_score(np.ones((2, 4), dtype=np.float32), fraction)
