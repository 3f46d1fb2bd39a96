"""SWA-Gaussian: a Gaussian over weights from snapshots of one training run.

Maddox et al. 2019, "A Simple Baseline for Bayesian Uncertainty in Deep Learning", algorithm 1 and equation 1:

    theta = mean + sqrt(variance / 2) * z1 + D z2 / sqrt(2 (K - 1)),    z1 ~ N(0, I), z2 ~ N(0, I_K)

Pure functions `init / update / sample` over a dict of tensors; nothing here knows what the tensors are for.

Shapes: K columns held, S samples; every tensor keeps its own shape.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from swag_ray.core.schedule import MIN_SNAPSHOTS

MIN_COLUMNS = MIN_SNAPSHOTS  # the low-rank part divides by K - 1


@dataclass(frozen=True)
class State:
    """Moments of the snapshots collected so far."""

    n: int  # snapshots collected
    mean: dict[str, Tensor]  # running mean, float64
    m2: dict[str, Tensor]  # running sum of squared deviations (Welford), float64
    columns: dict[str, Tensor]  # the last K deviations from the running mean at collection, (K, *shape) float32
    max_columns: int  # the most columns held


def init(params: Mapping[str, Tensor], max_columns: int) -> State:
    """An empty state for tensors shaped like `params`; the values of `params` are not collected.

    Raises:
        ValueError: no tensor, or `max_columns` below 2.
    """
    if not params:
        raise ValueError("params is empty")
    if max_columns < MIN_COLUMNS:
        raise ValueError(f"max_columns is {max_columns}, must be at least {MIN_COLUMNS}")
    zeros = {name: torch.zeros_like(p, dtype=torch.float64, requires_grad=False) for name, p in params.items()}
    columns = {name: torch.empty((0, *p.shape), dtype=torch.float32, device=p.device) for name, p in params.items()}
    return State(n=0, mean=zeros, m2={k: z.clone() for k, z in zeros.items()}, columns=columns, max_columns=max_columns)


def update(state: State, params: Mapping[str, Tensor]) -> State:
    """The state after one more snapshot; `state` itself is unchanged.

    Welford's recurrence in float64: identical snapshots give a variance of exactly zero.

    Raises:
        ValueError: `params` has other names or shapes than the state.
    """
    if params.keys() != state.mean.keys():
        raise ValueError(f"params has {sorted(params)}, the state {sorted(state.mean)}")
    n = state.n + 1
    mean: dict[str, Tensor] = {}
    m2: dict[str, Tensor] = {}
    columns: dict[str, Tensor] = {}
    for name, old in state.mean.items():
        if params[name].shape != old.shape:
            raise ValueError(f"{name} has shape {tuple(params[name].shape)}, the state {tuple(old.shape)}")
        theta = params[name].detach().to(old)
        delta = theta - old
        mean[name] = old + delta / n
        deviation = theta - mean[name]
        m2[name] = state.m2[name] + delta * deviation
        held = state.columns[name]
        columns[name] = torch.cat((held, deviation.to(held)[None]))[-state.max_columns :]
    return State(n=n, mean=mean, m2=m2, columns=columns, max_columns=state.max_columns)


def held_columns(state: State) -> int:
    """K, the number of deviation columns the state holds."""
    return next(iter(state.columns.values())).shape[0]


def variance(state: State) -> dict[str, Tensor]:
    """Variance of every weight over all snapshots (the paper's: divided by n, not n - 1), float64.

    Raises:
        ValueError: no snapshot was collected.
    """
    if state.n == 0:
        raise ValueError("no snapshot was collected")
    return {name: m2.clamp_min(0) / state.n for name, m2 in state.m2.items()}


def mean(state: State, *, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The SWA weights: the mean of all snapshots.

    Raises:
        ValueError: no snapshot was collected.
    """
    if state.n == 0:
        raise ValueError("no snapshot was collected")
    return {name: m.to(dtype) for name, m in state.mean.items()}


def last(state: State, *, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The last snapshot collected, within the float32 rounding of its deviation: what training without SWAG would give.

    Raises:
        ValueError: no snapshot was collected.
    """
    if state.n == 0:
        raise ValueError("no snapshot was collected")
    return {name: (m + state.columns[name][-1].double()).to(dtype) for name, m in state.mean.items()}


def sample(state: State, generator: Generator, *, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """One draw of all weights; the same z2 serves every tensor, so their correlations survive.

    Args:
        state: at least two columns held.
        generator: the only source of chance; tensors are drawn in the order of their names.
        dtype: of the returned tensors.

    Raises:
        ValueError: fewer than two columns held.
    """
    held = held_columns(state)
    if held < MIN_COLUMNS:
        raise ValueError(f"the state holds {held} deviation columns, a sample needs at least {MIN_COLUMNS}")
    spread = variance(state)
    z2_K = torch.randn(held, generator=generator, device=generator.device, dtype=torch.float64)
    z2_K /= math.sqrt(2 * (held - 1))
    drawn: dict[str, Tensor] = {}
    for name in sorted(state.mean):
        centre = state.mean[name]
        z1 = torch.randn(centre.shape, generator=generator, device=generator.device, dtype=torch.float64)
        low_rank = torch.tensordot(z2_K.to(centre.device), state.columns[name].double(), dims=1)
        drawn[name] = (centre + (spread[name] / 2).sqrt() * z1.to(centre.device) + low_rank).to(dtype)
    return {name: drawn[name] for name in state.mean}


def sample_many(
    state: State, generators: Sequence[Generator], *, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """One draw per generator, stacked: each tensor is (S, *shape). Row i equals `sample(state, generators[i])`.

    Raises:
        ValueError: no generator, or fewer than two columns held.
    """
    if not generators:
        raise ValueError("generators is empty")
    draws = [sample(state, generator, dtype=dtype) for generator in generators]
    return {name: torch.stack([draw[name] for draw in draws]) for name in state.mean}
