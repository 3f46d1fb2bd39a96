"""A sweep's statistics against scipy, statsmodels and hand calculation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from swag_ray.report.sweep.statistics import (  # fmt: skip
    Mean,
    cell_means,
    holm,
    holm_where_known,
    interaction,
    level_means,
    matched,
    mean_interval,
    paired_test,
    quantile_bins,
    spread,
)

NAN = math.nan


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_holm_is_statsmodels_holm(p: list[float]) -> None:
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-12)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]).tolist() == []


def test_tests_that_were_not_possible_do_not_count() -> None:
    assert holm_where_known([0.01, None, 0.04]) == [pytest.approx(0.02), None, pytest.approx(0.04)]


def test_mean_and_t_interval() -> None:
    values = [0.91, 0.95, 0.93, 0.96]
    found = mean_interval([*values, NAN])
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert found is not None and found.n == 4
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(values), low, high))


def test_one_value_has_no_interval_and_none_no_mean() -> None:
    assert mean_interval([0.9]) == Mean(1, 0.9, None, None)
    assert mean_interval([NAN]) is None and mean_interval([]) is None


def test_paired_test_pairs_by_seed() -> None:
    a = {0: 0.91, 1: 0.95, 2: 0.93, 3: 0.97, 7: 0.5, 8: NAN}
    b = {3: 0.95, 2: 0.90, 1: 0.94, 0: 0.90, 9: 0.9, 8: 0.9}
    found = paired_test(a, b)
    expected = stats.ttest_rel([0.91, 0.95, 0.93, 0.97], [0.90, 0.94, 0.90, 0.95])
    interval = expected.confidence_interval()
    assert found is not None and found.difference.n == 4
    assert (found.t, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert (found.difference.low, found.difference.high) == pytest.approx((interval.low, interval.high))


def test_fewer_than_three_pairs_are_no_test() -> None:
    found = paired_test({0: 0.9, 1: 0.8}, {0: 0.85, 1: 0.7})
    assert found is not None and found.p is None and found.t is None and found.difference.n == 2
    assert paired_test({0: 0.9}, {1: 0.9}) is None


def test_equal_results_speak_for_no_difference() -> None:
    same = {0: 0.9, 1: 0.8, 2: 0.7}
    found = paired_test(same, dict(same))
    assert found is not None and found.p == 1.0 and found.t == 0.0
    shifted = paired_test({s: x + 0.1 for s, x in same.items()}, same)
    assert shifted is not None and shifted.p is not None and shifted.p < 1e-6


def test_level_means_have_intervals_over_units_not_over_trials() -> None:
    level = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    seed = np.array([1, 1, 2, 2, 1, 1, 2, 2])
    value = np.array([0.8, 0.9, 0.7, 0.8, 0.9, NAN, 0.8, 0.9])
    low, high = level_means(level, value, seed, 2)
    for found, expected in ((low, mean_interval([0.85, 0.75])), (high, mean_interval([0.9, 0.85]))):
        assert found is not None and expected is not None and found.n == 2
        assert (found.mean, found.low, found.high) == pytest.approx((expected.mean, expected.low, expected.high))
    assert spread([low, high, None]) == pytest.approx(0.075)
    assert level_means(level, value, seed, 3)[2] is None and spread([low, None]) == 0


def test_matched_trials_have_their_like_at_every_level() -> None:
    level = np.array([0, 1, 0, 1, 0, -1])
    block = np.array([5, 5, 6, 6, 7, 5])
    assert matched(level, block, 2).tolist() == [True, True, True, True, False, False]
    assert not matched(level, block, 3).any()


def test_cell_means_leave_gaps() -> None:
    found = cell_means(np.array([0, 0, 1, -1]), np.array([0, 0, 1, 1]), np.array([1.0, 3.0, NAN, 9.0]), (2, 2))
    assert found[0, 0] == 2 and np.isnan(found).sum() == 3


def test_interaction_is_what_the_sum_of_effects_leaves() -> None:
    additive = np.add.outer([0.1, 0.3, 0.2], [0.0, 0.5])
    assert interaction(additive) == pytest.approx(0, abs=1e-12)
    crossed = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert interaction(crossed) == pytest.approx(0.5)
    rest = crossed - crossed.mean(0) - crossed.mean(1)[:, None] + crossed.mean()
    assert interaction(crossed + 7) == pytest.approx(np.sqrt((rest**2).mean()))
    gap = additive.copy()
    gap[0, 0] = NAN
    assert interaction(gap) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("table", [[[1.0, 2.0]], [[1.0], [2.0]], [[1.0, NAN], [2.0, 3.0]], [[NAN, NAN], [NAN, NAN]]])
def test_a_table_that_leaves_nothing_has_no_interaction(table: list[list[float]]) -> None:
    assert interaction(np.array(table)) is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-5, 5) | st.just(0.0), min_size=1, max_size=60), st.integers(1, 6))
def test_bins_are_in_order_and_never_split_a_value(values: list[float], bins: int) -> None:
    x = np.array([*values, NAN])
    code, at = quantile_bins(x, bins)
    assert code[-1] == -1 and set(code[:-1]) == set(range(len(at))) and len(at) <= bins
    assert (np.diff(at) >= 0).all()
    for value in set(values):
        assert len(set(code[:-1][x[:-1] == value])) == 1
    for level, mean in enumerate(at):
        assert mean == pytest.approx(x[code == level].mean())
