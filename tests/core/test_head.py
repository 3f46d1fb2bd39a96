"""The head: scaling, the fit, its snapshots and the evidence map."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from swag_ray.core import head, swag
from swag_ray.core.head import HeadSettings, Scaler, fit_head
from swag_ray.core.pooling import pool_features
from swag_ray.errors import InputError

SETTINGS = HeadSettings(learning_rate=1e-3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def two_groups(
    trusted: int, rejects: int, columns: int = 40, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Rows of two Gaussians that differ in every fourth column."""
    rng = np.random.default_rng(seed)
    x_ND = rng.standard_normal((trusted + rejects, columns)).astype(np.float32)
    abnormal_N = np.arange(trusted + rejects) >= trusted
    x_ND[np.ix_(abnormal_N, np.arange(0, columns, 4))] += 1
    return x_ND, abnormal_N


def mean_logits(state: swag.State, x_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    centre = swag.mean(state)
    return np.asarray(x_ND @ centre["weight"].numpy() + centre["bias"].numpy())


class TestScaler:
    def test_seeds_become_standard(self) -> None:
        x_ND = np.random.default_rng(0).normal(5, 3, (200, 6)).astype(np.float32)
        z_ND = Scaler.fit(x_ND).apply(x_ND)
        assert z_ND.dtype == np.float32
        assert np.allclose(z_ND.mean(0), 0, atol=1e-5) and np.allclose(z_ND.std(0), 1, atol=1e-5)

    def test_other_images_are_measured_in_seed_units_and_clipped(self) -> None:
        seeds = np.random.default_rng(0).normal(0, 1, (200, 3)).astype(np.float32)
        far = np.array([[1e6, -1e6, 0]], np.float32)
        before = far.copy()
        z_ND = Scaler.fit(seeds, clip=8).apply(far)
        assert z_ND[0, :2].tolist() == [8, -8] and abs(z_ND[0, 2]) < 1
        assert np.array_equal(far, before)

    def test_a_constant_column_of_the_seeds_does_not_explode(self) -> None:
        seeds = np.random.default_rng(0).normal(0, 1, (50, 3)).astype(np.float32)
        seeds[:, 1] = 2
        other = seeds[:1].copy()
        other[0, 1] += 1e-3
        scaled = Scaler.fit(seeds).apply(other)
        assert np.isfinite(scaled).all() and abs(scaled[0, 1]) < 0.2
        constant = np.ones((5, 3), np.float32)
        assert np.array_equal(Scaler.fit(constant).apply(constant), np.zeros((5, 3), np.float32))

    def test_one_seed_is_too_few(self) -> None:
        with pytest.raises(ValueError, match="at least 2"):
            Scaler.fit(np.zeros((1, 3), np.float32))


class TestFit:
    def test_it_ranks_new_rejects_above_new_trusted_images(self) -> None:
        state = fit_head(*two_groups(300, 150), SETTINGS, generator())
        x_ND, abnormal_N = two_groups(500, 500, seed=1)
        logit_N = mean_logits(state, x_ND)
        assert (logit_N[abnormal_N][:, None] > logit_N[~abnormal_N]).mean() > 0.95

    def test_balanced_classes_keep_the_boundary_between_them(self) -> None:
        """Nine trusted images to a reject: without the balance nearly every logit would be negative."""
        x_ND, abnormal_N = two_groups(900, 100, columns=8)
        state = fit_head(x_ND, abnormal_N, HeadSettings(learning_rate=1e-2), generator())
        logit_N = mean_logits(state, x_ND)
        missed, alarms = (logit_N[abnormal_N] < 0).mean(), (logit_N[~abnormal_N] > 0).mean()
        assert abs(missed - alarms) < 0.1

    def test_it_comes_to_the_optimum_of_the_balanced_penalised_loss(self) -> None:
        x_ND, abnormal_N = two_groups(160, 40, columns=5)
        settings = HeadSettings(1e-2, weight_decay=0.05, batch_size=200, warmup_epochs=4000, swag_epochs=2)
        fitted = swag.mean(fit_head(x_ND, abnormal_N, settings, generator()))
        weight_D = fitted["weight"].double().requires_grad_()
        bias = fitted["bias"].double().requires_grad_()
        logit_N = torch.from_numpy(x_ND).double() @ weight_D + bias
        balance_N = torch.from_numpy(np.where(abnormal_N, 200 / 80, 200 / 320))
        target_N = torch.from_numpy(abnormal_N).double()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit_N, target_N, weight=balance_N)
        (loss + 0.025 * weight_D.square().sum()).backward()
        assert weight_D.grad is not None and bias.grad is not None
        assert weight_D.grad.abs().max() < 1e-4 and bias.grad.abs() < 1e-4

    def test_steps_are_those_of_sgd_with_momentum(self) -> None:
        """Against gradients by autograd; the update is the one torch.optim.SGD documents."""
        x_ND, abnormal_N = two_groups(50, 30)
        settings = HeadSettings(1e-2, batch_size=16, warmup_epochs=0, swag_epochs=2)
        state = fit_head(x_ND, abnormal_N, settings, generator(3))
        weight, bias = torch.zeros(40, requires_grad=True), torch.zeros((), requires_grad=True)
        speed, bias_speed = torch.zeros(40), torch.zeros(())
        rows, target, order, shots = torch.from_numpy(x_ND), torch.from_numpy(abnormal_N).float(), generator(3), []
        balance = torch.where(target > 0, 80 / 60, 80 / 100)
        for _ in range(2):
            for batch in torch.randperm(80, generator=order).split(16):
                logit = rows[batch] @ weight + bias
                loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, target[batch], weight=balance[batch])
                by_weight, by_bias = torch.autograd.grad(loss, (weight, bias))
                with torch.no_grad():
                    speed = 0.9 * speed + by_weight + 1e-2 * weight
                    bias_speed = 0.9 * bias_speed + by_bias
                    weight -= 1e-2 * speed
                    bias -= 1e-2 * bias_speed
            shots.append((weight.detach().clone(), bias.detach().clone()))
        assert torch.allclose(swag.mean(state)["weight"], (shots[0][0] + shots[1][0]) / 2, atol=1e-6)
        assert torch.allclose(swag.mean(state)["bias"], (shots[0][1] + shots[1][1]) / 2, atol=1e-6)

    def test_one_snapshot_an_epoch_after_the_warm_up(self) -> None:
        data = two_groups(100, 60)
        assert fit_head(*data, HeadSettings(1e-3, warmup_epochs=3, swag_epochs=7), generator()).n == 7

    def test_collect_every_counts_steps(self) -> None:
        data = two_groups(100, 60)  # 3 batches of 64 an epoch
        settings = HeadSettings(1e-3, warmup_epochs=3, swag_epochs=7, collect_every=4)
        assert fit_head(*data, settings, generator()).n == 21 // 4 == head.snapshots(160, settings)

    @pytest.mark.parametrize("settings", [HeadSettings(1e-3, collect_every=31), HeadSettings(1e-3, swag_epochs=1)])
    def test_fewer_than_two_snapshots_are_refused_up_front(self, settings: HeadSettings) -> None:
        with pytest.raises(InputError, match=r"swag\.collect_every"):
            fit_head(*two_groups(100, 60), settings, generator())

    def test_the_generator_decides_everything(self) -> None:
        data = two_groups(200, 60)
        first, again, other = (fit_head(*data, SETTINGS, generator(seed)) for seed in (0, 0, 1))
        assert torch.equal(first.mean["weight"], again.mean["weight"])
        assert torch.equal(first.columns["weight"], again.columns["weight"])
        assert not torch.equal(first.mean["weight"], other.mean["weight"])

    def test_the_rows_are_left_alone(self) -> None:
        x_ND, abnormal_N = two_groups(100, 50)
        before = x_ND.copy()
        fit_head(x_ND, abnormal_N, SETTINGS, generator())
        assert np.array_equal(x_ND, before)

    @pytest.mark.parametrize("abnormal", [0, 50])
    def test_both_kinds_are_needed(self, abnormal: int) -> None:
        with pytest.raises(ValueError, match="trusted and abnormal images"):
            fit_head(np.zeros((50, 4), np.float32), np.arange(50) < abnormal, SETTINGS, generator())

    def test_an_image_that_counts_twice_is_there_twice(self) -> None:
        """Both come to the one optimum: weights within a class, the classes as balanced as before."""
        x_ND, abnormal_N = two_groups(60, 40, columns=5)
        times_N = np.random.default_rng(0).integers(1, 4, 100)
        settings = HeadSettings(1e-2, weight_decay=0.05, batch_size=300, warmup_epochs=4000, swag_epochs=2)
        weighed = fit_head(x_ND, abnormal_N, settings, generator(), weight_N=times_N / 3)
        repeated = fit_head(np.repeat(x_ND, times_N, axis=0), np.repeat(abnormal_N, times_N), settings, generator())
        plain = fit_head(x_ND, abnormal_N, settings, generator())
        assert torch.allclose(weighed.mean["weight"], repeated.mean["weight"], atol=1e-3)
        assert torch.allclose(weighed.mean["bias"], repeated.mean["bias"], atol=1e-3)
        assert not torch.allclose(weighed.mean["weight"], plain.mean["weight"], atol=1e-2)

    def test_weights_that_are_all_alike_change_no_bit(self) -> None:
        x_ND, abnormal_N = two_groups(64, 32)
        plain = fit_head(x_ND, abnormal_N, SETTINGS, generator())
        halves = fit_head(x_ND, abnormal_N, SETTINGS, generator(), weight_N=np.full(96, 0.5))
        assert torch.equal(plain.mean["weight"], halves.mean["weight"])

    @pytest.mark.parametrize("weight", [0.0, -1.0, np.nan])
    def test_an_image_that_counts_for_nothing_is_refused(self, weight: float) -> None:
        x_ND, abnormal_N = two_groups(30, 20)
        with pytest.raises(ValueError, match="count for more than 0"):
            fit_head(x_ND, abnormal_N, SETTINGS, generator(), weight_N=np.where(np.arange(50) == 7, weight, 1.0))

    def test_weights_still_move_when_snapshots_are_taken(self) -> None:
        """A posterior without spread would make every image equally certain."""
        state = fit_head(*two_groups(300, 60), SETTINGS, generator())
        assert swag.variance(state)["weight"].min() > 0

    def test_a_fit_is_a_few_passes_over_the_matrix(self, one_thread: None) -> None:
        """Relative to a plain product on this machine, so that a slow one does not fail; in this thread's own time, so
        that a busy one does not either.
        """
        x_ND, abnormal_N = two_groups(1000, 1000, columns=2000)
        rows, weight = torch.from_numpy(x_ND), torch.randn(2000, generator=torch.Generator().manual_seed(4))
        start = time.thread_time()
        for _ in range(70):
            rows @ weight
        product = time.thread_time() - start
        start = time.thread_time()
        fit_head(x_ND, abnormal_N, SETTINGS, generator())
        assert time.thread_time() - start < 1 + 10 * product


