"""The sd that features are divided by: a channel that hardly varies must not rule all others."""

from __future__ import annotations

import numpy as np

from swag_ray.core.moments import floored_sd


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
