"""The adapter: closed-form BatchNorm, the start, and a fit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from swag_ray.core import swag
from swag_ray.core.adapter import (
    BN_EPS,
    AdapterFit,
    Moments,
    bn_moments,
    compactness,
    embed,
    embedding_variance,
    fit_adapter,
    init_adapter,
    patch_moments,
)
from swag_ray.core.knn import Index
from swag_ray.core.schedule import AdapterSettings, schedule
from swag_ray.core.score import patch_distances
from swag_ray.errors import InputError

CHANNELS = {8: 6, 16: 10}
FAST = AdapterSettings(warmup_epochs=1, round_epochs=2, batch_size=64, prototypes=16)


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def patches(images: int = 20, seed: int = 0) -> dict[int, Tensor]:
    """Correlated, roughly standardised patches with a mean that is not zero."""
    made = {}
    for stride, channels in CHANNELS.items():
        mix_CC = torch.randn(channels, channels, generator=rng(stride)) / channels**0.5
        made[stride] = torch.randn(images, 16, channels, generator=rng(seed + stride)) @ mix_CC + 0.3
    return made


def moments_of(made: dict[int, Tensor]) -> dict[int, Moments]:
    return {stride: patch_moments(x) for stride, x in made.items()}


def fitted(settings: AdapterSettings = FAST, seed: int = 5, *, warm_up: bool = True, dim: int = 12) -> AdapterFit:
    made = patches()
    moments = moments_of(made)
    return fit_adapter(init_adapter(moments, dim, rng(1)), made, moments, settings, rng(seed), warm_up=warm_up)


def test_moments_match_numpy() -> None:
    x_NC = patches()[16].reshape(-1, 10)
    whole = patch_moments(x_NC)
    np.testing.assert_allclose(whole.cov_CC, np.cov(x_NC.double().numpy().T, bias=True), atol=1e-12)
    np.testing.assert_allclose(whole.mean_C, x_NC.double().numpy().mean(axis=0), atol=1e-12)
    assert whole.n == 320


def test_one_patch_has_moments_and_none_has_not() -> None:
    one = patch_moments(torch.tensor([[[1.0, 2.0]]]))
    assert one.n == 1 and one.mean_C.tolist() == [1, 2] and not one.cov_CC.any()
    with pytest.raises(ValueError, match="no patches"):
        patch_moments(torch.zeros(0, 16, 2))


def test_moments_survive_a_large_offset() -> None:
    x_NC = torch.randn(500, 3, generator=rng(0), dtype=torch.float64)
    torch.testing.assert_close(patch_moments(x_NC + 1e6).cov_CC, patch_moments(x_NC).cov_CC, rtol=1e-6, atol=1e-8)


def test_closed_form_bn_matches_an_empirical_pass_for_any_weight() -> None:
    x_NC = patches()[16].reshape(-1, 10)
    moments = patch_moments(x_NC)
    weight_dC = torch.randn(14, 10, generator=rng(2)) * 3 + 1
    mean_d, variance_d = bn_moments(weight_dC, moments.mean_C, moments.cov_CC)
    out_Nd = x_NC.double() @ weight_dC.double().T
    torch.testing.assert_close(mean_d, out_Nd.mean(0))
    torch.testing.assert_close(variance_d, out_Nd.var(0, correction=0))


def test_embed_equals_conv_batchnorm_relu_in_training_mode() -> None:
    made = patches()
    params = {
        name: p + 0.1 * torch.randn(p.shape, generator=rng(3))
        for name, p in init_adapter(moments_of(made), 8, rng(1)).items()
    }
    parts = []
    for stride, x_NPC in made.items():
        bn = nn.BatchNorm1d(8)
        assert bn.eps == BN_EPS
        bn.weight.data, bn.bias.data = params[f"gamma.{stride}"], params[f"beta.{stride}"]
        parts.append(bn(x_NPC.reshape(-1, x_NPC.shape[-1]) @ params[f"weight.{stride}"].T).relu())
    expected = nn.functional.normalize(torch.cat(parts, dim=1), dim=1).detach()
    embedding_NPD = embed(params, made, moments_of(made))
    torch.testing.assert_close(embedding_NPD.reshape(-1, 16), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dim", [2, 8, 12, 20, 26, 64])  # below, at and above twice the channels
def test_start_has_both_signs_and_loses_nothing_when_wide_enough(dim: int) -> None:
    made = patches()
    moments = moments_of(made)
    params = init_adapter(moments, dim, rng(1))
    embedding_NPD = embed(params, made, moments)
    assert embedding_NPD.shape == (20, 16, 2 * dim) and embedding_NPD.isfinite().all()
    for stride, channels in CHANNELS.items():
        weight_dC = params[f"weight.{stride}"]
        torch.testing.assert_close(weight_dC[: dim // 2], -weight_dC[dim // 2 :])
        if dim // 2 >= channels:
            # relu(a) - relu(-a) = a, and a determines the patch.
            out = (made[stride] @ weight_dC.T).relu()
            half = out[..., : dim // 2] - out[..., dim // 2 :]
            back_NPC = half @ torch.linalg.pinv(weight_dC[: dim // 2]).T
            torch.testing.assert_close(back_NPC, made[stride], rtol=1e-3, atol=1e-3)


def test_start_survives_constant_and_duplicate_channels() -> None:
    x_NPC = patches()[8].clone()
    x_NPC[..., 1], x_NPC[..., 2] = 0, x_NPC[..., 3]
    moments = {8: patch_moments(x_NPC)}
    assert embed(init_adapter(moments, 12, rng(0)), {8: x_NPC}, moments).isfinite().all()


def test_odd_dim_is_refused() -> None:
    with pytest.raises(ValueError, match="even"):
        init_adapter(moments_of(patches()), 7, rng(0))


def test_fit_lowers_its_objective_and_repeats_bit_for_bit() -> None:
    settings = dataclasses.replace(FAST, round_epochs=6, learning_rate=3e-3)
    one, two, other = fitted(settings), fitted(settings), fitted(settings, seed=6)
    assert np.mean(one.loss_trace[-5:]) < 0.97 * np.mean(one.loss_trace[:5])
    assert not one.collapsed and one.swag is not None and two.swag is not None
    for name in one.params:
        assert torch.equal(one.params[name], two.params[name])
        assert torch.equal(one.swag.mean[name], two.swag.mean[name])
    assert any(not torch.equal(one.params[name], other.params[name]) for name in one.params)


def test_thread_count_changes_nothing_visible() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = fitted()
        torch.set_num_threads(2)
        two = fitted()
    finally:
        torch.set_num_threads(before)
    for name in one.params:
        torch.testing.assert_close(one.params[name], two.params[name], rtol=1e-4, atol=1e-5)


def test_snapshots_are_taken_in_the_round_epochs_only() -> None:
    warm, cold = fitted(), fitted(warm_up=False)
    plan = schedule(320, FAST)
    assert plan.steps_per_epoch == 10 and plan.snapshots == 20
    assert len(warm.loss_trace) == 30 and len(cold.loss_trace) == 20
    assert len(warm.variance_trace) == 31
    assert warm.swag is not None and warm.swag.n == 20
    assert warm.swag.mean.keys() == {f"{kind}.{s}" for kind in ("weight", "gamma", "beta") for s in CHANNELS}


def test_samples_recompute_batchnorm_and_differ() -> None:
    made = patches()
    moments = moments_of(made)
    fit = fitted(dataclasses.replace(FAST, learning_rate=1e-2))
    assert fit.swag is not None
    one, two = (embed(swag.sample(fit.swag, rng(s)), made, moments) for s in (1, 2))
    assert one.isfinite().all() and not torch.allclose(one, two)
    # BatchNorm makes the scale of a weight row irrelevant; a stale buffer would not.
    scaled = {name: p * 7 if name.startswith("weight") else p for name, p in fit.params.items()}
    torch.testing.assert_close(embed(scaled, made, moments), embed(fit.params, made, moments), rtol=1e-2, atol=1e-3)


def test_too_few_snapshots_are_refused_before_training() -> None:
    settings = dataclasses.replace(FAST, collect_every=6)  # 10 steps in 2 epochs of 5
    with pytest.raises(InputError, match=r"swag\.collect_every: every 6 steps gives 1 snapshots .* 5 or less"):
        fitted(settings)


def test_collapse_stops_the_fit_and_keeps_the_iterate_before_it() -> None:
    healthy = fitted()
    # A floor above any variance an embedding can have: the very first step counts as a collapse.
    stopped = fitted(dataclasses.replace(FAST, collapse_below=10.0))
    assert not healthy.collapsed and min(healthy.variance_trace) > 0.5 * healthy.variance_trace[0]
    assert stopped.collapsed and stopped.swag is None and len(stopped.loss_trace) == 1
    start = init_adapter(moments_of(patches()), 12, rng(1))
    assert all(torch.equal(stopped.params[name], start[name]) for name in start)


def test_a_diverging_rate_is_reported_as_collapse_with_finite_weights() -> None:
    fit = fitted(dataclasses.replace(FAST, warmup_learning_rate=1e30))
    assert fit.collapsed and all(p.isfinite().all() for p in fit.params.values())


def test_embedding_variance_is_zero_for_equal_rows_and_not_finite_ones() -> None:
    assert embedding_variance(torch.ones(5, 3)) == 0
    assert embedding_variance(torch.full((5, 3), float("nan"))) == 0
    assert embedding_variance(torch.eye(4)) == pytest.approx(0.75)


def test_embedding_variance_is_the_trace_of_the_covariance() -> None:
    """Of all patches of all images together, however many there are."""
    embedding_NPD = torch.randn(4, 5, 3, generator=rng(0))
    trace = np.cov(embedding_NPD.reshape(20, 3).double().numpy().T, bias=True).trace()
    assert embedding_variance(embedding_NPD) == pytest.approx(trace)
    assert embedding_variance(embedding_NPD[0]) == pytest.approx(np.var(embedding_NPD[0].numpy(), axis=0).sum(), 1e-5)


def test_variance_is_watched_on_all_patches_where_they_are_few() -> None:
    made, fit = patches(), fitted()
    moments = moments_of(made)
    start = embed(init_adapter(moments, 12, rng(1)), made, moments)
    assert fit.variance_trace[0] == pytest.approx(embedding_variance(start))
    assert fit.variance_trace[-1] == pytest.approx(embedding_variance(embed(fit.params, made, moments)))


def test_compactness_is_the_distance_to_the_nearest_and_safe_on_a_prototype() -> None:
    prototype_KD = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    embedding_RD = torch.tensor([[0.0, 0.0], [3.0, 2.0]], requires_grad=True)
    loss = compactness(embedding_RD, prototype_KD)
    assert loss.item() == pytest.approx(1.0)
    (gradient_RD,) = torch.autograd.grad(loss, embedding_RD)
    torch.testing.assert_close(gradient_RD, torch.tensor([[0.0, 0.0], [0.0, -0.5]]))


def test_fault_2_a_stored_patch_scores_zero_through_the_adapter() -> None:
    # Queries are embedded few at a time, the bank all at once: the normalisation must not look across patches.
    made = patches()
    moments = moments_of(made)
    fit = fitted()
    assert fit.swag is not None
    for params in (fit.params, swag.sample(fit.swag, rng(9))):
        bank_MD = embed(params, made, moments).reshape(-1, 24).numpy()
        query_NPD = torch.stack([embed(params, {s: x[i] for s, x in made.items()}, moments) for i in range(3)]).numpy()
        assert patch_distances(Index(bank_MD), query_NPD, 1).max() < 2e-3
        assert patch_distances(Index(bank_MD), query_NPD, 2).min() > 1e-2


def test_training_does_not_touch_its_input() -> None:
    made = patches()
    moments = moments_of(made)
    params = init_adapter(moments, 12, rng(1))
    before = {name: p.clone() for name, p in params.items()}
    fit = fit_adapter(params, made, moments, FAST, rng(0), warm_up=False)
    assert all(torch.equal(params[name], before[name]) for name in params)
    assert not any(p.requires_grad for p in fit.params.values())
