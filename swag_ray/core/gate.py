"""Which pool images a round admits: two gates, patience, a ranking, a budget.

Legend: N pool images, in row order. z_s, z_u: distance and log uncertainty on the seeds' scale (see `calibrate`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.array_checks import Floats, Mask, finite, mask

Rank = Literal["safe", "boundary", "uncertainty", "random"]
Uncertainty = Callable[[Mask], tuple[NDArray[Any], NDArray[Any]]]

DISTANCE_SHARE = 0.7  # of the safe ranking; the rest is the uncertainty's


@dataclass(frozen=True)
class GateSettings:
    """What a round may admit.

    Attributes:
        tau_distance: first gate, z_s at most this.
        tau_uncertainty: second gate, z_u at most this.
        tau_relaxed: both taus of the one round that may be gated again because it would be empty; None: never.
        budget: most images admitted a round; 0: none, and no round is empty for that.
        rank: `safe` 0.7 z_s + 0.3 z_u ascending; `boundary` highest score first, which admits the likeliest anomalies
            first; `uncertainty` highest u first; `random`.
        patience: rounds in a row that an image must pass before it is a candidate.
    """

    tau_distance: float = 1.0
    tau_uncertainty: float = 1.0
    tau_relaxed: float | None = 1.5
    budget: int = 150
    rank: Rank = "safe"
    patience: int = 1

    def __post_init__(self) -> None:
        for name in ("tau_distance", "tau_uncertainty", "tau_relaxed"):
            if np.isnan(getattr(self, name) or 0.0):
                raise ValueError(f"{name}: not a number")
        _require_budget(self.budget)
        if self.patience < 1:
            raise ValueError(f"patience: {self.patience}, at least 1")
        if self.rank not in get_args(Rank):
            raise ValueError(f"rank: {self.rank!r}, one of {', '.join(get_args(Rank))}")


@dataclass(frozen=True)
class PoolState:
    """What the gate remembers between rounds.

    Attributes:
        ever_admitted_N: (N,) bool; stays True when an image is evicted, so that it never comes back.
        streak_N: (N,) int64, rounds in a row an image has passed both gates.
        relaxed_used: whether the one relaxed round is spent.
    """

    ever_admitted_N: Mask
    streak_N: NDArray[np.int64]
    relaxed_used: bool


@dataclass(frozen=True)
class Decision:
    """One round's choice.

    Attributes:
        candidate_N: (N,) bool, passed both gates, patience served, not a reject.
        admitted_N: (N,) bool, admitted in this round.
        passed_distance_N, passed_both_N: (N,) bool, among never-admitted images, rejects included.
        u_N, z_u_N: (N,) float64, NaN where not computed.
        relaxed: whether the figures above are those of the relaxed taus.
        exhausted: nothing admitted, relaxed or not, and nobody waits for patience.
        state: for the next round.
    """

    candidate_N: Mask
    admitted_N: Mask
    passed_distance_N: Mask
    passed_both_N: Mask
    u_N: Floats
    z_u_N: Floats
    relaxed: bool
    exhausted: bool
    state: PoolState


@dataclass(frozen=True)
class _Passed:
    distance_N: Mask
    both_N: Mask
    streak_N: NDArray[np.int64]
    candidate_N: Mask

    @property
    def empty(self) -> bool:
        """Nobody to admit, and nobody waiting for patience: either would have a streak."""
        return not self.streak_N.any()


def decide(
    score_N: NDArray[Any],
    z_score_N: NDArray[Any],
    rejected_N: Mask,
    state: PoolState,
    settings: GateSettings,
    uncertainty: Uncertainty,
    generator: np.random.Generator,
) -> Decision:
    """Gate the never-admitted pool images and admit the best ranked candidates.

    An image whose z_u is null passes the second gate and ranks by z_s alone. This round's rejects are never candidates
    and their streak ends. If nobody is a candidate and nobody waits for patience, the round is gated once more with
    both taus at `tau_relaxed`, where that is set and was not used in an earlier round.

    Shape:
        score_N, z_score_N: (N,) finite; rejected_N: (N,) bool, this round's rejects.

    Args:
        uncertainty: mask (N,) -> (u_N, z_u_N), NaN where not computed. Asked only for never-admitted images that pass
            the first gate, each at most once, never with an empty mask.
        generator: used by the rank `random` alone.

    Raises:
        ValueError: shapes that differ, a score or z_s that is not finite.
    """
    count = len(state.ever_admitted_N)
    score, z_score = finite("score_N", score_N, count), finite("z_score_N", z_score_N, count)
    figures = _Figures(uncertainty, len(score))
    gate = partial(_gate, z_score, mask("rejected_N", rejected_N, count), state, settings.patience, figures)
    passed = gate(settings.tau_distance, settings.tau_uncertainty)
    tau = None if state.relaxed_used else settings.tau_relaxed
    relaxed = passed.empty and tau is not None
    if passed.empty and tau is not None:
        passed = gate(tau, tau)
    key = _rank_keys(settings.rank, score, z_score, figures.u_N, figures.z_u_N, generator)
    admitted = _first(passed.candidate_N, key, settings.budget)
    return Decision(
        candidate_N=passed.candidate_N,
        admitted_N=admitted,
        passed_distance_N=passed.distance_N,
        passed_both_N=passed.both_N,
        u_N=figures.u_N,
        z_u_N=figures.z_u_N,
        relaxed=relaxed,
        exhausted=passed.empty,
        state=PoolState(
            ever_admitted_N=state.ever_admitted_N | admitted,
            streak_N=np.where(admitted, 0, passed.streak_N),
            relaxed_used=state.relaxed_used or relaxed,
        ),
    )


def draw(eligible_N: Mask, budget: int, generator: np.random.Generator, *, state: PoolState) -> Decision:
    """A uniform draw without replacement among eligible, never-admitted images: the gate's stand-in in two controls.

    There is no gate, so the three masks of the decision are all the images that could be drawn.

    Shape:
        eligible_N: (N,) bool.

    Raises:
        ValueError: shapes that differ, or a budget below 0.
    """
    _require_budget(budget)
    eligible = mask("eligible_N", eligible_N, len(state.ever_admitted_N)) & ~state.ever_admitted_N
    admitted = _first(eligible, [_shuffled(len(eligible), generator)], budget)
    null_N = np.full(len(eligible), np.nan)
    return Decision(
        candidate_N=eligible,
        admitted_N=admitted,
        passed_distance_N=eligible,
        passed_both_N=eligible,
        u_N=null_N,
        z_u_N=null_N.copy(),
        relaxed=False,
        exhausted=not eligible.any(),
        state=dataclasses.replace(state, ever_admitted_N=state.ever_admitted_N | admitted),
    )


def nobody(state: PoolState) -> Decision:
    """No admission at all, which never ends the loop: the gate's stand-in in the control without admission."""
    none_N, null_N = np.zeros_like(state.ever_admitted_N), np.full(len(state.ever_admitted_N), np.nan)
    return Decision(
        candidate_N=none_N,
        admitted_N=none_N,
        passed_distance_N=none_N,
        passed_both_N=none_N,
        u_N=null_N,
        z_u_N=null_N.copy(),
        relaxed=False,
        exhausted=False,
        state=state,
    )


