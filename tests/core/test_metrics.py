"""Areas, thresholds and intervals: against plain loops and scikit-learn, and for what they promise."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from swag_ray.core import calibrate, metrics

Labelled = tuple[NDArray[np.bool_], NDArray[np.float64]]


@st.composite
def labelled(draw: st.DrawFn) -> Labelled:
    """Both classes, with ties among the scores."""
    label = [True, False, *draw(st.lists(st.booleans(), max_size=15))]
    score = draw(st.lists(st.integers(-4, 4).map(float), min_size=len(label), max_size=len(label)))
    return np.array(label), np.array(score)


def shifted(count: int, shift: float, random_seed: int = 0) -> Labelled:
    rng = np.random.default_rng(random_seed)
    label = np.arange(count) % 8 >= 3
    return label, rng.normal(size=count) + shift * label


@given(labelled())
def test_roc_auc_is_the_share_of_pairs_in_order(pair: Labelled) -> None:
    label, score = pair
    wins = [(a > n) + 0.5 * (a == n) for a in score[label] for n in score[~label]]
    assert metrics.roc_auc(label, score) == pytest.approx(np.mean(wins))
    assert metrics.two_sided(metrics.roc_auc(label, -score)) == pytest.approx(metrics.two_sided(np.mean(wins)))


def test_pr_auc_is_average_precision() -> None:
    label, score = np.array([True, False, True, False]), np.array([4.0, 3.0, 2.0, 1.0])
    assert metrics.pr_auc(label, score) == pytest.approx((1 / 1 + 2 / 3) / 2)


@given(labelled())
def test_youden_is_the_best_of_all_thresholds(pair: Labelled) -> None:
    label, score = pair

    def index(threshold: float) -> float:
        flagged = score >= threshold
        return float(flagged[label].mean() - flagged[~label].mean())

    figures = metrics.youden(label, score)
    best = max(index(t) for t in score)
    assert figures["threshold"] == max(t for t in score if index(t) >= best - 1e-9), "the highest of the best"
    assert figures["tp"] + figures["fp"] == (score >= figures["threshold"]).sum()


def test_youden_takes_the_highest_threshold_though_rates_round() -> None:
    """1/3 - 0/3 and 3/3 - 2/3 are the same third, but not the same float."""
    label = np.array([True, False, False, True, True, False])
    assert metrics.youden(label, np.arange(6.0, 0.0, -1.0))["threshold"] == 6


@given(labelled())
def test_confusion_counts_every_image_once(pair: Labelled) -> None:
    label, score = pair
    figures = metrics.confusion(label, score > 0)
    assert figures["tn"] + figures["fp"] + figures["fn"] + figures["tp"] == len(label)
    assert figures["accuracy"] == pytest.approx(np.mean(label == (score > 0)))
    if {"precision", "recall"} <= figures.keys() and figures["tp"]:
        precision, recall = figures["precision"], figures["recall"]
        assert figures["f1"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_confusion_leaves_out_what_is_undefined() -> None:
    none, all_ = np.zeros(3, dtype=bool), np.ones(3, dtype=bool)
    assert metrics.confusion(all_, none).keys() == {"accuracy", "recall", "f1", "tn", "fp", "fn", "tp"}
    assert metrics.confusion(none, none).keys() == {"accuracy", "tn", "fp", "fn", "tp"}
    assert metrics.confusion(none, all_)["fp"] == 3


def test_at_rate_flags_up_to_the_rate() -> None:
    figures = metrics.at_rate(np.array([True, True, False, False]), np.array([0.05, 0.06, 0.01, 1.0]), 0.05)
    assert [figures[name] for name in ("threshold", "tp", "fn", "fp", "tn")] == [0.05, 1, 1, 1, 1]
    for value in figures.values():
        assert type(value) in (int, float)  # goes into JSON


def test_float32_scores_are_judged_at_their_own_threshold() -> None:
    label, score = shifted(200, 1.0)
    single = score.astype(np.float32)
    figures = metrics.youden(label, single)
    assert figures["tp"] == (single[label].astype(np.float64) >= figures["threshold"]).sum()


@settings(max_examples=25)
@given(labelled(), st.integers(0, 1_000))
def test_the_bootstrap_is_the_plain_resampling(pair: Labelled, random_seed: int) -> None:
    label, score = pair
    columns = [score, -score + label]
    normal, anomaly = np.flatnonzero(~label), np.flatnonzero(label)
    area_BM = metrics._bootstrap(label, columns, np.random.default_rng(random_seed), 3)
    rng = np.random.default_rng(random_seed)
    picked_normal = normal[rng.integers(0, len(normal), size=(3, len(normal)))]
    picked_anomaly = anomaly[rng.integers(0, len(anomaly), size=(3, len(anomaly)))]
    for b in range(3):
        rows = np.concatenate([picked_normal[b], picked_anomaly[b]])
        np.testing.assert_allclose(area_BM[b], [roc_auc_score(label[rows], column[rows]) for column in columns])


def test_an_interval_is_the_central_share_of_the_draws() -> None:
    label, a = shifted(60, 1.0)
    b = np.roll(a, 1)
    normal, anomaly = np.flatnonzero(~label), np.flatnonzero(label)
    rng = np.random.default_rng(3)
    picked = [rows[rng.integers(0, len(rows), size=(50, len(rows)))] for rows in (normal, anomaly)]
    gain_B = [
        roc_auc_score(label[rows], a[rows]) - roc_auc_score(label[rows], b[rows])
        for rows in np.concatenate(picked, axis=1)
    ]
    _, low, high = metrics.paired_difference(label, a, b, np.random.default_rng(3), draws=50, level=0.8)
    assert (low, high) == pytest.approx(tuple(np.quantile(gain_B, [0.1, 0.9])))
    # Splits that are all alike: their draw adds nothing, and the interval is that of one.
    alike = metrics.repeated_difference(
        label, np.stack([a] * 2), np.stack([b] * 2), np.random.default_rng(3), draws=50, level=0.8
    )
    assert alike[1:] == pytest.approx((low, high))


@pytest.mark.parametrize(("draws", "level"), [(1, 0.9), (2, 0.0), (2, 1.0), (2, 1.5)])
def test_no_interval_of_one_draw_or_of_another_level(draws: int, level: float) -> None:
    label, score = shifted(40, 1.0)
    rng, twice = np.random.default_rng(0), np.stack([score] * 2)
    with pytest.raises(ValueError, match="draws"):
        metrics.paired_difference(label, score, score, rng, draws, level)
    with pytest.raises(ValueError, match="draws"):
        metrics.repeated_difference(label, twice, twice, rng, draws, level)
    assert metrics.paired_difference(label, score, score, rng, 2, 0.5) == (0, 0, 0)
    assert metrics.repeated_difference(label, twice, twice, rng, 2, 0.5) == (0, 0, 0)


def test_paired_difference_of_a_score_with_itself_is_exactly_none() -> None:
    label, score = shifted(300, 1.0)
    assert metrics.paired_difference(label, score, score * 3 + 1, np.random.default_rng(0)) == (0, 0, 0)


def test_paired_difference_holds_its_level_and_sees_a_difference() -> None:
    covered = []
    for i in range(150):
        label, common = shifted(200, 1.0, i)
        rng = np.random.default_rng(1_000 + i)
        a, b = (common + rng.normal(size=200) for _ in range(2))
        _, low, high = metrics.paired_difference(label, a, b, rng, draws=400)
        covered.append(low <= 0 <= high)
    assert 0.89 <= np.mean(covered) <= 1

    label, common = shifted(624, 1.0)
    worse = common + np.random.default_rng(1).normal(size=624)
    difference, low, high = metrics.paired_difference(label, common, worse, np.random.default_rng(2))
    assert difference == pytest.approx(metrics.roc_auc(label, common) - metrics.roc_auc(label, worse))
    assert 0 < low < difference < high


def test_pairing_is_tighter_than_two_intervals() -> None:
    label, common = shifted(624, 1.0)
    near = common + 0.2 * np.random.default_rng(3).normal(size=624)
    _, low, high = metrics.paired_difference(label, common, near, np.random.default_rng(4))
    assert high - low < 0.5 * 2 * 1.96 * known_error(metrics.roc_auc(label, common))


def test_an_interval_has_the_known_standard_error() -> None:
    # Of a difference to a score that ranks perfectly on every resampling, all the spread is the other score's.
    label = np.arange(624) < 390
    score = np.random.default_rng(5).normal(size=624) + 1.735 * label
    perfect = label.astype(float)
    difference, low, high = metrics.paired_difference(label, perfect, score, np.random.default_rng(6))
    assert (high - low) / (2 * 1.96) == pytest.approx(known_error(1 - difference), rel=0.15)


def known_error(area: float) -> float:
    """Hanley and McNeil (1982) for 390 anomalies and 234 normals."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    return float(np.sqrt((area * (1 - area) + 389 * (q1 - area**2) + 233 * (q2 - area**2)) / (390 * 234)))


