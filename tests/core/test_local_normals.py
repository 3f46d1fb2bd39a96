"""Thresholds from known normals: what they flag of a place's normals, and whether the range that is said holds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import beta

from swag_ray.core.local_normals import DRAWS, Place, place_of, place_p, place_rates, rank_p, rank_rates

Floats = NDArray[np.float64]
FOLDS = 5


def draw(rng: np.random.Generator, count: int, mean: float = 0.0, sd: float = 1.0) -> Floats:
    score_T = mean + sd * (rng.gamma(4, 0.5, count) - 2)
    return score_T[:, None] + rng.normal(0, 0.1, (count, FOLDS))


@pytest.mark.parametrize(("known", "held"), [(20, 0.75), (40, 0.75), (100, 0.8)])
def test_few_known_normals_hold_the_rate_on_average(known: int, held: float) -> None:
    rng, rates, inside = np.random.default_rng(0), [], []
    for _ in range(30):
        seed_n = draw(rng, 400)[:, 0]
        local, judged = draw(rng, known, 1.0, 1.4), draw(rng, 300, 1.0, 1.4)
        if known < 100:
            place = place_of(local)
            p_T, (low, high) = place_p(place, seed_n, np.arange(400) % FOLDS, judged), place_rates(place, seed_n, 0.05)
        else:
            p_T, (low, high) = rank_p(local.mean(axis=1), judged), rank_rates(known, 0.05)
        rate = (p_T <= 0.05).mean()
        rates.append(rate)
        inside.append(low - 0.0126 <= rate <= high + 0.0126)
    assert 0.03 <= np.mean(rates) <= 0.07 and np.mean(inside) >= held
    assert np.std(rates) > 0.01, "the draws differ"


def test_mean_and_sd_are_those_of_the_scores_and_their_errors_shrink() -> None:
    rng = np.random.default_rng(1)
    score = draw(rng, 50)
    place = place_of(score)
    assert place.mean == pytest.approx(score.mean()) and place.sd == pytest.approx(score.std(), rel=0.02)
    assert place.mean_error == pytest.approx(score.mean(axis=1).std(ddof=1) / 50**0.5), "the jackknife of a mean"
    more = place_of(draw(rng, 800))
    assert more.mean_error < 0.4 * place.mean_error and more.log_sd_error < 0.5 * place.log_sd_error


def test_a_place_that_is_known_exactly_moves_and_stretches_the_seeds() -> None:
    rng = np.random.default_rng(2)
    seed_n, fold_n, score = draw(rng, 60)[:, 0], np.arange(60) % FOLDS, draw(rng, 40, 3.0, 2.0)
    exact = Place(3.0, 2.0, 0.0, 0.0, 0.0)
    moved_n = 3 + 2 * (seed_n - seed_n.mean()) / seed_n.std(ddof=1)
    expected = [(1 + sum(s >= row[f] for s, f in zip(moved_n, fold_n, strict=True))) / 61 for row in score]
    np.testing.assert_allclose(place_p(exact, seed_n, fold_n, score), expected)
    assert place_rates(exact, seed_n, 0.1) == pytest.approx((0.1, 0.1), abs=0.02)


def test_what_is_not_known_of_a_place_makes_p_larger_in_the_tail() -> None:
    rng = np.random.default_rng(3)
    seed_n, fold_n = draw(rng, 400)[:, 0], np.arange(400) % FOLDS
    far = np.full((1, FOLDS), 3.0)
    sure, unsure = (place_p(Place(0, 1, e, e, 0.3), seed_n, fold_n, far)[0] for e in (0.0, 0.3))
    assert unsure > 1.3 * sure
    low, high = place_rates(Place(0, 1, 0.3, 0.2, 0.3), seed_n, 0.05)
    assert low < 0.03 and high > 0.08 and DRAWS >= 100


def test_ranks_among_known_normals() -> None:
    known_m = np.array([1.0, 2.0, 3.0])
    score = np.array([[0.5, 0.5], [2.0, 2.0], [1.0, 2.2], [9.0, 9.0]])
    np.testing.assert_allclose(rank_p(known_m, score), [1, 3 / 4, 3 / 4, 1 / 4])
    assert rank_rates(199, 0.05) == pytest.approx(tuple(beta.ppf([0.05, 0.95], 10, 190)))
    assert rank_rates(10, 0.05) == (0, 0), "no rank is as low"


def test_too_few_images() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        place_of(np.ones((2, 5)))
