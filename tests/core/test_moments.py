"""Moments by blocks, and the sd that features are divided by: a channel that hardly varies must not rule all others."""

from __future__ import annotations

import numpy as np

from swag_ray.core.moments import Moments, floored_sd


def test_channels_that_vary_keep_their_sd() -> None:
    sd_C = np.array([0.02, 1.0, 1.5])
    assert np.array_equal(floored_sd(sd_C), sd_C.astype(np.float32))


def test_a_dead_channel_gets_a_share_of_the_typical_sd() -> None:
    assert np.allclose(floored_sd(np.array([0, 1e-4, 2, 2, 3])), [0.02, 0.02, 2, 2, 3])


def test_dead_channels_do_not_count_as_typical_even_where_they_are_most() -> None:
    """Rounding leaves a constant channel a tiny sd."""
    assert np.allclose(floored_sd(np.array([1e-17, 0, 1e-16, 4])), [0.04, 0.04, 0.04, 4])


def test_where_nothing_varies_nothing_is_scaled() -> None:
    assert floored_sd(np.array([0, 1e-12])).tolist() == [1, 1]


def test_merged_moments_are_those_of_all_rows() -> None:
    """Far from zero, where sums of squares would cancel."""
    x = np.random.default_rng(0).normal(1e4, 1, (301, 4)) @ np.triu(np.ones((4, 4)))
    first, *others = (Moments.of(block) for block in np.split(x, [1, 40, 200]))
    for other in others:
        first = first.merge(other)
    assert first.n == len(x)
    np.testing.assert_allclose(first.mean_C, x.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(first.covariance_CC, np.cov(x.T, bias=True), rtol=1e-9)