def without_second_gate(z_score_N: NDArray[Any], passed_distance_N: Mask, budget: int) -> Mask:
    """The `budget` lowest z_s among the images that passed the first gate: what the distance alone would admit.

    Shape:
        z_score_N: (N,); passed_distance_N: (N,) bool. Returns (N,) bool.

    Raises:
        ValueError: a budget below 0.
    """
    _require_budget(budget)
    return _first(passed_distance_N, [np.asarray(z_score_N, dtype=np.float64)], budget)


class _Figures:
    """u and z_u as far as they were asked for."""

    def __init__(self, uncertainty: Uncertainty, count: int) -> None:
        self._uncertainty = uncertainty
        self._asked_N = np.zeros(count, dtype=np.bool_)
        self.u_N: Floats = np.full(count, np.nan)
        self.z_u_N: Floats = np.full(count, np.nan)

    def ask(self, mask_N: Mask) -> None:
        new_N = mask_N & ~self._asked_N
        if not new_N.any():
            return
        u_N, z_u_N = (np.asarray(values, dtype=np.float64) for values in self._uncertainty(new_N))
        if u_N.shape != new_N.shape or z_u_N.shape != new_N.shape:
            raise ValueError(f"uncertainty: returned {u_N.shape} and {z_u_N.shape}, expected {new_N.shape}")
        # What a callback knows of other images is kept for the record; what was asked before stands.
        self.u_N = np.where(self._asked_N, self.u_N, u_N)
        self.z_u_N = np.where(self._asked_N, self.z_u_N, z_u_N)
        self._asked_N = self._asked_N | new_N


def _gate(
    z_score_N: Floats,
    rejected_N: Mask,
    state: PoolState,
    patience: int,
    figures: _Figures,
    tau_distance: float,
    tau_uncertainty: float,
) -> _Passed:
    distance_N = ~state.ever_admitted_N & (z_score_N <= tau_distance)
    figures.ask(distance_N)
    both_N = distance_N & ~(figures.z_u_N > tau_uncertainty)  # a NaN is not above, so null passes
    kept_N = both_N & ~rejected_N
    streak_N = np.where(kept_N, state.streak_N + 1, 0)
    return _Passed(distance_N, both_N, streak_N, kept_N & (streak_N >= patience))


def _rank_keys(
    rank: Rank, score_N: Floats, z_score_N: Floats, u_N: Floats, z_u_N: Floats, generator: np.random.Generator
) -> list[NDArray[Any]]:
    """Sort keys, most important first, ascending."""
    match rank:
        case "safe":
            mixed_N = DISTANCE_SHARE * z_score_N + (1 - DISTANCE_SHARE) * z_u_N
            return [np.where(np.isnan(z_u_N), z_score_N, mixed_N)]
        case "boundary":
            return [-score_N]
        case "uncertainty":
            null_N = np.isnan(u_N)
            return [null_N, np.where(null_N, z_score_N, -u_N)]
        case "random":
            return [_shuffled(len(score_N), generator)]


def _shuffled(count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    return generator.permutation(count).astype(np.int64)


def _first(mask_N: Mask, keys: list[NDArray[Any]], budget: int) -> Mask:
    """The first `budget` images of the mask in the order of the keys, ties by row."""
    row = np.flatnonzero(mask_N)
    order = np.lexsort([key[row] for key in reversed(keys)])
    first_N = np.zeros(len(mask_N), dtype=np.bool_)
    first_N[row[order[:budget]]] = True
    return first_N


def _require_budget(budget: int) -> None:
    if budget < 0:
        raise ValueError(f"budget: {budget}, at least 0")
