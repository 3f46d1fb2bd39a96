"""p-values, z-scores and samples on the seeds' scale: against naive loops, and for what they promise."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import betabinom

from swag_ray.core import calibrate

# Halves, so that ties are common and exact.
scores = st.integers(-20, 20).map(lambda i: i / 2)
score_lists = st.lists(scores, min_size=1, max_size=25)


def naive_p(seeds: list[float], x: float) -> float:
    return (1 + sum(s >= x for s in seeds)) / (len(seeds) + 1)


@given(score_lists, score_lists)
def test_conformal_p_is_the_loop_and_in_range(seeds: list[float], others: list[float]) -> None:
    p = calibrate.conformal_p(np.array(seeds), np.array(others))
    np.testing.assert_allclose(p, [naive_p(seeds, x) for x in others], rtol=1e-15)
    assert (p > 0).all() and (p <= 1).all()


@given(st.lists(scores, min_size=2, max_size=25), st.floats(0.01, 0.99))
def test_conformal_p_is_super_uniform(values: list[float], rate: float) -> None:
    # Exchangeability, exactly: let each value in turn be the new image and the others the seeds.
    x = np.array(values)
    p = [calibrate.conformal_p(np.delete(x, i), x[i : i + 1])[0] for i in range(len(x))]
    assert np.count_nonzero(np.array(p) <= rate) <= rate * len(x) + 1e-9


@given(score_lists, score_lists, st.randoms(use_true_random=False))
def test_conformal_p_ignores_the_order_of_seeds(seeds: list[float], others: list[float], random: Any) -> None:
    shuffled = seeds.copy()
    random.shuffle(shuffled)
    x = np.array(others)
    np.testing.assert_array_equal(
        calibrate.conformal_p(np.array(seeds), x), calibrate.conformal_p(np.array(shuffled), x)
    )


@given(st.data())
def test_cross_conformal_p_is_the_loop(data: st.DataObject) -> None:
    folds = data.draw(st.integers(1, 4))
    seeds = data.draw(st.lists(st.tuples(scores, st.integers(0, folds - 1)), min_size=1, max_size=25))
    score_TK = np.array(data.draw(st.lists(st.lists(scores, min_size=folds, max_size=folds), min_size=1, max_size=8)))
    seed_n, fold_n = np.array([s for s, _ in seeds]), np.array([k for _, k in seeds])
    naive = [(1 + sum(s >= row[k] for s, k in seeds)) / (len(seeds) + 1) for row in score_TK]
    p = calibrate.cross_conformal_p(seed_n, fold_n, score_TK)
    np.testing.assert_allclose(p, naive, rtol=1e-15)
    order = np.argsort(seed_n)
    np.testing.assert_array_equal(p, calibrate.cross_conformal_p(seed_n[order], fold_n[order], score_TK))


@given(score_lists, score_lists)
def test_cross_conformal_p_of_equal_models_is_conformal_p(seeds: list[float], others: list[float]) -> None:
    fold_n = np.arange(len(seeds)) % 3
    same_TK = np.repeat(np.array(others)[:, None], 3, axis=1)
    np.testing.assert_array_equal(
        calibrate.cross_conformal_p(np.array(seeds), fold_n, same_TK),
        calibrate.conformal_p(np.array(seeds), np.array(others)),
    )


def test_cross_conformal_p_is_fast_at_scale() -> None:
    rng = np.random.default_rng(0)
    started = time.thread_time()
    calibrate.cross_conformal_p(rng.normal(size=10_000), rng.integers(0, 5, 10_000), rng.normal(size=(100_000, 5)))
    assert time.thread_time() - started < 2  # a broadcast comparison would need 10^9 of them, many times this


def test_z_score_uses_the_sample_sd_and_keeps_null() -> None:
    z = calibrate.z_score(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, np.nan]))
    np.testing.assert_allclose(z, [0, 1, np.nan])


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e9, 1e-30])
def test_z_score_refuses_seeds_without_spread(constant: float) -> None:
    with pytest.raises(calibrate.DegenerateScores, match="nothing can be calibrated"):
        calibrate.z_score(np.full(403, constant, dtype=np.float32), np.array([0.0]))


def test_z_score_refuses_a_spread_that_float32_alone_makes() -> None:
    """Distances of blank films to each other, as the whitened bank gives them: roots of rounded squares."""
    generator = np.random.default_rng(0)
    rounding = np.sqrt(np.abs(generator.normal(0, 4e-7, 60)))
    for spread in (rounding, 0.7 + generator.normal(0, 1e-7, 60), -3e4 + generator.normal(0, 1e-3, 60)):
        with pytest.raises(calibrate.DegenerateScores):
            calibrate.z_score(spread.astype(np.float32), spread)
    for scores in (generator.normal(0.95, 0.005, 60), generator.normal(0, 1, 60), generator.normal(-9, 0.1, 60)):
        assert calibrate.z_score(scores, scores).std(ddof=1) == pytest.approx(1)


@pytest.mark.parametrize("bad", [np.array([]), np.array([1.0]), np.array([1.0, np.nan, 2.0]), np.array([1.0, np.inf])])
def test_z_score_refuses_incomplete_references(bad: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="reference_n"):
        calibrate.z_score(bad, np.array([0.0]))


def test_p_values_refuse_what_would_silently_count_as_normal() -> None:
    seeds = np.array([1.0, 2.0])
    # A NaN compares False with everything: unrefused it would get the smallest or largest p for no reason.
    with pytest.raises(ValueError, match="not finite"):
        calibrate.conformal_p(seeds, np.array([np.nan]))
    with pytest.raises(ValueError, match="at least 1"):
        calibrate.conformal_p(np.array([]), np.array([1.0]))
    with pytest.raises(ValueError, match="seed_fold_n"):
        calibrate.cross_conformal_p(seeds, np.array([0, 2]), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="seed_fold_n"):
        calibrate.cross_conformal_p(seeds, np.array([0.0, 1.0]), np.zeros((3, 2)))


def test_log_uncertainty_has_a_floor_and_keeps_null() -> None:
    log_u = calibrate.log_uncertainty(np.array([0.0, 1e-13, 1.0, np.nan]))
    np.testing.assert_allclose(log_u, [np.log(1e-12), np.log(1e-12), 0.0, np.nan])
    with pytest.raises(ValueError, match="standard deviation"):
        calibrate.log_uncertainty(np.array([-0.1]))


def naive_standard(raw_NS: NDArray[Any], fold_N: NDArray[Any], is_seed_N: NDArray[Any]) -> NDArray[np.float64]:
    standard = np.zeros(raw_NS.shape)
    for i, k in enumerate(fold_N):
        reference = is_seed_N & (fold_N == k)
        reference[i] = False
        standard[i] = (raw_NS[i] - raw_NS[reference].mean(axis=0)) / raw_NS[reference].std(axis=0, ddof=1)
    return standard


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_standardise_samples_is_the_loop_and_removes_each_samples_scale(
    random_seed: int, shift: float, scale: float
) -> None:
    rng = np.random.default_rng(random_seed)
    fold_N = np.concatenate([np.repeat([0, 1], 4), rng.integers(0, 2, 20)])
    is_seed_N = np.concatenate([np.ones(8, dtype=bool), rng.random(20) < 0.5])
    raw_NS = rng.normal(size=(28, 3))
    standard = calibrate.standardise_samples(raw_NS, fold_N, is_seed_N)
    np.testing.assert_allclose(standard, naive_standard(raw_NS, fold_N, is_seed_N), rtol=1e-9, atol=1e-9)
    rescaled = raw_NS * [1, scale, 1] + [0, 0, shift]
    np.testing.assert_allclose(
        calibrate.standardise_samples(rescaled, fold_N, is_seed_N), standard, rtol=1e-6, atol=1e-6
    )


def test_standardise_samples_puts_seeds_and_held_out_normals_on_one_scale() -> None:
    # Small folds, where standardising a seed by a group that includes it would shrink it most.
    rng = np.random.default_rng(3)
    folds, seeds, others = 400, 5, 5
    fold_N = np.tile(np.arange(folds), seeds + others)
    is_seed_N = np.arange(len(fold_N)) < folds * seeds
    standard = calibrate.standardise_samples(rng.normal(size=(len(fold_N), 1)), fold_N, is_seed_N)[:, 0]
    # A seed has 4 others, a pool image 5: t-like with 3 and 4 degrees of freedom, both far wider than included seeds,
    # whose |z| cannot exceed (n - 1) / sqrt(n) = 1.79.
    assert np.abs(standard[is_seed_N]).max() > 4
    assert abs(np.median(np.abs(standard[is_seed_N])) - np.median(np.abs(standard[~is_seed_N]))) < 0.1


def test_standardise_samples_keeps_null_of_pool_images_and_refuses_it_of_seeds() -> None:
    raw_NS = np.array([[1.0], [2.0], [4.0], [np.nan]])
    fold_N, is_seed_N = np.zeros(4, dtype=np.int64), np.array([True, True, True, False])
    assert np.isnan(calibrate.standardise_samples(raw_NS, fold_N, is_seed_N)[3, 0])
    with pytest.raises(ValueError, match="not finite"):
        calibrate.standardise_samples(raw_NS, fold_N, np.ones(4, dtype=bool))
    with pytest.raises(ValueError, match="at least 3"):
        calibrate.standardise_samples(raw_NS, np.array([0, 0, 1, 0]), is_seed_N)


@pytest.mark.parametrize(
    "seed_scores",
    [
        [1.0, 1.0, 1.0], [1.0, 1.0, 5.0], [0.1, 0.1, 0.3], [3.0, 3.0000002, 3.0000004],
        [1234.567, 1234.567, 98765.4321],  # without the last, rounding leaves a spread of 1e-6
    ],
)  # fmt: skip
def test_standardise_samples_refuses_seeds_without_spread(seed_scores: list[float]) -> None:
    with pytest.raises(calibrate.DegenerateScores):
        calibrate.standardise_samples(np.array(seed_scores)[:, None], np.zeros(3, dtype=int), np.ones(3, dtype=bool))


def test_what_the_other_seeds_leave_is_a_spread_from_a_share_of_1e_12_on() -> None:
    """Without the last of 0, t and 1 the squares are t^2 / 2, with it 2 / 3: of 1.4e-6 a share of 1.5e-12 is left."""
    fold, seeds = np.zeros(3, dtype=int), np.ones(3, dtype=bool)
    z = calibrate.standardise_samples(np.array([[0], [1.4e-6], [1]]), fold, seeds)[2, 0]
    assert z == pytest.approx(1 / (1.4e-6 / 2**0.5), rel=1e-3)
    with pytest.raises(calibrate.DegenerateScores, match="without one of them"):
        calibrate.standardise_samples(np.array([[0], [1.1e-6], [1]]), fold, seeds)  # a share of .9e-12


def test_uncertainty_is_the_spread_over_standardised_samples() -> None:
    rng = np.random.default_rng(4)
    raw_NS, fold_N, is_seed_N = rng.normal(size=(14, 3)), np.arange(14) % 2, np.arange(14) < 8
    raw_NS[13] = np.nan
    expected_NS = naive_standard(raw_NS, fold_N, is_seed_N)
    spread_N = np.sqrt(((expected_NS - expected_NS.mean(axis=1, keepdims=True)) ** 2).sum(axis=1) / 2)
    np.testing.assert_allclose(calibrate.sample_uncertainty(raw_NS, fold_N, is_seed_N), spread_N)


def test_two_sample_holds_its_level_and_sees_a_shift() -> None:
    rng = np.random.default_rng(5)
    same = [calibrate.two_sample(rng.normal(size=100), rng.normal(size=250)) for _ in range(300)]
    assert np.mean(np.array(same) < 0.05) < 0.09
    assert calibrate.two_sample(rng.normal(size=400), rng.normal(0.4, 1, size=900)) < 1e-4


@pytest.mark.parametrize(("rate", "seeds"), [(0.05, 402), (0.29, 99), (0.1, 60)])
def test_rate_interval_covers_the_rate_of_flagged_normals(rate: float, seeds: int) -> None:
    rng = np.random.default_rng(6)
    low, high = calibrate.rate_interval(rate, seeds, 300)
    observed = [
        np.mean(calibrate.conformal_p(rng.normal(size=seeds), rng.normal(size=300)) <= rate) for _ in range(1_000)
    ]
    assert 0.93 <= np.mean([low <= r <= high for r in observed]) <= 0.99
    # Narrower than needed would be the plain binomial, which takes the seeds for infinite.
    assert high - low > 2 * 1.96 * np.sqrt(rate * (1 - rate) / 300)


def test_rate_interval_counts_the_flags_as_they_are_made() -> None:
    # 0.29 * 100 rounds to 28.999...: floor would lose the p-value 29 / 100, which is flagged.
    assert 29 / 100 <= 0.29
    assert calibrate.rate_interval(0.29, 99, 50)[0] == betabinom.ppf(0.025, 50, 29, 71) / 50
    assert calibrate.rate_interval(0.05, 10, 50) == (0.0, 0.0)  # the smallest p is 1 / 11: nothing can be flagged
    with pytest.raises(ValueError, match="between 0 and 1"):
        calibrate.rate_interval(0.0, 10, 10)


def test_rate_interval_of_one_seed_and_one_normal() -> None:
    assert calibrate.rate_interval(0.5, 1, 1) == (0.0, 1.0)
    for seeds, normals in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="at least one of each"):
            calibrate.rate_interval(0.5, seeds, normals)
    for rate, level in ((1.0, 0.95), (1.5, 0.95), (0.05, 0.0), (0.05, 1.0), (0.05, 1.5)):
        with pytest.raises(ValueError, match="between 0 and 1"):
            calibrate.rate_interval(rate, 99, 10, level)


# ---- the published script's third fault


def distances(query_ND: NDArray[Any], bank_MD: NDArray[Any], neighbours: int = 3) -> NDArray[np.float64]:
    """Mean distance to the nearest rows of the bank."""
    squared = (query_ND**2).sum(1)[:, None] + (bank_MD**2).sum(1) - 2 * query_ND @ bank_MD.T
    return np.asarray(np.sqrt(np.maximum(np.sort(squared, axis=1)[:, :neighbours], 0)).mean(axis=1))


def seeds_and_normals(random_seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Scores of the seeds in their own bank, of the same seeds cross-fitted, and of held-out normals likewise."""
    rng = np.random.default_rng(random_seed)
    seed_nD, normal_ND = rng.normal(size=(300, 12)), rng.normal(size=(400, 12))
    seed_fold, normal_fold = np.arange(300) % 5, np.arange(400) % 5
    in_bank, cross, held_out = distances(seed_nD, seed_nD), np.zeros(300), np.zeros(400)
    for k in range(5):
        bank_MD = seed_nD[seed_fold != k]
        cross[seed_fold == k] = distances(seed_nD[seed_fold == k], bank_MD)
        held_out[normal_fold == k] = distances(normal_ND[normal_fold == k], bank_MD)
    return in_bank, cross, held_out


def test_fault_3_seeds_in_their_own_bank_close_the_gate() -> None:
    in_bank, cross, held_out = seeds_and_normals(0)
    assert calibrate.two_sample(in_bank, held_out) < 1e-6
    assert np.mean(calibrate.z_score(in_bank, held_out) <= 0) < 0.1
    assert calibrate.two_sample(cross, held_out) > 0.01
    assert np.mean(calibrate.z_score(cross, held_out) <= 0) > 0.4
    # Not one lucky draw: the cross-fitted test holds its level over many.
    agreed = [calibrate.two_sample(*seeds_and_normals(i)[1:]) > 0.05 for i in range(1, 31)]
    assert np.mean(agreed) > 0.8
