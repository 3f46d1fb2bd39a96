"""The memory bank's index: exact neighbours in Euclidean distance."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from swag_ray.core.knn import Index, on_gpu
from swag_ray.errors import InputError
from tests.benchmarks.naive import brute_force_knn


def rows(n: int, seed: int) -> NDArray[np.float32]:
    x_ND = np.random.default_rng(seed).standard_normal((n, 24))
    x_ND /= np.linalg.norm(x_ND, axis=1, keepdims=True)
    return x_ND.astype(np.float32)


@pytest.mark.parametrize("k", [1, 3, 50])
@pytest.mark.parametrize("queries", [5, 64])  # faiss takes another path above 20 queries
def test_equals_brute_force(k: int, queries: int) -> None:
    distance_NK, index_NK = Index(rows(50, 0)).search(rows(queries, 1), k)
    expected_NK, expected_index_NK = brute_force_knn(rows(50, 0), rows(queries, 1), k)
    np.testing.assert_allclose(distance_NK, expected_NK, atol=1e-5)
    np.testing.assert_array_equal(index_NK, expected_index_NK)
    assert distance_NK.dtype == np.float32 and index_NK.dtype == np.int64


def test_distances_are_not_squared() -> None:
    distance_NK, _ = Index(np.array([[0, 0]], dtype=np.float32)).search(np.array([[3, 4]], dtype=np.float32), 1)
    assert distance_NK[0, 0] == pytest.approx(5)


def test_more_neighbours_than_rows_names_the_field() -> None:
    with pytest.raises(InputError, match=r"score\.neighbours: 4 .* 3 rows"):
        Index(rows(3, 0)).search(rows(1, 1), 4)


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match="M at least 1"):
        Index(np.empty((0, 4), dtype=np.float32))
    with pytest.raises(ValueError, match="must be"):
        Index(rows(3, 0)).search(np.ones((2, 5), dtype=np.float32), 1)
    with pytest.raises(ValueError, match="k is 0"):
        Index(rows(3, 0)).search(rows(1, 1), 0)


@pytest.mark.skipif(not on_gpu(), reason="faiss sees no GPU")
def test_gpu_equals_brute_force() -> None:
    distance_NK, index_NK = Index(rows(500, 0)).search(rows(64, 1), 3)
    expected_NK, expected_index_NK = brute_force_knn(rows(500, 0), rows(64, 1), 3)
    np.testing.assert_allclose(distance_NK, expected_NK, atol=1e-3)
    assert (index_NK == expected_index_NK).mean() > 0.99


@pytest.mark.skipif(not on_gpu(), reason="faiss sees no GPU")
def test_indices_on_a_gpu_share_what_a_search_needs() -> None:
    """An actor keeps one index per fold and weight sample: with 1.5 GB each, as faiss reserves, they fill any GPU."""
    torch = pytest.importorskip("torch")
    free, _ = torch.cuda.mem_get_info()
    held = [Index(rows(500, seed)) for seed in range(20)]
    assert free - torch.cuda.mem_get_info()[0] < 20 * 1.5e9 / 2  # of the whole GPU, which others may use too
    for seed, index in enumerate(held):
        np.testing.assert_array_equal(index.search(rows(500, seed), 1)[1][:, 0], np.arange(500))
