"""Expected anomaly posterior of variants: what is rare and odd among the seeds is a good auxiliary anomaly."""

from __future__ import annotations

import numpy as np
import pytest

from swag_ray.core.quality import anomaly_probability

SEEDS = np.random.default_rng(0).normal(5, 2, 199)


def test_it_is_the_formula() -> None:
    """(1 + 10 p P) / (2 + 10 p): p the share of seeds that are as odd, P a logistic of z, 1/2 at their 95th centile."""
    variants = np.array([2.0, 5.0, 8.0, 11.0])
    z = (SEEDS - SEEDS.mean()) / SEEDS.std(ddof=1)
    for score, found in zip(variants, anomaly_probability(SEEDS, variants), strict=True):
        p = (1 + (score <= SEEDS).sum()) / 200
        own = (score - SEEDS.mean()) / SEEDS.std(ddof=1) - np.quantile(z, 0.95)
        assert found == pytest.approx((1 + 10 * p / (1 + np.exp(-own))) / (2 + 10 * p))


def test_a_variant_that_lies_among_the_seeds_is_a_poor_one() -> None:
    """A rare one stays near the prior's 1/2: nothing is known of what no seed resembles."""
    quality = anomaly_probability(SEEDS, np.array([0.0, 3, 5, 7, 12, 40]))
    assert (np.diff(quality[:5]) > 0).all() and quality[0] < 0.2 and 0.49 < quality[4] < quality[5] < 0.53


def test_scale_and_order_of_the_scores_do_not_matter() -> None:
    variants = np.linspace(0, 12, 9)
    plain = anomaly_probability(SEEDS, variants)
    np.testing.assert_allclose(anomaly_probability(3 + 7 * SEEDS[::-1], 3 + 7 * variants), plain)
