"""Shifts in a stream of images: few false alarms, and soon a true one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from swag_ray.core.drift import ALARMS, BLOCK, course

Floats = NDArray[np.float64]


def stream(rng: np.random.Generator, days: int, a_day: int, *, from_day: int = 10**9) -> Iterator[tuple[float, Floats]]:
    for day in range(1, days + 1):
        score_T = rng.gamma(4, 0.5, a_day) + (day >= from_day)
        score_T[: a_day // 10] += 4
        yield day, score_T


def test_a_shift_is_an_alarm_within_200_images_and_no_shift_is_none() -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        seed_n = rng.gamma(4, 0.5, 400)
        blocks = list(course(seed_n, stream(rng, 40, 20, from_day=31)))
        before, after = ([block.alarm for block in blocks if (block.day > 30) == late] for late in (False, True))
        assert not any(before) and any(after[:2])
        assert blocks[0].images == BLOCK and blocks[0].day == 5


def test_small_batches_wait_until_they_fill_a_block() -> None:
    rng = np.random.default_rng(0)
    seed_n = rng.gamma(4, 0.5, 400)
    assert not list(course(seed_n, stream(rng, 9, 11)))
    (block,) = course(seed_n, stream(rng, 10, 11))
    assert block.images == 110 and block.day == 10


def test_the_looks_of_a_year_share_one_budget() -> None:
    """However often one looks: the chances that the limits leave add up to the yearly one, and a day's share."""
    rng = np.random.default_rng(0)
    seed_n = rng.gamma(4, 0.5, 100)
    for a_day in (25, 300):
        blocks = list(course(seed_n, stream(rng, 30, a_day)))
        spent = sum(2 * norm.sf(block.limit) for block in blocks)
        assert spent == pytest.approx(ALARMS * blocks[-1].day / 365)


def test_blocks_of_one_moment_after_the_first_spend_nothing() -> None:
    rng = np.random.default_rng(0)
    seed_n = rng.gamma(4, 0.5, 100)
    blocks = list(course(seed_n, ((0.0, rng.gamma(4, 0.5, 100) + 5) for _ in range(3))))
    assert [block.alarm for block in blocks] == [True, False, False]
    assert np.isinf([block.limit for block in blocks]).tolist() == [False, True, True]
