"""The probability of being abnormal, against simulations whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from swag_ray.core.posterior import Posterior, fit_posterior

Floats = NDArray[np.float64]
SHIFT = 3.0  # of anomalies, in the normals' sd
GRID = np.linspace(-8, 12, 401)


def draw(seeds: int, pool: int, share: float, seed: int, *, low: float = 0.0) -> tuple[Floats, Floats]:
    """Scores of seeds and pool, in the seeds' sd; the pool's normals lie `low` below the seeds, anomalies come last."""
    rng, abnormal = np.random.default_rng(seed), round(share * pool)
    seed_n, normal_m = rng.normal(size=seeds), rng.normal(-low, 1, pool - abnormal)
    pool_m = np.concatenate([normal_m, rng.normal(SHIFT, 1, abnormal)])
    return tuple((s - seed_n.mean()) / seed_n.std(ddof=1) for s in (seed_n, pool_m))  # type: ignore[return-value]


def truth(z_m: Floats, share: float) -> Floats:
    f0, f1 = norm.pdf(z_m), norm.pdf(z_m, SHIFT)
    return np.asarray(share * f1 / (share * f1 + (1 - share) * f0))


@pytest.mark.parametrize(("seeds", "off"), [(35, 0.12), (155, 0.07), (400, 0.06)])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_it_comes_near_the_truth(seeds: int, off: float, share: float) -> None:
    """On average over draws; of the images called likely, about as many are abnormal as it says."""
    errors, told, found = [], [], []
    for seed in range(40):
        seed_n, pool_m = draw(seeds, 400, share, seed)
        eta_m = fit_posterior(seed_n, pool_m).eta(pool_m)
        errors.append(np.abs(eta_m - truth(pool_m, share)).mean())
        likely = eta_m >= 0.5
        told.append(eta_m[likely].sum())
        found.append(likely[-round(400 * share) :].sum())
    assert np.mean(errors) < off
    assert sum(found) / sum(told) > 0.8, "not more certain than it may be"
    assert sum(found) > 0.4 * 400 * share * len(found), "and not blind"


@pytest.mark.parametrize(("seeds", "most"), [(35, 0.06), (155, 0.04), (400, 0.04)])
def test_a_clean_pool_has_next_to_no_anomalies(seeds: int, most: float) -> None:
    """The mean over draws. 35 seeds say little of their own median: without its error they gave .08."""
    for pool in (100, 400, 1000):
        means, rejects = [], []
        for seed in range(100):
            seed_n, pool_m = draw(seeds, pool, 0, seed)
            eta_m = fit_posterior(seed_n, pool_m).eta(pool_m)
            means.append(eta_m.mean())
            rejects.append((eta_m >= 0.5).mean())
        assert np.mean(means) < most and np.mean(rejects) < (0.02 if seeds == 35 else 0.004)
        assert np.median(rejects) == 0


@pytest.mark.parametrize("seeds", [35, 155, 400])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_the_mean_is_the_share_of_anomalies(seeds: int, share: float) -> None:
    pools = (draw(seeds, 400, share, seed) for seed in range(100))
    means = [fit_posterior(seed_n, pool_m).eta(pool_m).mean() for seed_n, pool_m in pools]
    assert np.mean(means) == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize("pool", [30, 400, 4000])
def test_how_many_there_are_of_each_is_no_evidence(pool: int) -> None:
    """Without the correction by log(m / n) ten times as many pool images as seeds would look ten times as odd."""
    at = np.array([0, SHIFT])
    clean = np.mean([fit_posterior(*draw(400, pool, 0, seed)).eta(at) for seed in range(40)], axis=0)
    mixed = np.mean([fit_posterior(*draw(400, pool, 0.1, seed)).eta(at) for seed in range(40)], axis=0)
    assert clean[0] < 0.05 and clean[1] < 0.25, "uncorrected 0.9 at ten times as many"
    assert mixed[0] < 0.05 and 0.55 < mixed[1] < truth(at, 0.1)[1]


@pytest.mark.parametrize("seeds", [35, 155, 400])
@pytest.mark.parametrize("low", [0.0, 0.5, 1.0])
def test_a_higher_score_is_never_less_abnormal(seeds: int, low: float) -> None:
    """Also where the pool's normals score lower than the seeds: an image below all seeds is no anomaly."""
    for seed in range(20):
        curve = fit_posterior(*draw(seeds, 400, 0.1, seed, low=low)).eta(GRID)
        assert (np.diff(curve) >= 0).all() and curve[GRID < -3].max() < 0.5 < curve[-1]


