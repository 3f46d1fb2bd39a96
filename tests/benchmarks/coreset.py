"""Lazy k-center against sequential greedy, one thread each: the same picks, in less time."""

from __future__ import annotations

import time

import numpy as np

from swag_ray.core.coreset import integer_rows, k_center
from tests.benchmarks.material import patch_rows
from tests.benchmarks.measure import Bench, Goal, Row, interleaved
from tests.benchmarks.naive import sequential_k_center

RATIO = 0.1
MEASURED = 500  # picks of the sequential side where it would take too long in full


def measure(bench: Bench) -> list[Row]:
    if bench.quick:
        return [_whole(bench, 20_000, 1, None)]
    rows = [_whole(bench, 20_000, 3, None), _whole(bench, 100_000, 1, Goal(8, at_least=True))]
    return [*rows, _extrapolated(bench, 400_000)]


def _whole(bench: Bench, count: int, repetitions: int, goal: Goal | None) -> Row:
    x_ND, what = patch_rows(bench, count)
    picks = int(RATIO * count)
    seconds, picked = interleaved(
        {"ours": lambda: k_center(x_ND, picks), "greedy": lambda: sequential_k_center(integer_rows(x_ND), picks)},
        repetitions,
    )
    same = np.array_equal(picked["ours"], picked["greedy"])
    return Row(
        "coreset", f"{count:,} x {x_ND.shape[1]}, {picks:,} picks", seconds["ours"], seconds["greedy"], kind="speed-up",
        against="sequential greedy, float32", goal=goal, note=f"{what}; {_picks(same)}",
    )  # fmt: skip


def _extrapolated(bench: Bench, count: int) -> Row:
    x_ND, what = patch_rows(bench, count)
    picks = int(RATIO * count)
    start = time.perf_counter()
    first = sequential_k_center(integer_rows(x_ND), MEASURED)
    greedy = (time.perf_counter() - start) * picks / MEASURED
    start = time.perf_counter()
    ours = k_center(x_ND, picks)
    seconds = time.perf_counter() - start
    same = np.array_equal(ours[:MEASURED], first)
    note = f"{what}; greedy extrapolated from its first {MEASURED} picks; of these {_picks(same)}"
    return Row(
        "coreset", f"{count:,} x {x_ND.shape[1]}, {picks:,} picks", [seconds], [greedy], kind="speed-up",
        against="sequential greedy, extrapolated", note=note,
    )  # fmt: skip


def _picks(same: bool) -> str:
    return "identical picks" if same else "PICKS DIFFER"
