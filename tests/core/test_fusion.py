"""Several scores as one: each in the seeds' sd, weights that need no label, u over the samples of the sum."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from swag_ray.core import fusion
from swag_ray.core.calibrate import DegenerateScores
from swag_ray.core.fusion import Arm, Evidence

Floats = NDArray[np.float64]
SEED_N = np.arange(90) % 3 > 0
SEEDS = np.flatnonzero(SEED_N)
FOLD_N = (np.arange(90) % 5).astype(np.int8)


def arm(name: str, seed: int, weight: float = 1.0, *, scale: float = 1.0, shift: float = 0.0) -> Arm:
    rng = np.random.default_rng(seed)
    made = Arm.of(name, shift + scale * rng.normal(4, 2, 90), shift + scale * rng.normal(4, 2, (20, 5)), SEEDS)
    return dataclasses.replace(made, weight=weight)


class TestArms:
    def test_a_fused_score_is_the_weighted_sum_in_the_seeds_sd(self) -> None:
        arms = [arm("bank", 0, 0.7), arm("auxiliary", 1, 0.2), arm("head", 2, 0.0)]
        expected_N, expected_TK = np.zeros(90), np.zeros((20, 5))
        for one in arms:
            seeds = one.s_N[SEEDS]
            expected_N += one.weight * (one.s_N - seeds.mean()) / np.std(seeds, ddof=1)
            expected_TK += one.weight * (one.s_TK - seeds.mean()) / np.std(seeds, ddof=1)
        np.testing.assert_allclose(fusion.fused_train(arms), expected_N)
        np.testing.assert_allclose(fusion.fused_test(arms), expected_TK)
        assert fusion.fused_train(arms)[SEEDS].mean() == pytest.approx(0)

    def test_the_scale_of_an_arms_raw_scores_is_nobodys_business(self) -> None:
        plain = [arm("bank", 0, 0.7), arm("head", 1, 0.3)]
        scaled = [arm("bank", 0, 0.7, scale=250, shift=-3), arm("head", 1, 0.3, scale=1e-3, shift=8)]
        np.testing.assert_allclose(fusion.fused_train(scaled), fusion.fused_train(plain), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(fusion.fused_test(scaled), fusion.fused_test(plain), rtol=1e-6, atol=1e-9)

    def test_seeds_that_are_all_alike_are_refused(self) -> None:
        with pytest.raises(DegenerateScores, match="all 60 scores"):
            Arm.of("bank", np.ones(90), np.ones((20, 5)), SEEDS)


class TestRankChance:
    def test_it_is_the_area_under_the_curve(self) -> None:
        rng = np.random.default_rng(0)
        low, high = rng.normal(0, 1, 300).round(1), rng.normal(1, 1, 60).round(1)  # rounded: ties occur
        label = np.repeat([0, 1], [300, 60])
        assert fusion.rank_chance(low, high) == pytest.approx(roc_auc_score(label, np.concatenate([low, high])))
        assert fusion.rank_chance(high, low) == pytest.approx(1 - fusion.rank_chance(low, high))
        assert fusion.rank_chance(np.zeros(3), np.zeros(2)) == 0.5

    def test_both_kinds_are_needed(self) -> None:
        for pair in ((np.zeros(3), np.zeros(0)), (np.zeros(0), np.zeros(3))):
            with pytest.raises(ValueError, match="both kinds"):
                fusion.rank_chance(*pair)
        with pytest.raises(ValueError, match="not finite"):
            fusion.rank_chance(np.zeros(3), np.array([np.nan]))


class TestAuxiliaryWeight:
    @pytest.mark.parametrize(
        ("bank", "head", "prior", "weight"),
        [
            (0.5, 1.0, 1.0, 1.0),  # a blind bank, a head that knows
            (0.3, 1.0, 1.0, 1.0),  # no blinder than blind
            (0.75, 1.0, 1.0, 0.5), (1.0, 1.0, 1.0, 0.0),  # what the bank sees need not be learnt
            (0.5, 0.65, 1.0, 1.0), (0.5, 0.575, 1.0, 0.5), (0.5, 0.5, 1.0, 0.0), (0.5, 0.3, 1.0, 0.0),  # of noise
            (0.75, 0.575, 4.0, 1.0), (0.5, 1.0, 0.0, 0.0),
        ],
    )  # fmt: skip
    def test_prior_times_how_blind_the_bank_times_what_the_head_knows(
        self, bank: float, head: float, prior: float, weight: float
    ) -> None:
        found, reason = fusion.auxiliary_weight(bank, head, prior)
        assert found == pytest.approx(weight) and f"{bank:.2f} by the bank, {head:.2f} by the head" in reason


class TestContradiction:
    @pytest.mark.parametrize(
        ("size", "share"), [(-5.0, 1.0), (0.0, 1.0), (1.0, 1.0), (1.25, 0.75), (1.5, 0.5), (2.0, 0.0), (9.0, 0.0)]
    )
    def test_a_head_loses_its_weight_between_one_and_two_standard_errors(self, size: float, share: float) -> None:
        assert fusion.uncontradicted(size) == pytest.approx(share)

    @pytest.mark.parametrize("correlation", [-0.6, -0.2, 0.0, 0.5])
    def test_scores_that_run_against_each_other_contradict_by_their_correlation(self, correlation: float) -> None:
        bank, other = np.linalg.qr(np.random.default_rng(3).normal(size=(90, 2)))[0].T
        bank, other = bank - bank.mean(), other - other.mean()
        other -= bank * (other @ bank) / (bank @ bank)
        head = correlation * bank / bank.std() + np.sqrt(1 - correlation**2) * other / other.std()
        size, seen = fusion.contradiction(bank / bank.std(), head, SEED_N)
        assert size >= -correlation * 90**0.5 - 1e-9
        if correlation < 0:
            assert size == pytest.approx(-correlation * 90**0.5) and f"{correlation:+.2f}" in seen

    def test_so_do_images_too_normal_to_be_true_that_the_bank_suspects(self) -> None:
        rng, few = np.random.default_rng(0), np.flatnonzero(~SEED_N)[:6]
        bank, head = rng.normal(size=90), rng.normal(size=90)
        bank[few], head[few] = 2.0, -12.0
        others = np.delete(np.arange(90), few)
        # As they correlate without the six, they do not run against each other over all 90.
        head[others] += 3 * bank[others]
        size, seen = fusion.contradiction(bank, head, SEED_N)
        assert np.corrcoef(bank, head)[0, 1] > -0.1
        assert fusion.REFUTED < size < 1.1 * 2 * 6**0.5 and "more normal than the seeds" in seen
        bank[few] = -2.0
        assert fusion.contradiction(bank, head, SEED_N)[0] < 0, "normal by both: no contradiction"

    def test_independent_arms_are_left_alone(self) -> None:
        sizes = []
        for seed in range(200):
            rng = np.random.default_rng(seed)
            sizes.append(fusion.contradiction(rng.normal(size=90), rng.normal(size=90), SEED_N)[0])
        assert np.mean([fusion.uncontradicted(size) for size in sizes]) > 0.85
        assert np.mean(np.array(sizes) >= fusion.REFUTED) < 0.06

    def test_scores_must_be_finite(self) -> None:
        with pytest.raises(ValueError, match="z_head_N"):
            fusion.contradiction(np.zeros(90), np.full(90, np.nan), SEED_N)


class TestHeadWeight:
    def test_the_evidence_is_the_mean_score_of_likely_anomalies_and_of_as_likely_seeds(self) -> None:
        z_N, eta_N = np.random.default_rng(0).normal(size=90), np.random.default_rng(1).random(90)
        found = fusion.evidence(z_N, eta_N, SEED_N)
        pool, seeds = ~SEED_N, SEED_N
        assert found.likely == pytest.approx(np.average(z_N[pool], weights=eta_N[pool]))
        assert found.placebo == pytest.approx(np.average(z_N[seeds], weights=eta_N[seeds]))
        assert found.count == pytest.approx((eta_N[pool] ** 2).sum())
        assert fusion.evidence(z_N, np.zeros(90), SEED_N) == Evidence(0, 0, 0)

    @pytest.mark.parametrize(
        ("likely", "placebo", "count", "weight"),
        [
            (3.0, 1.0, 5.0, 4 / 5 * 1 / 2), (3.0, 1.0, 45.0, 4 / 5 * 9 / 10),
            (2.0, -1.0, 5.0, 4 / 5 * 1 / 2),  # a placebo below the seeds is no gain
            (1.0, 1.0, 50.0, 0.0), (-3.0, 0.0, 50.0, 0.0), (0.5, 1.0, 50.0, 0.0), (3.0, 1.0, 0.0, 0.0),
        ],
    )  # fmt: skip
    def test_signal_against_noise_times_what_the_pool_amounts_to(
        self, likely: float, placebo: float, count: float, weight: float
    ) -> None:
        found, reason = fusion.head_weight(Evidence(likely, placebo, count))
        assert found == pytest.approx(weight) and f"{likely:.2f} sd" in reason and f"placebo {placebo:.2f}" in reason

    def test_it_never_reaches_one_and_grows_with_the_evidence(self) -> None:
        by_signal = [fusion.head_weight(Evidence(d, 0, 20))[0] for d in np.linspace(0, 30, 50)]
        by_count = [fusion.head_weight(Evidence(2, 0, n))[0] for n in np.linspace(0, 1e5, 50)]
        for weights in (by_signal, by_count):
            assert (np.diff(weights) > 0).all() and 0 == weights[0] < weights[-1] < 1

    def test_a_head_of_noise_gets_next_to_none(self) -> None:
        weights = []
        for seed in range(50):
            rng = np.random.default_rng(seed)
            eta_N = np.where(rng.random(90) < 0.2, rng.uniform(0.5, 1, 90), 0.02)
            weights.append(fusion.head_weight(fusion.evidence(rng.normal(size=90), eta_N, SEED_N))[0])
        assert np.mean(weights) < 0.1


class TestUncertainty:
    def raw(self, seed: int) -> Floats:
        rng = np.random.default_rng(seed)
        return np.asarray(rng.normal(2, 1, (90, 1)) + rng.normal(0, 0.3, (90, 4)) + rng.normal(0, 3, 4))

    def test_it_is_the_sd_over_the_samples_of_the_sum_each_by_its_own_folds_seeds(self) -> None:
        parts = [(0.6, self.raw(0)), (0.3, self.raw(1))]
        u_N = fusion.fused_uncertainty(parts, FOLD_N, SEED_N)
        for image in range(90):
            total = np.zeros(4)
            for weight, raw_NS in parts:
                others = SEED_N & (FOLD_N[image] == FOLD_N) & (np.arange(90) != image)
                for s in range(4):
                    reference = raw_NS[others, s]
                    total[s] += weight * (raw_NS[image, s] - reference.mean()) / reference.std(ddof=1)
            assert u_N[image] == pytest.approx(total.std(ddof=1))

    def test_arms_without_weight_or_samples_do_not_count(self) -> None:
        plain = fusion.fused_uncertainty([(0.6, self.raw(0))], FOLD_N, SEED_N)
        also = fusion.fused_uncertainty([(0.6, self.raw(0)), (0.0, self.raw(1))], FOLD_N, SEED_N)
        assert np.array_equal(plain, also)
        for none in ([], [(0.0, self.raw(0))]):
            assert np.isnan(fusion.fused_uncertainty(none, FOLD_N, SEED_N)).all()

    def test_scaling_the_raw_scores_of_a_sample_changes_nothing(self) -> None:
        raw_NS = self.raw(0)
        scaled = 7 + raw_NS * np.array([1, 30, 0.2, 5])
        found = [fusion.fused_uncertainty([(0.6, r)], FOLD_N, SEED_N) for r in (raw_NS, scaled)]
        np.testing.assert_allclose(found[1], found[0], rtol=1e-8)
