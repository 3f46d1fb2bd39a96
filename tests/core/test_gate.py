"""The gates: what may be admitted, in which order, and when a pool is exhausted."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from swag_ray.core import gate
from swag_ray.core.gate import Decision, GateSettings, Mask, PoolState
from tests.support.pool_state import initial_state


class Known:
    """Uncertainties known in advance, handed out as asked; remembers what was asked."""

    def __init__(self, z_u: NDArray[Any]) -> None:
        self.z_u = np.asarray(z_u, dtype=np.float64)
        self.asked: list[Mask] = []

    def __call__(self, mask_N: Mask) -> tuple[NDArray[Any], NDArray[Any]]:
        self.asked.append(mask_N.copy())
        z_u = np.where(mask_N, self.z_u, np.nan)
        return np.exp(z_u), z_u


def decide(
    z: Any,
    z_u: Any = None,
    *,
    rejected: Any = None,
    state: PoolState | None = None,
    score: Any = None,
    random_seed: int = 0,
    **changed: Any,
) -> Decision:
    z = np.asarray(z, dtype=np.float64)
    return gate.decide(
        z if score is None else np.asarray(score),
        z,
        np.zeros(len(z), dtype=bool) if rejected is None else np.asarray(rejected),
        state or initial_state(len(z)),
        dataclasses.replace(GateSettings(tau_relaxed=None), **changed),
        Known(np.full(len(z), np.nan) if z_u is None else z_u),
        np.random.default_rng(random_seed),
    )


def admitted_order(rank: str, z: Any, z_u: Any, score: Any = None) -> list[int]:
    """Rows in the order they are admitted, found by admitting one more each time."""
    order: list[int] = []
    for budget in range(1, len(z) + 1):
        new = decide(z, z_u, score=score, rank=rank, budget=budget, tau_distance=99, tau_uncertainty=99).admitted_N
        order += [row for row in np.flatnonzero(new).tolist() if row not in order]
    return order


z_values = st.one_of(st.integers(-4, 4).map(float), st.floats(-4, 4))


@st.composite
def pools(draw: st.DrawFn) -> list[tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]]:
    count, rounds = draw(st.integers(0, 12)), draw(st.integers(1, 5))
    z_u = st.one_of(st.just(float("nan")), z_values)

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=count, max_size=count))

    return [
        (np.array(column(z_values), float), np.array(column(z_u), float), np.array(column(st.booleans()), bool))
        for _ in range(rounds)
    ]


gate_settings = st.builds(
    GateSettings,
    tau_distance=st.floats(-2, 2),
    tau_uncertainty=st.floats(-2, 2),
    tau_relaxed=st.none() | st.floats(-2, 3),
    budget=st.integers(1, 6),
    rank=st.sampled_from(["safe", "boundary", "uncertainty", "random"]),
    patience=st.integers(1, 3),
)


@given(pools(), gate_settings, st.integers(0, 99))
def test_invariants_over_rounds(
    rounds: list[tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]], settings: GateSettings, random_seed: int
) -> None:
    state = initial_state(len(rounds[0][0]))
    passed_before: list[Mask] = []
    relaxed_rounds = 0
    for z, z_u, rejected in rounds:
        known = Known(z_u)
        result = gate.decide(z, z, rejected, state, settings, known, np.random.default_rng(random_seed))
        again = gate.decide(z, z, rejected, state, settings, Known(z_u), np.random.default_rng(random_seed))
        np.testing.assert_array_equal(result.admitted_N, again.admitted_N)
        tau = (settings.tau_distance, settings.tau_uncertainty)
        if result.relaxed and settings.tau_relaxed is not None:
            tau = (settings.tau_relaxed, settings.tau_relaxed)

        new = result.admitted_N
        assert new.sum() == min(settings.budget, result.candidate_N.sum())
        assert not (new & ~result.candidate_N).any()
        assert not (result.candidate_N & (rejected | state.ever_admitted_N)).any()
        assert (z[result.passed_distance_N] <= tau[0]).all()
        assert not (z_u[result.passed_both_N] > tau[1]).any()
        assert not (result.passed_both_N & ~result.passed_distance_N).any()
        # A candidate has served its patience: it passed in this and each of the rounds before.
        passed_before.append(result.passed_both_N & ~rejected)
        served = np.array(passed_before[-settings.patience :]).all(axis=0)
        assert len(passed_before) >= settings.patience or not result.candidate_N.any()
        assert not (result.candidate_N & ~served).any()

        assert result.exhausted == (not passed_before[-1].any())
        asked = np.array(known.asked, dtype=bool).reshape(len(known.asked), len(z))
        assert (asked.sum(axis=0) <= 1).all() and asked.any(axis=1).all()
        assert not (asked & state.ever_admitted_N).any()
        assert (asked.any(axis=0) | ~result.passed_distance_N).all()
        np.testing.assert_array_equal(result.z_u_N, np.where(asked.any(axis=0), z_u, np.nan))

        relaxed_rounds += result.relaxed
        assert relaxed_rounds <= (settings.tau_relaxed is not None)
        assert result.state.relaxed_used == bool(relaxed_rounds)
        np.testing.assert_array_equal(result.state.ever_admitted_N, state.ever_admitted_N | new)
        assert not (new & state.ever_admitted_N).any()
        state = result.state


def test_both_gates_include_their_tau() -> None:
    result = decide([1.0, 1.0001, 0, 0], [1.0, 0, 1.0001, 1.0])
    assert result.passed_distance_N.tolist() == [True, False, True, True]
    assert result.passed_both_N.tolist() == [True, False, False, True]


def test_a_null_uncertainty_passes_and_ranks_by_distance_alone() -> None:
    # .7 z_s + .3 z_u: -0.2, then null at 0.1, then 0.3; a null counted as 0 would give 0.07, as 0.7 * 0.1.
    z, z_u = [0.1, 0.1, 0.0], [-0.9, np.nan, 1.0]
    assert decide(z, z_u).passed_both_N.all()
    assert admitted_order("safe", z, z_u) == [0, 1, 2]
    assert admitted_order("safe", [0.1, 0.1], [0.05, np.nan]) == [0, 1]
    assert admitted_order("uncertainty", [0.3, -9.0, 0.2], [np.nan, np.nan, -3.0]) == [2, 1, 0]


def test_rankings() -> None:
    z, z_u = [0.0, 1.0, 0.5, 0.5], [1.0, -3.0, 0.0, 0.0]
    assert admitted_order("safe", z, z_u) == [1, 0, 2, 3]
    assert admitted_order("uncertainty", z, z_u) == [0, 2, 3, 1]
    # The boundary follows the score, not z, should they ever disagree.
    assert admitted_order("boundary", z, z_u, score=[3.0, 1.0, 2.0, 2.0]) == [0, 2, 3, 1]


def test_random_rank_is_uniform_and_its_generator_decides() -> None:
    z = np.zeros(10)
    counts = sum(decide(z, rank="random", budget=3, random_seed=i).admitted_N.astype(int) for i in range(1_000))
    assert np.abs(counts - 300).max() < 60  # four standard deviations


def test_patience_counts_rounds_in_a_row() -> None:
    first = decide([0.0, 0.0, 0.0], patience=2)
    assert not first.admitted_N.any() and not first.exhausted
    # The second fails once, the third is a reject once: both start again.
    second = decide([0.0, 5.0, 0.0], rejected=[False, False, True], state=first.state, patience=2)
    assert second.admitted_N.tolist() == [True, False, False]
    third = decide([0.0, 0.0, 0.0], state=second.state, patience=2)
    assert not third.candidate_N.any() and not third.exhausted and third.state.streak_N.tolist() == [0, 1, 1]
    fourth = decide([0.0, 0.0, 0.0], state=third.state, patience=2)
    assert fourth.admitted_N.tolist() == [False, True, True]


def test_a_budget_of_none_admits_nobody_and_exhausts_nothing() -> None:
    found = decide([0.0, -9.0, 9.0], budget=0, tau_distance=1)
    assert found.candidate_N.tolist() == [True, True, False] and not found.admitted_N.any() and not found.exhausted
    drawn = gate.draw(np.ones(2, dtype=bool), 0, np.random.default_rng(0), state=initial_state(2))
    assert not drawn.admitted_N.any() and not drawn.exhausted


def test_a_candidate_over_budget_stays_one() -> None:
    first = decide([0.0, 0.0], patience=2)
    second = decide([0.0, 0.0], state=first.state, patience=2, budget=1)
    third = decide([0.0, 0.0], state=second.state, patience=2, budget=1)
    assert second.admitted_N.tolist() == [True, False] and third.admitted_N.tolist() == [False, True]


def test_an_evicted_image_never_returns() -> None:
    first = decide([0.0, 0.0], budget=1)
    # Eviction happens outside: the gate's own memory is all that it asks.
    second = decide([-9.0, 0.0], state=first.state, budget=2)
    assert second.admitted_N.tolist() == [False, True]
    assert decide([-9.0, -9.0], state=second.state).exhausted


def test_relaxation_is_for_one_empty_round_alone() -> None:
    z, z_u = [1.2, 0.0, 3.0], [0.0, 1.4, 0.0]
    known, settings, rng = Known(np.array(z_u)), GateSettings(budget=1), np.random.default_rng(0)
    none = np.zeros(3, dtype=bool)
    first = gate.decide(np.array(z), np.array(z), none, initial_state(3), settings, known, rng)
    assert first.relaxed and not first.exhausted and first.state.relaxed_used
    assert first.passed_both_N.tolist() == [True, True, False] and first.admitted_N.tolist() == [False, True, False]
    assert [mask.tolist() for mask in known.asked] == [[False, True, False], [True, False, False]]
    np.testing.assert_array_equal(first.z_u_N, [0.0, 1.4, np.nan])
    second = gate.decide(np.array(z), np.array(z), none, first.state, settings, known, rng)
    assert not second.relaxed and second.exhausted and not second.passed_distance_N.any()


def test_a_full_round_does_not_relax() -> None:
    result = decide([0.0, 1.2], tau_relaxed=1.5)
    assert not result.relaxed and result.admitted_N.tolist() == [True, False] and not result.state.relaxed_used


def test_waiting_for_patience_is_neither_relaxed_nor_exhausted() -> None:
    result = decide([0.0, 1.2], tau_relaxed=1.5, patience=2)
    assert not result.relaxed and not result.exhausted and not result.candidate_N.any()


def test_still_empty_after_relaxing_is_exhausted() -> None:
    result = decide([9.0, 1.2], rejected=[False, True], tau_relaxed=1.5)
    assert result.relaxed and result.exhausted and result.state.relaxed_used
    assert decide([9.0], tau_relaxed=None).exhausted
    assert decide([], tau_relaxed=1.5).exhausted


def test_without_second_gate_is_the_lowest_distances() -> None:
    passed = np.array([True, True, False, True])
    lowest = gate.without_second_gate(np.array([0.5, 0.1, -9.0, 0.1]), passed, 2)
    assert lowest.tolist() == [False, True, False, True]


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 6), st.integers(0, 99))
def test_draw_takes_eligible_images_once(eligible: list[bool], budget: int, random_seed: int) -> None:
    mask, rng = np.array(eligible, dtype=bool), np.random.default_rng(random_seed)
    state, drawn = initial_state(len(mask)), 0
    for _ in range(len(mask) + 1):
        result = gate.draw(mask, budget, rng, state=state)
        if result.exhausted:
            break
        assert result.admitted_N.sum() == min(budget, mask.sum() - drawn)
        assert not (result.admitted_N & (~mask | state.ever_admitted_N)).any()
        drawn, state = drawn + int(result.admitted_N.sum()), result.state
    assert result.exhausted and drawn == mask.sum() and not result.admitted_N.any()


def test_draw_is_uniform() -> None:
    state, mask = initial_state(10), np.arange(10) != 4
    draws = [gate.draw(mask, 3, np.random.default_rng(i), state=state).admitted_N for i in range(900)]
    counts = np.sum(draws, axis=0)
    assert counts[4] == 0 and np.abs(counts[mask] - 300).max() < 60


@pytest.mark.parametrize(
    "wrong", [{"budget": -1}, {"patience": 0}, {"rank": "best"}, {"tau_distance": np.nan}, {"tau_relaxed": np.nan}]
)
def test_settings_refuse_what_cannot_gate(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        GateSettings(**wrong)


def test_decide_refuses_scores_that_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="z_score_N"):
        decide([0.0, np.nan], score=[0.0, 0.0])
    with pytest.raises(ValueError, match="rejected_N"):
        decide([0.0, 0.0], rejected=[0, 1])
    with pytest.raises(ValueError, match="score_N"):
        decide([0.0, 0.0], state=initial_state(3))
    with pytest.raises(ValueError, match="budget"):
        gate.draw(np.ones(2, dtype=bool), -1, np.random.default_rng(0), state=initial_state(2))


# ---- faults of the published script


def test_fault_5_the_defaults_can_promote() -> None:
    known = Known(np.zeros(4))
    z, none = np.zeros(4), np.zeros(4, dtype=bool)
    result = gate.decide(z, z, none, initial_state(4), GateSettings(), known, np.random.default_rng(0))
    assert result.admitted_N.all()
    assert (GateSettings().tau_distance, GateSettings().tau_uncertainty, GateSettings().patience) == (1.0, 1.0, 1)


def test_fault_6_boundary_admits_the_likeliest_anomalies_first_and_is_not_the_default() -> None:
    z = np.linspace(-2, 0.9, 30)
    anomalous = np.arange(30) >= 25  # the five that look least normal among those that pass
    boundary, safe = (decide(z, np.zeros(30), rank=rank, budget=5).admitted_N for rank in ("boundary", "safe"))
    assert boundary[anomalous].all() and not boundary[~anomalous].any()
    assert not safe[anomalous].any() and safe[:5].all()
    assert GateSettings().rank == "safe"