def test_the_generator_alone_decides_the_interval() -> None:
    label, a = shifted(100, 1.0, 0)
    b = shifted(100, 1.0, 1)[1]
    runs = [metrics.paired_difference(label, a, b, np.random.default_rng(seed), 200) for seed in (7, 7, 8)]
    assert runs[0] == runs[1] != runs[2]


def test_two_thousand_draws_are_fast() -> None:
    label, a = shifted(624, 1.0)
    b = shifted(624, 1.0, 1)[1]
    started = time.thread_time()
    metrics.paired_difference(label, a, b, np.random.default_rng(0))
    assert time.thread_time() - started < 1


@pytest.mark.parametrize(
    ("label", "score"),
    [
        (np.zeros(3, dtype=bool), np.zeros(3)),
        (np.array([0, 1, 1]), np.zeros(3)),
        (np.array([True, None, False], dtype=object), np.zeros(3)),
        (np.array([True, False]), np.zeros(3)),
        (np.array([True, False]), np.array([0.0, np.nan])),
    ],
)
def test_what_cannot_be_judged_is_refused(label: NDArray[Any], score: NDArray[Any]) -> None:
    for figure in (metrics.roc_auc, metrics.pr_auc, metrics.youden):
        with pytest.raises(ValueError, match=r"label_T|score_T"):
            figure(label, score)
    with pytest.raises(ValueError, match=r"label_T|score"):
        metrics.paired_difference(label, score, score, np.random.default_rng(0))


