"""SWAG: the moments, the draws and their storage."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from swag_ray.core import swag

DRAWS = 8000


def snapshots(count: int, seed: int = 0) -> list[dict[str, Tensor]]:
    rng = torch.Generator().manual_seed(seed)
    return [
        {"weight": torch.randn(2, 3, generator=rng) + 5, "bias": torch.randn((), generator=rng)} for _ in range(count)
    ]


def collected(shots: list[dict[str, Tensor]], max_columns: int = 20) -> swag.State:
    state = swag.init(shots[0], max_columns)
    for shot in shots:
        state = swag.update(state, shot)
    return state


def flat_draws(state: swag.State, count: int) -> Tensor:
    rng = torch.Generator().manual_seed(7)
    drawn = swag.sample_many(state, [rng] * count, dtype=torch.float64)
    return torch.cat([drawn["weight"].flatten(1), drawn["bias"].reshape(count, 1)], dim=1)


def expected_moments(state: swag.State) -> tuple[Tensor, Tensor]:
    spread = swag.variance(state)
    centre = torch.cat([state.mean["weight"].flatten(), state.mean["bias"].reshape(1)])
    diagonal = torch.cat([spread["weight"].flatten(), spread["bias"].reshape(1)])
    held = swag.held_columns(state)
    columns = torch.cat([state.columns["weight"].flatten(1), state.columns["bias"].reshape(held, 1)], dim=1).double()
    return centre, (torch.diag(diagonal) + columns.T @ columns / (held - 1)) / 2


def test_mean_and_variance_match_numpy() -> None:
    shots = snapshots(13)
    state = collected(shots)
    stacked = np.stack([s["weight"].numpy() for s in shots]).astype(np.float64)
    np.testing.assert_allclose(state.mean["weight"], stacked.mean(0), rtol=1e-12)
    np.testing.assert_allclose(swag.variance(state)["weight"], stacked.var(0), rtol=1e-9)


def test_columns_are_deviations_from_the_running_mean_and_only_the_last_are_held() -> None:
    shots = snapshots(6)
    state = collected(shots, max_columns=4)
    assert swag.held_columns(state) == 4
    stacked = torch.stack([s["weight"] for s in shots]).double()
    for row, t in enumerate(range(2, 6)):
        torch.testing.assert_close(state.columns["weight"][row], (stacked[t] - stacked[: t + 1].mean(0)).float())


def test_fault_1_sample_mean_and_covariance_match_the_formula() -> None:
    state = collected(snapshots(9), max_columns=5)
    centre, covariance = expected_moments(state)
    draws = flat_draws(state, DRAWS)
    scale = covariance.diagonal().sqrt()
    assert ((draws.mean(0) - centre).abs() / scale).max() < 5 / DRAWS**0.5
    error = (torch.cov(draws.T) - covariance).abs() / torch.outer(scale, scale)
    assert error.max() < 6 / DRAWS**0.5


def test_fault_1_identical_snapshots_give_zero_variance() -> None:
    shot = snapshots(1)[0]
    state = collected([shot] * 7)
    assert all((v == 0).all() for v in swag.variance(state).values())
    drawn = swag.sample(state, torch.Generator().manual_seed(1))
    assert all(torch.equal(drawn[name], shot[name]) for name in shot)


def test_one_z2_is_shared_by_all_tensors() -> None:
    # Two tensors that moved in lockstep: half the variance is low-rank, so their draws correlate; separate z2 give 0.
    steps = torch.randn(12, 1, generator=torch.Generator().manual_seed(3))
    state = swag.init({"a": steps[0], "b": steps[0]}, 20)
    for step in steps:
        state = swag.update(state, {"a": step, "b": -2 * step})
    rng = torch.Generator().manual_seed(4)
    drawn = swag.sample_many(state, [rng] * 5000)
    correlation = torch.corrcoef(torch.stack([drawn["a"].flatten(), drawn["b"].flatten()]))[0, 1]
    low_rank = (state.columns["a"].double() ** 2).sum() / 11
    share = low_rank / (low_rank + swag.variance(state)["a"])
    assert correlation == pytest.approx(-share.item(), abs=0.05)
    assert correlation < -0.3


def test_draws_follow_the_generator_and_sample_many_stacks_single_draws() -> None:
    state = collected(snapshots(5))
    seeds = (11, 12, 13)
    many = swag.sample_many(state, [torch.Generator().manual_seed(s) for s in seeds])
    for row, seed in enumerate(seeds):
        one = swag.sample(state, torch.Generator().manual_seed(seed))
        assert all(torch.equal(many[name][row], one[name]) for name in one)
    assert not torch.equal(many["weight"][0], many["weight"][1])


def test_a_draw_is_equation_1_of_its_normal_numbers() -> None:
    """z2 comes first, then z1 of each tensor by name; the mean and columns are checked above."""
    state, rng = collected(snapshots(6), max_columns=4), torch.Generator().manual_seed(3)
    drawn = swag.sample(state, torch.Generator().manual_seed(3), dtype=torch.float64)
    z2_K = torch.randn(4, generator=rng, dtype=torch.float64)
    for name in ("bias", "weight"):
        columns_K = state.columns[name].double()
        expected = state.mean[name] + sum(column * z2 for column, z2 in zip(columns_K, z2_K, strict=True)) / 6**0.5
        z1 = torch.randn(state.mean[name].shape, generator=rng, dtype=torch.float64)
        torch.testing.assert_close(drawn[name], expected + (swag.variance(state)[name] / 2).sqrt() * z1)


def test_of_one_snapshot_there_is_a_mean() -> None:
    (shot,) = snapshots(1)
    assert all(torch.equal(swag.mean(collected([shot]))[name], shot[name]) for name in shot)


def test_the_last_snapshot_comes_out_as_it_went_in() -> None:
    shots = snapshots(7)
    last = swag.last(collected(shots, max_columns=3))
    for name, tensor in shots[-1].items():
        torch.testing.assert_close(last[name], tensor, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="no snapshot"):
        swag.last(swag.init(shots[0], 2))


def test_update_leaves_the_old_state_and_gradients_alone() -> None:
    shots = snapshots(2)
    first = swag.update(swag.init(shots[0], 3), shots[0])
    before = first.mean["weight"].clone()
    second = swag.update(first, {k: v.clone().requires_grad_() for k, v in shots[1].items()})
    assert torch.equal(first.mean["weight"], before) and first.n == 1 and second.n == 2
    assert not second.mean["weight"].requires_grad


def test_wrong_use_is_refused() -> None:
    shots = snapshots(2)
    one = swag.update(swag.init(shots[0], 5), shots[0])
    with pytest.raises(ValueError, match="at least 2"):
        swag.sample(one, torch.Generator())
    with pytest.raises(ValueError, match="max_columns"):
        swag.init(shots[0], 1)
    with pytest.raises(ValueError, match="no snapshot"):
        swag.variance(swag.init(shots[0], 2))
    with pytest.raises(ValueError, match="no snapshot"):
        swag.mean(swag.init(shots[0], 2))
    with pytest.raises(ValueError, match="weight"):
        swag.update(one, {"bias": shots[0]["bias"]})
    with pytest.raises(ValueError, match="shape"):
        swag.update(one, {"weight": torch.zeros(3), "bias": torch.zeros(())})
