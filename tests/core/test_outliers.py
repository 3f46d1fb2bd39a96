"""Rejects without labels: the step-up procedure, its reach, the draw and what lets a head learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from statsmodels.stats.multitest import multipletests

from swag_ray.core import outliers
from swag_ray.core.outliers import benjamini_hochberg, fewest_rejects

FDR = st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.3])


class TestBenjaminiHochberg:
    @settings(max_examples=200, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(1, 80), st.floats(0.05, 1), FDR)
    def test_it_agrees_with_statsmodels(self, seed: int, count: int, squeeze: float, fdr: float) -> None:
        p_m = np.random.default_rng(seed).random(count) ** (1 / squeeze)
        assert np.array_equal(benjamini_hochberg(p_m, fdr), multipletests(p_m, fdr, method="fdr_bh")[0])

    def test_the_false_discovery_rate_holds(self) -> None:
        rng, shares = np.random.default_rng(0), []
        for _ in range(400):
            p_m = np.concatenate([rng.random(80), rng.random(20) ** 8])
            rejected = benjamini_hochberg(p_m, 0.2)
            shares.append(rejected[:80].sum() / max(1, rejected.sum()))
        assert 0.1 < np.mean(shares) < 0.2  # 0.8 * 0.2 expected

    def test_equal_p_values_share_their_fate(self) -> None:
        p_m = np.array([0.01, 0.04, 0.04, 0.04, 0.9])
        rejected = benjamini_hochberg(p_m, 0.05)
        assert rejected.tolist() == [True, True, True, True, False]

    def test_the_step_up_rescues_smaller_ones(self) -> None:
        """0.04 alone is above its own line (0.05 / 3) and is rejected because a later one is not."""
        assert benjamini_hochberg(np.array([0.04, 0.045, 0.049]), 0.05).all()

    def test_nothing_to_reject(self) -> None:
        assert not benjamini_hochberg(np.ones(5), 0.2).any()
        assert benjamini_hochberg(np.zeros(0), 0.2).shape == (0,)

    @pytest.mark.parametrize("bad", [np.nan, -0.1, 1.1])
    def test_what_is_no_p_value_is_refused(self, bad: float) -> None:
        with pytest.raises(ValueError, match="p-values"):
            benjamini_hochberg(np.array([0.1, bad]), 0.2)

    @pytest.mark.parametrize("fdr", [0, 1])
    def test_what_is_no_rate_is_refused(self, fdr: float) -> None:
        with pytest.raises(ValueError, match="false discovery rate"):
            benjamini_hochberg(np.array([0.1]), fdr)


class TestFewestRejects:
    def test_the_figure_of_402_seeds(self) -> None:
        assert fewest_rejects(988, 402, 0.1) == 25

    @settings(max_examples=200, deadline=None)
    @given(st.integers(1, 3000), st.integers(3, 500), FDR)
    def test_it_is_exactly_what_the_procedure_can_give(self, pool: int, seeds: int, fdr: float) -> None:
        """That many smallest possible p-values are rejected, one fewer is not."""
        needed = fewest_rejects(pool, seeds, fdr)

        def rejected(count: int) -> int:
            p_m = np.ones(pool)
            p_m[:count] = 1 / (seeds + 1)
            return int(benjamini_hochberg(p_m, fdr).sum())

        if needed > pool:
            assert rejected(pool) == 0
        else:
            assert rejected(needed) == needed
            assert needed == 1 or rejected(needed - 1) == 0


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

    def test_a_maximum_of_none_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least one"):
            outliers.draw_rejects(np.array([1]), 0, np.random.default_rng(0))


class TestEnoughRejects:
    @pytest.mark.parametrize(
        ("rejects", "pool", "allowed"), [(19, 900, False), (20, 900, True), (59, 4814, False), (60, 4814, True)]
    )
    def test_the_larger_of_both_bounds_decides(self, rejects: int, pool: int, allowed: bool) -> None:
        """20 as configured; ceil(4814 / (403 * 0.2)) = 60."""
        decided, reason = outliers.enough_rejects(rejects, pool, 402, fdr=0.2, minimum=20)
        assert decided is allowed
        assert bool(reason) is not allowed and "\n" not in reason


class TestTellsApart:
    def test_the_chance_is_the_area_under_the_curve(self) -> None:
        rng = np.random.default_rng(0)
        seeds, rejects = rng.normal(0, 1, 300).round(1), rng.normal(1, 1, 60).round(1)  # rounded: ties occur
        area = mannwhitneyu(rejects, seeds).statistic / (300 * 60)
        assert outliers.separates_from_seeds(seeds, rejects, least=area - 1e-9) == (True, "")
        allowed, reason = outliers.separates_from_seeds(seeds, rejects, least=area + 1e-9)
        assert not allowed and f"{area:.2f}" in reason

    @pytest.mark.parametrize(("below", "said"), [(8996, "0.8996"), (8999, "0.8999"), (8900, "0.89"), (8050, "0.81")])
    def test_the_chance_that_is_told_is_below_the_limit_that_is_told(self, below: int, said: str) -> None:
        allowed, reason = outliers.separates_from_seeds(np.arange(10000.0), np.array([below - 0.5]))
        assert not allowed and reason.endswith(f"with chance {said} only, less than 0.9")

    def test_rejects_like_the_seeds_are_stopped(self) -> None:
        rng = np.random.default_rng(1)
        assert not outliers.separates_from_seeds(rng.normal(size=400), rng.normal(size=30))[0]
        assert outliers.separates_from_seeds(rng.normal(size=400), rng.normal(size=30) + 3)[0]

    def test_both_kinds_are_needed(self) -> None:
        with pytest.raises(ValueError, match="both"):
            outliers.separates_from_seeds(np.zeros(3), np.zeros(0))
