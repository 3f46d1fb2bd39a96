"""The share of anomalies in a pool without a label."""

from __future__ import annotations

import numpy as np
import pytest

from swag_ray.core.contamination import estimate_contamination
from tests.core.test_alignment import draw


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.8])
def test_estimates_are_near_and_the_bound_is_below(share: float) -> None:
    found = []
    for seed in range(12):
        seed_n, pool = draw(400, round(600 * (1 - share)), round(600 * share), 0.0, seed)
        rng, groups = np.random.default_rng(seed), (np.arange(400), np.arange(600))
        found.append(estimate_contamination(seed_n, pool[:, 0], *groups, rng))
    assert np.mean([f.fitted for f in found]) == pytest.approx(share, abs=0.06)
    assert np.mean([f.storey for f in found]) == pytest.approx(share, abs=0.06)
    assert np.mean([f.low <= share for f in found]) >= 0.9
    assert share < 0.3 or np.mean([f.low for f in found]) > share - 0.2, "and says something"


def test_images_of_a_patient_are_one_observation() -> None:
    """Every pool image ten times, as one patient's: the bound knows that there are sixty and not six hundred."""
    seed_n, pool = draw(400, 45, 15, 0.0, 0)
    rows = np.repeat(np.arange(60), 10)
    bounds = [
        estimate_contamination(seed_n, pool[rows, 0], np.arange(400), of, np.random.default_rng(0)).low
        for of in (np.arange(600), rows)
    ]
    assert bounds[1] < bounds[0] - 0.03
