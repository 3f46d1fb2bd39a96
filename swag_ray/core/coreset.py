"""Greedy k-center coreset: the memory bank's rows (Roth et al. 2022, "Towards Total Recall", algorithm 1).

Gonzalez 1985: repeatedly take the row farthest from everything taken so far; the covering radius is at most twice
the optimum. Rows become small integers, so every squared distance is an integer below 2^24 and float32 holds it
exactly, in whatever order a matrix product adds: the picks cannot depend on batching, threads or hardware.

The lazy evaluation is Minoux's (1978): distances only shrink as rows are picked, so a stale one is an upper bound and
a row whose bound is low need not be looked at. Every row is used; nothing is capped or subsampled at any size.

Shapes: N rows, D dimensions, K picks, B rows of one batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVELS = 127  # integers of 7 bits and a sign: 0.4 % of a unit, and far from float32's 2^24 in any sum
NORM_SLACK = 1.01
BATCH = 512  # candidates resolved at a time
LOOK_AHEAD = 4  # batches brought up to date at a time: fewer scans of all N bounds
PICK_BLOCK = 512  # picks per matrix product; with ROW_BLOCK, its result stays in the second-level cache
ROW_BLOCK = 2048


def integer_rows(x_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    """L2-normalised rows on an integer grid: round(127 x), as float32.

    Raises:
        ValueError: not two-dimensional, not finite, or a row longer than 1 (a zero row is allowed).
    """
    if x_ND.ndim != 2:
        raise ValueError(f"rows have shape {x_ND.shape}, must be (N, D)")
    longest = float(np.sqrt(np.einsum("nd,nd->n", x_ND, x_ND).max(initial=0.0)))
    # |round(127 x)| <= 127 * 1.01 + sqrt(D) / 2, whose square times 4 bounds every term below: exact for D < 10^7.
    if not longest <= NORM_SLACK:
        raise ValueError(f"the longest row has norm {longest:.4g}; L2-normalise the rows first")
    rows_ND: NDArray[np.float32] = np.rint(x_ND * np.float32(LEVELS)).astype(np.float32, copy=False)
    return rows_ND


def k_center(x_ND: NDArray[np.float32], count: int, *, first: int = 0, batch: int = BATCH) -> NDArray[np.int64]:
    """Greedy k-center picks, identical to sequential greedy on `integer_rows(x_ND)` with lowest-index ties.

    Args:
        x_ND: L2-normalised rows.
        count: K, how many rows to pick, 1 to N.
        first: index of the first pick.
        batch: candidates resolved at a time; it changes the speed, never the picks.

    Returns:
        (K,) indices in the order of picking, all different.

    Raises:
        ValueError: a count or first pick that N rows cannot serve, or rows that are not normalised.
    """
    n = len(x_ND)
    if not 1 <= count <= n:
        raise ValueError(f"count is {count}, must be between 1 and the {n} rows")
    if not 0 <= first < n:
        raise ValueError(f"first is {first}, must be a row of {n}")
    if batch < 1:
        raise ValueError(f"batch is {batch}, must be at least 1")
    search = _Search(integer_rows(x_ND), count, first)
    while search.picked < count:
        search.advance(batch)
    return search.picks_K


class _Search:
    """The greedy search: bounds on every row's squared distance to the picks, and how many picks each bound saw."""

    def __init__(self, rows_ND: NDArray[np.float32], count: int, first: int) -> None:
        n = len(rows_ND)
        self.rows_ND = rows_ND
        self.square_N = np.einsum("nd,nd->n", rows_ND, rows_ND)
        self.bound_N = np.full(n, np.finfo(np.float32).max, dtype=np.float32)
        self.seen_N = np.zeros(n, dtype=np.int64)
        self.picks_K = np.empty(count, dtype=np.int64)
        self.picks_K[0] = first
        self.picked = 1
        self._lower(np.arange(n), 0)
        self.bound_N[first] = -1  # below every distance: never picked again
        self.seen_N[first] = count  # nor ever out of date
        self.tie_N = np.arange(n - 1, -1, -1, dtype=np.int64)  # of equal distances the lowest index is the largest key

    def advance(self, batch: int) -> None:
        """Bring the leading rows up to date, or pick from them once they are."""
        n = len(self.bound_N)
        key_N = self.bound_N.astype(np.int64) * n + self.tie_N
        wide = min(batch * LOOK_AHEAD, n)
        lead = np.argpartition(key_N, n - wide)[n - wide :] if wide < n else np.arange(n)
        cut = len(lead) - batch
        lead = lead[np.argpartition(key_N[lead], cut)] if cut > 0 else lead
        top, rest = lead[max(cut, 0) :], lead[: max(cut, 0)]
        if (self.seen_N[top] < self.picked).any():
            self._refresh(lead)
            return
        outside = int(key_N[rest].max()) if len(rest) else -n
        self._pick(np.sort(top), outside)

    def _pick(self, top_B: NDArray[np.int64], outside: int) -> None:
        """Greedy inside a batch of exact distances, for as long as the farthest beats every bound outside."""
        n = len(self.bound_N)
        rows_BD = self.rows_ND[top_B]
        square_B = self.square_N[top_B]
        distance_BB = square_B[:, None] + square_B - 2 * (rows_BD @ rows_BD.T)
        bound_B = self.bound_N[top_B]
        before = self.picked
        while self.picked < len(self.picks_K):
            best = int(bound_B.argmax())  # the first maximum: the lowest index, as top_B ascends
            if bound_B[best] < 0 or int(bound_B[best]) * n + int(self.tie_N[top_B[best]]) < outside:
                break
            self.picks_K[self.picked] = top_B[best]
            self.picked += 1
            np.minimum(bound_B, distance_BB[best], out=bound_B)
            bound_B[best] = -1
        self.bound_N[top_B] = bound_B
        self.seen_N[top_B] = self.picked
        self.seen_N[self.picks_K[before : self.picked]] = len(self.picks_K)

    def _refresh(self, lead: NDArray[np.int64]) -> None:
        """Exact distances for these rows. Looking twice at a pick is harmless, so blocks of picks may overlap."""
        for start in range(int(self.seen_N[lead].min()) // PICK_BLOCK * PICK_BLOCK, self.picked, PICK_BLOCK):
            stop = min(start + PICK_BLOCK, self.picked)
            self._lower(lead[self.seen_N[lead] < stop], start)

    def _lower(self, due: NDArray[np.int64], start: int) -> None:
        """Lower the bounds of rows `due` by the block of picks that begins at `start`."""
        stop = min(start + PICK_BLOCK, self.picked)
        picks = self.picks_K[start:stop]
        pick_KD = -2 * self.rows_ND[picks]
        offset_K1 = self.square_N[picks][:, None]
        for begin in range(0, len(due), ROW_BLOCK):
            some = due[begin : begin + ROW_BLOCK]
            distance_KB = pick_KD @ self.rows_ND[some].T
            distance_KB += offset_K1
            self.bound_N[some] = np.minimum(self.bound_N[some], distance_KB.min(axis=0) + self.square_N[some])
        self.seen_N[due] = stop