class TestSamplesAndLogits:
    def test_one_product_gives_every_sample(self) -> None:
        x_ND, abnormal_N = two_groups(100, 50)
        state = fit_head(x_ND, abnormal_N, SETTINGS, generator())
        weight_SD, bias_S = head.sample_weights(state, [generator(seed) for seed in range(3)])
        logit_NS = head.logits(x_ND, weight_SD, bias_S)
        assert logit_NS.shape == (150, 3) and logit_NS.dtype == np.float32
        drawn = swag.sample(state, generator(2))
        expected = x_ND @ drawn["weight"].numpy() + drawn["bias"].numpy()
        assert np.allclose(logit_NS[:, 2], expected, atol=1e-4)


class TestEvidence:
    def test_the_places_sum_to_the_logit_less_the_bias(self) -> None:
        rng = np.random.default_rng(0)
        channels, grid = [2, 5, 3], 4
        x_ND = rng.standard_normal((6, 160)).astype(np.float32)
        weight_D = rng.standard_normal(160).astype(np.float32)
        share_NGG = head.evidence(x_ND, weight_D, channels, grid)
        assert share_NGG.shape == (6, 4, 4)
        assert np.allclose(share_NGG.sum((1, 2)), x_ND @ weight_D, atol=1e-4)

    def test_a_place_is_where_pool_features_put_it(self) -> None:
        features = {8: np.zeros((1, 64, 2), np.float32), 16: np.zeros((1, 64, 3), np.float32)}
        features[16][0, 8 * 5 + 2, 1] = 4  # row 5, column 2 of the 8 x 8 grid
        share_GG = head.evidence(pool_features(features, 4), np.ones(16 * 5, np.float32), [2, 3], 4)[0]
        assert share_GG[2, 1] == 1 and share_GG.sum() == 1

    def test_a_wrong_layout_is_refused(self) -> None:
        with pytest.raises(ValueError, match="fit"):
            head.evidence(np.zeros((1, 80), np.float32), np.zeros(80, np.float32), [2, 2], 4)
