"""The coreset: exact greedy picks, whatever the batching."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from swag_ray.core.coreset import integer_rows, k_center
from tests.benchmarks.naive import sequential_k_center


def unit_rows(n: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    x_ND = np.random.default_rng(seed).standard_normal((n, dim))
    x_ND /= np.linalg.norm(x_ND, axis=1, keepdims=True)
    return x_ND.astype(np.float32)


def distance_to(rows_ND: NDArray[np.float32], picks_K: NDArray[np.int64]) -> NDArray[np.float64]:
    """Distance of every row to its nearest pick."""
    rows = rows_ND.astype(np.float64)
    nearest_N = np.full(len(rows), np.inf)
    for pick in picks_K:
        nearest_N = np.minimum(nearest_N, np.sqrt(((rows - rows[pick]) ** 2).sum(axis=1)))
    return nearest_N


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_picks_equal_sequential_greedy_with_ties_and_duplicates(data: st.DataObject) -> None:
    # Few distinct directions in few dimensions: nearly every pick is a tie, many rows are copies.
    n = data.draw(st.integers(1, 60))
    dim = data.draw(st.integers(1, 3))
    cells = data.draw(st.lists(st.integers(-2, 2), min_size=n * dim, max_size=n * dim))
    raw_ND = np.array(cells, dtype=np.float32).reshape(n, dim)
    x_ND = raw_ND / np.maximum(np.linalg.norm(raw_ND, axis=1, keepdims=True), 1e-12)  # zero rows stay
    count, first, batch = (data.draw(st.integers(*span)) for span in ((1, n), (0, n - 1), (1, 20)))
    expected_K = sequential_k_center(integer_rows(x_ND).astype(np.float64), count, first)
    np.testing.assert_array_equal(k_center(x_ND, count, first=first, batch=batch), expected_K)


@pytest.mark.parametrize(("n", "dim", "first"), [(3000, 152, 0), (1500, 512, 700), (4000, 8, 17)])
def test_picks_equal_sequential_greedy_on_dense_rows(n: int, dim: int, first: int) -> None:
    x_ND = unit_rows(n, dim)
    expected_K = sequential_k_center(integer_rows(x_ND).astype(np.float64), n // 5, first)
    np.testing.assert_array_equal(k_center(x_ND, n // 5, first=first), expected_K)


def test_batch_size_changes_nothing() -> None:
    x_ND = unit_rows(2000, 20)
    one = k_center(x_ND, 700, batch=1)
    for batch in (7, 64, 512, 5000):
        np.testing.assert_array_equal(k_center(x_ND, 700, batch=batch), one)


def test_radius_never_grows_and_each_pick_was_the_farthest() -> None:
    x_ND = unit_rows(1200, 16)
    rows_ND = integer_rows(x_ND)
    picks_K = k_center(x_ND, 90)
    nearest_N = distance_to(rows_ND, picks_K[:1])
    radius = np.inf
    for pick in picks_K[1:]:
        assert nearest_N[pick] == nearest_N.max() <= radius
        radius = nearest_N[pick]
        nearest_N = np.minimum(nearest_N, distance_to(rows_ND, np.array([pick])))
    assert nearest_N.max() <= radius


def test_radius_is_at_most_twice_the_best_possible() -> None:
    # Twelve tight clusters: the best twelve centres cover within `spread`, so greedy must within twice that.
    centres_CD = unit_rows(12, 10, seed=1)
    member_N = np.random.default_rng(2).integers(12, size=600)
    x_ND = centres_CD[member_N] + 0.02 * unit_rows(600, 10, seed=3)
    x_ND /= np.linalg.norm(x_ND, axis=1, keepdims=True)
    rows_ND = integer_rows(x_ND)
    picks_K = k_center(x_ND, 12)
    assert len(np.unique(member_N[picks_K])) == 12
    spread = max(np.linalg.norm(rows_ND[member_N == c] - 127 * centres_CD[c], axis=1).max() for c in range(12))
    assert distance_to(rows_ND, picks_K).max() <= 2 * spread


def test_all_rows_can_be_picked_even_if_equal() -> None:
    x_ND = np.tile(unit_rows(1, 5), (30, 1))
    np.testing.assert_array_equal(k_center(x_ND, 30, first=4), [4, *range(4), *range(5, 30)])


def test_fault_9_no_row_is_left_out_for_its_place_in_the_table() -> None:
    # The lower lung is last in raster order: the farthest rows stand last and must be picked first.
    x_ND = np.repeat(unit_rows(1, 6), 5000, axis=0)
    x_ND[-3:] = unit_rows(3, 6, seed=9)
    assert set(k_center(x_ND, 4)[1:]) == {4997, 4998, 4999}


def test_fault_10_above_300k_rows_the_picks_are_still_greedy() -> None:
    x_ND = unit_rows(300_100, 3)
    expected_K = sequential_k_center(integer_rows(x_ND).astype(np.float64), 40)
    np.testing.assert_array_equal(k_center(x_ND, 40), expected_K)


def test_integer_rows_are_exact_in_float32() -> None:
    rows_ND = integer_rows(unit_rows(400, 512))
    gram = rows_ND @ rows_ND.T
    np.testing.assert_array_equal(gram, rows_ND.astype(np.int64) @ rows_ND.astype(np.int64).T)
    assert rows_ND.dtype == np.float32 and np.abs(rows_ND).max() <= 127


def test_integer_rows_are_127_times_the_rows_to_the_nearest() -> None:
    x_ND = np.array([[0.6, -0.8], [0, 0], [1, 0], [-0.0039, 0.004]], np.float32)
    assert integer_rows(x_ND).tolist() == [[76, -102], [0, 0], [127, 0], [0, 1]]


def test_wrong_use_is_refused() -> None:
    x_ND = unit_rows(5, 3)
    with pytest.raises(ValueError, match="between 1 and the 5 rows"):
        k_center(x_ND, 6)
    with pytest.raises(ValueError, match="first is 5"):
        k_center(x_ND, 2, first=5)
    with pytest.raises(ValueError, match="L2-normalise"):
        k_center(x_ND * 3, 2)
    with pytest.raises(ValueError, match="norm nan"):
        k_center(np.full((2, 2), np.nan, dtype=np.float32), 1)
