"""Operating points: against all thresholds tried one by one, with ties, and for what their intervals promise."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from swag_ray.core.operating_points import operating_points
from tests.core.test_metrics import Labelled, shifted

POINTS = {
    "sensitivity_at_specificity_90": Fraction(90, 100), "sensitivity_at_specificity_95": Fraction(95, 100),
    "normals_set_aside_at_sensitivity_95": Fraction(95, 100), "normals_set_aside_at_sensitivity_99": Fraction(99, 100),
}  # fmt: skip


@st.composite
def labelled(draw: st.DrawFn) -> Labelled:
    """Enough images of both classes that .90 and .95 differ, with ties among the scores."""
    counts = [draw(st.sampled_from([1, 2, 9, 10, 11, 20, 21, 40])) for _ in range(2)]
    label = np.repeat([False, True], counts)
    spread = draw(st.sampled_from([2, 6, 1000]))
    score = draw(st.lists(st.integers(0, spread).map(float), min_size=len(label), max_size=len(label)))
    return label, np.array(score) + label * draw(st.sampled_from([0, spread / 2]))


def by_trying(label: NDArray[np.bool_], score: NDArray[np.float64]) -> dict[str, float]:
    """Every observed score as the threshold, and infinity, under which nothing is flagged; shares as fractions."""
    found = dict.fromkeys(POINTS, 0.0)
    for threshold in [*score, np.inf]:
        flagged = score >= threshold
        sensitivity = Fraction(int(flagged[label].sum()), int(label.sum()))
        specificity = Fraction(int((~flagged[~label]).sum()), int((~label).sum()))
        for name, least in POINTS.items():
            held, won = (specificity, sensitivity) if name.startswith("sens") else (sensitivity, specificity)
            if held >= least:
                found[name] = max(found[name], float(won))
    return found


@given(labelled())
def test_a_point_is_the_best_of_all_thresholds(pair: Labelled) -> None:
    points = operating_points(*pair, np.random.default_rng(0), draws=2)
    assert {name: share.value for name, share in points.items()} == pytest.approx(by_trying(*pair))


def test_ties_are_flagged_together_or_not_at_all() -> None:
    label = np.repeat([False, True], [10, 10])
    # Two normals share the second highest score with five anomalies: to flag it would cost 20 % of the normals.
    score = np.array([0.0] * 8 + [5.0] * 2 + [9.0] * 3 + [5.0] * 5 + [1.0, 0.0])
    points = operating_points(label, score, np.random.default_rng(0))
    assert {name: share.value for name, share in points.items()} == {
        "sensitivity_at_specificity_90": 0.3, "sensitivity_at_specificity_95": 0.3,
        "normals_set_aside_at_sensitivity_95": 0.0, "normals_set_aside_at_sensitivity_99": 0.0,
    }  # fmt: skip
    assert operating_points(label, np.zeros(20), np.random.default_rng(0))["sensitivity_at_specificity_90"].value == 0


def test_separate_classes_give_everything_and_no_width() -> None:
    label = np.repeat([False, True], [30, 30])
    for share in operating_points(label, label.astype(float), np.random.default_rng(0)).values():
        assert (share.value, share.low, share.high) == (1, 1, 1)


@settings(max_examples=25)
@given(labelled(), st.integers(0, 1_000))
def test_an_interval_is_that_of_the_plain_resampling(pair: Labelled, random_seed: int) -> None:
    label, score = pair
    points = operating_points(label, score, np.random.default_rng(random_seed), draws=5, level=0.8)
    rng = np.random.default_rng(random_seed)
    normal, anomaly = np.flatnonzero(~label), np.flatnonzero(label)
    picked_normal = normal[rng.integers(0, len(normal), size=(5, len(normal)))]
    picked_anomaly = anomaly[rng.integers(0, len(anomaly), size=(5, len(anomaly)))]
    drawn = [by_trying(label[rows], score[rows]) for rows in np.concatenate([picked_normal, picked_anomaly], axis=1)]
    for name, share in points.items():
        low, high = np.quantile([figures[name] for figures in drawn], [0.1, 0.9])
        assert (share.low, share.high) == pytest.approx((low, high))


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Normals N(0, 1), anomalies N(1.5, 1): at .90 specificity the threshold is 1.2816 and finds .5867 of them."""
    covered = []
    for i in range(120):
        rng = np.random.default_rng(i)
        label = np.arange(400) < 200
        point = operating_points(label, rng.normal(size=400) + 1.5 * label, rng, draws=300)
        found = point["sensitivity_at_specificity_90"]
        covered.append(found.low <= 0.5867 <= found.high)
    assert 0.88 <= np.mean(covered) <= 0.995


def test_the_generator_alone_decides_the_interval() -> None:
    label, score = shifted(100, 1.0)
    runs = [operating_points(label, score, np.random.default_rng(seed), 200) for seed in (7, 7, 8)]
    assert runs[0] == runs[1] != runs[2]


def test_two_thousand_draws_are_fast() -> None:
    label, score = shifted(624, 1.0)
    started = time.thread_time()
    operating_points(label, score, np.random.default_rng(0))
    assert time.thread_time() - started < 0.5


@pytest.mark.parametrize(
    ("label", "score"),
    [
        (np.zeros(3, dtype=bool), np.zeros(3)),
        (np.array([0, 1, 1]), np.zeros(3)),
        (np.array([True, False]), np.zeros(3)),
        (np.array([True, False]), np.array([0.0, np.nan])),
    ],
)
def test_what_cannot_be_judged_is_refused(label: NDArray[Any], score: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=r"label_T|score_T"):
        operating_points(label, score, np.random.default_rng(0))


@pytest.mark.parametrize(("draws", "level"), [(1, 0.95), (2000, 0.0), (2000, 1.0)])
def test_no_interval_of_one_draw_or_of_another_level(draws: int, level: float) -> None:
    with pytest.raises(ValueError, match="draws"):
        operating_points(np.array([True, False]), np.zeros(2), np.random.default_rng(0), draws, level)