def test_scores_beyond_the_last_seed_go_on_to_tell() -> None:
    """Ranks do not: with 35 seeds no p-value is below 1 / 36, however far out an image lies."""
    for far, images in ((9.0, 1), (6.0, 2), (4.0, 8)):
        eta = [
            fit_posterior(seed_n, np.append(pool_m, [far] * images)).eta(np.array([1.5, far]))
            for seed_n, pool_m in (draw(35, 200, 0, seed) for seed in range(20))
        ]
        assert np.mean(eta, axis=0)[1] > 0.6 and np.mean(eta, axis=0)[0] < 0.3


def test_neither_order_nor_scale_of_the_scores_matters() -> None:
    """Scores come standardised by the seeds: whatever was added or multiplied before is gone."""
    seed_n, pool_m = draw(155, 400, 0.1, 0)
    plain = fit_posterior(seed_n, pool_m)
    rng = np.random.default_rng(1)
    shuffled = fit_posterior(rng.permutation(seed_n), rng.permutation(pool_m))
    np.testing.assert_allclose(shuffled.coefficients, plain.coefficients, rtol=1e-9)
    assert shuffled.pi0 == plain.pi0

    raw_n, raw_m = 7 + 3 * seed_n, 7 + 3 * pool_m
    z_n, z_m = ((raw - raw_n.mean()) / raw_n.std(ddof=1) for raw in (raw_n, raw_m))
    np.testing.assert_allclose(fit_posterior(z_n, z_m).eta(z_m), plain.eta(pool_m), atol=1e-9)


def test_the_curve_is_the_formula() -> None:
    """1 - pi0 f0 / f with log(f / f0) = a + b z + c max(z - 1, 0); probabilities whatever the numbers."""
    curve = Posterior(0.8, (-0.5, 0.7, 1.5))
    z = np.array([-2.0, 0.5, 1.0, 3.0])
    expected = 1 - 0.8 * np.exp(-(-0.5 + 0.7 * z + 1.5 * np.maximum(z - 1, 0)))
    np.testing.assert_allclose(curve.eta(z), np.clip(expected, 0, 1))
    assert curve.eta(np.array([-1e9, 1e9])) == pytest.approx([0, 1])
    falling = Posterior(0.8, (0.5, -0.7, -1.5))
    np.testing.assert_allclose(falling.eta(z), 1 - 0.8 * np.exp(0.2))  # as at the bend, everywhere


def test_the_regression_is_at_the_optimum_of_its_penalised_likelihood() -> None:
    """Against a general optimiser: the slopes have a ridge of .01 an image, the intercept none."""
    from scipy.optimize import minimize

    seed_n, pool_m = draw(60, 150, 0.2, 5)
    z_N = np.concatenate([seed_n, pool_m])
    terms_NT = np.stack([np.ones_like(z_N), z_N, np.maximum(z_N - 1, 0)], axis=1)
    sign_N = np.repeat([-1.0, 1.0], [60, 150])

    def loss(weight_T: Floats) -> float:
        return float(np.logaddexp(0, -sign_N * (terms_NT @ weight_T)).sum() + 0.005 * 210 * (weight_T[1:] ** 2).sum())

    best_T = minimize(loss, np.zeros(3), tol=1e-10).x
    best_T[0] -= np.log(150 / 60)
    found = fit_posterior(seed_n, pool_m)
    np.testing.assert_allclose(found.coefficients, best_T, atol=1e-4)
    above = sum((1 + (seed_n >= z).sum()) / 61 > 0.5 for z in pool_m)
    assert found.pi0 == pytest.approx(min(1, (1 + above) / 75 + (1 / 60 + 1 / 150) ** 0.5)) and found.pi0 < 1


def test_what_cannot_be_judged_is_refused() -> None:
    seed_n, pool_m = draw(20, 30, 0.1, 0)
    with pytest.raises(ValueError, match="no pool image"):
        fit_posterior(seed_n, np.empty(0))
    with pytest.raises(ValueError, match="seed_score_n"):
        fit_posterior(np.empty(0), pool_m)
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="pool_z_m"):
            fit_posterior(seed_n, np.append(pool_m, bad))
        with pytest.raises(ValueError, match="seed_z_n"):
            fit_posterior(np.append(seed_n, bad), pool_m)
