"""The shift of a batch and its share of anomalies, against batches whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from swag_ray.core.alignment import CENTILES_P, SHARES_C, align, aligned_p, spread
from swag_ray.core.calibrate import cross_conformal_p

Floats = NDArray[np.float64]
FOLDS = 5


def draw(seeds: int, normals: int, anomalies: int, shift: float, seed: int) -> tuple[Floats, Floats]:
    """Seeds (n,) and a batch (T, K) of gamma-shaped scores of sd 1; anomalies come last."""
    rng = np.random.default_rng(seed)
    batch_T = rng.gamma(4, 0.5, normals + anomalies) + shift
    batch_T[normals:] += 4
    return rng.gamma(4, 0.5, seeds), batch_T[:, None] + rng.normal(0, 0.1, (len(batch_T), FOLDS))


@pytest.mark.parametrize("shift", [-1.0, 0.0, 0.5, 2.0])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.6])
def test_it_finds_shift_and_share(shift: float, share: float) -> None:
    found = [align(*draw(400, round(300 * (1 - share)), round(300 * share), shift, seed)) for seed in range(20)]
    assert np.mean([f.shift for f in found]) == pytest.approx(shift, abs=0.08)
    assert np.mean([f.contamination for f in found]) == pytest.approx(share, abs=0.06)
    assert np.median([f.residual for f in found]) < 0.08


def test_the_fit_is_the_least_squares_of_its_equation() -> None:
    """By numpy's quantiles and a plain search."""
    seed_n, batch = draw(50, 60, 20, 0.7, 0)
    best = min(
        ((np.quantile(batch.ravel(), (1 - pi) * CENTILES_P) - np.quantile(seed_n, CENTILES_P), pi) for pi in SHARES_C),
        key=lambda tried: tried[0].std(),
    )
    found = align(seed_n, batch)
    assert found.shift == pytest.approx(best[0].mean()) and found.contamination == best[1]
    assert found.residual == pytest.approx(best[0].std() / seed_n.std(ddof=1))


def test_a_batch_that_is_the_seeds_has_no_shift() -> None:
    seed_n, _ = draw(100, 1, 0, 0, 0)
    found = align(seed_n, seed_n[:, None])
    assert (found.shift, found.contamination, found.residual) == (0, 0, 0)


def test_units_and_order_do_not_matter() -> None:
    seed_n, batch = draw(100, 150, 20, 0.5, 1)
    plain, rng = align(seed_n, batch), np.random.default_rng(0)
    other = align(3 + 2 * rng.permutation(seed_n), 3 + 2 * rng.permutation(batch))
    assert other.shift == pytest.approx(2 * plain.shift) and other.contamination == plain.contamination
    assert other.residual == pytest.approx(plain.residual)


def test_no_shift_gives_the_plain_p_values_and_a_shift_moves_the_seeds() -> None:
    seed_n, batch = draw(100, 80, 20, 1.0, 2)
    fold_n, found = np.arange(100) % FOLDS, align(seed_n, batch)
    still = type(found)(0.0, 0.0, 0.0)
    np.testing.assert_array_equal(aligned_p(still, seed_n, fold_n, batch), cross_conformal_p(seed_n, fold_n, batch))
    moved = cross_conformal_p(seed_n, fold_n, batch - found.shift)
    np.testing.assert_allclose(aligned_p(found, seed_n, fold_n, batch), moved, atol=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
def test_aligned_p_values_hold_their_rate_and_raw_ones_do_not(share: float) -> None:
    raw, aligned = [], []
    for seed in range(20):
        seed_n, batch = draw(400, round(200 * (1 - share)), round(200 * share), 1.0, seed)
        _, judged = draw(1, 400, 0, 1.0, 100 + seed)
        fold_n = np.arange(400) % FOLDS
        raw.append((cross_conformal_p(seed_n, fold_n, judged) <= 0.05).mean())
        aligned.append((aligned_p(align(seed_n, batch), seed_n, fold_n, judged) <= 0.05).mean())
    assert np.mean(raw) > 0.12 and 0.035 <= np.mean(aligned) <= 0.065


def test_the_interval_narrows_with_images_and_is_the_same_for_the_same_generator() -> None:
    widths = []
    for images in (60, 600):
        seed_n, batch = draw(400, images, 0, 0.0, 3)
        found = align(seed_n, batch)
        one, two = (spread(found, seed_n, images, np.random.default_rng(7)) for _ in range(2))
        assert one == two and one.low < found.shift < one.high
        widths.append(one.high - one.low)
    assert widths[1] < 0.75 * widths[0]


@pytest.mark.parametrize(("seeds", "batch"), [(np.ones(1), np.ones((3, 2))), (np.ones(3), np.ones((0, 2)))])
def test_too_little_to_fit_is_refused(seeds: Floats, batch: Floats) -> None:
    with pytest.raises(ValueError, match="at least two seeds and one image"):
        align(seeds, batch)
    with pytest.raises(ValueError, match="not finite"):
        align(np.array([1.0, np.nan]), np.ones((3, 2)))
