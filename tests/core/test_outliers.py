"""Rejects without labels: who is one, how much each counts, and the draw where they are many."""

from __future__ import annotations

import numpy as np
import pytest

from swag_ray.core import outliers


class TestRejectWeights:
    def test_an_image_counts_as_much_as_it_is_likely_abnormal(self) -> None:
        eta_m = np.array([0, 0.2, 0.49999, 0.5, 0.9, 1])
        assert outliers.reject_weights(eta_m, 0.5).tolist() == [0, 0, 0, 0.5, 0.9, 1]
        assert outliers.reject_weights(eta_m, 1.0).tolist() == [0, 0, 0, 0, 0, 1]
        assert outliers.reject_weights(eta_m, 0.1).tolist() == [0, 0.2, 0.49999, 0.5, 0.9, 1]

    @pytest.mark.parametrize("least", [0, -0.1, 1.1])
    def test_what_is_no_probability_is_refused(self, least: float) -> None:
        """At 0 the whole pool would be rejected, and weigh nothing."""
        with pytest.raises(ValueError, match="a probability above 0"):
            outliers.reject_weights(np.array([0.5]), least)


class TestDrawRejects:
    def test_all_of_them_below_the_maximum_and_no_draw(self) -> None:
        rng = np.random.default_rng(0)
        before = rng.bit_generator.state
        assert outliers.draw_rejects(np.array([7, 3, 5]), 3, rng).tolist() == [3, 5, 7]
        assert rng.bit_generator.state == before

    def test_a_uniform_subset_beyond_it(self) -> None:
        rejects, counts = np.arange(10) * 3, np.zeros(10)
        for seed in range(2000):
            drawn = outliers.draw_rejects(rejects, 4, np.random.default_rng(seed))
            assert len(drawn) == 4 and (np.diff(drawn) > 0).all()
            counts[drawn // 3] += 1
        assert np.abs(counts / 2000 - 0.4).max() < 0.05

    def test_one_may_be_all(self) -> None:
        (drawn,) = outliers.draw_rejects(np.array([4, 9]), 1, np.random.default_rng(0))
        assert drawn in (4, 9)

    def test_a_maximum_of_none_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least one"):
            outliers.draw_rejects(np.array([1]), 0, np.random.default_rng(0))