def test_fault_7_the_conformal_threshold_sees_no_test_label() -> None:
    rng = np.random.default_rng(8)
    seeds, (label, score) = rng.normal(size=400), shifted(300, 1.5)
    permuted = rng.permutation(label)
    p = calibrate.conformal_p(seeds, score)
    honest, again = metrics.at_rate(label, p, 0.05), metrics.at_rate(permuted, p, 0.05)
    assert honest["threshold"] == again["threshold"] == 0.05
    assert honest["tp"] + honest["fp"] == again["tp"] + again["fp"] == (p <= 0.05).sum() > 0
    picked, moved = metrics.youden(label, score), metrics.youden(permuted, score)
    assert picked["threshold"] != moved["threshold"]
    # And the threshold picked on labels that say nothing still looks better than chance.
    assert moved["tp"] / permuted.sum() > moved["fp"] / (~permuted).sum()


def test_repeated_difference_resamples_splits_and_test_images() -> None:
    """One split's interval knows of the test images alone; three splits that disagree are less sure than one."""
    label, common = shifted(300, 1.5)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=300)
    own, seed_only = np.stack([common] * 3), np.stack([common + noise] * 3)
    difference, low, high = metrics.repeated_difference(label, own, seed_only, np.random.default_rng(1))
    single, below, above = metrics.paired_difference(label, own[0], seed_only[0], np.random.default_rng(1))
    assert difference == pytest.approx(single)
    assert (low, high) == pytest.approx((below, above), abs=0.006), "splits that agree add no spread"

    seed_only = np.stack([common + factor * noise for factor in (0, 1, 2)])
    gains = [metrics.roc_auc(label, common) - metrics.roc_auc(label, s) for s in seed_only]
    difference, low, high = metrics.repeated_difference(label, own, seed_only, np.random.default_rng(1))
    assert difference == pytest.approx(np.mean(gains))
    assert low == pytest.approx(gains[0], abs=0.02) and high - low > 2 * (above - below)


def test_one_split_is_no_repetition() -> None:
    label, score = shifted(40, 1.0)
    with pytest.raises(ValueError, match="splits 1"):
        metrics.repeated_difference(label, score[None], score[None], np.random.default_rng(0))
