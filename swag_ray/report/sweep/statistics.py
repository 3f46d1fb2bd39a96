"""What a sweep's figures say: means with intervals, paired tests, main effects, interactions. Pure functions.

Shapes: N trials or arms, L levels of a field, P tests of one family.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

MIN_PAIRS = 3  # with two, the t distribution has one degree of freedom and its interval says nothing


@dataclass(frozen=True)
class Mean:
    """A mean over `n` values and its 95 % t-interval; `low` and `high` are None for one value."""

    n: int
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class PairedTest:
    """Differences of paired values, mean first; `t` and `p` are None below `MIN_PAIRS` pairs."""

    difference: Mean
    t: float | None
    p: float | None


@dataclass(frozen=True)
class Coded:
    """A field as L levels: the level of each of N trials (-1: none), a label a level, a place on the axis a level."""

    code_N: Codes
    labels: list[str]
    at_L: Floats


def mean_interval(values: Sequence[float] | Floats) -> Mean | None:
    """Mean and 95 % t-interval of the finite values; None where there is none."""
    x = np.asarray(values, dtype=np.float64)
    x = x[np.isfinite(x)]
    n = len(x)
    if n == 0:
        return None
    mean = float(x.mean())
    if n == 1:
        return Mean(1, mean, None, None)
    half = float(stats.t.ppf(0.975, n - 1)) * float(x.std(ddof=1)) / math.sqrt(n)
    return Mean(n, mean, mean - half, mean + half)


def paired_test(a: Mapping[int, float], b: Mapping[int, float]) -> PairedTest | None:
    """Two-sided paired t-test of a - b over the seeds that both hold; None where they share none.

    Differences that are all zero have no t statistic: nothing speaks against equality, p is 1.
    """
    shared = sorted(seed for seed in a.keys() & b.keys() if math.isfinite(a[seed]) and math.isfinite(b[seed]))
    x, y = (np.array([side[seed] for seed in shared]) for side in (a, b))
    difference = mean_interval(x - y)
    if difference is None:
        return None
    if len(shared) < MIN_PAIRS:
        return PairedTest(difference, None, None)
    if np.allclose(x, y, rtol=0, atol=1e-12):
        return PairedTest(difference, 0.0, 1.0)
    with warnings.catch_warnings():  # scipy warns of differences that are all but equal; that is what we were given
        warnings.simplefilter("ignore", RuntimeWarning)
        result = stats.ttest_rel(x, y)
    return PairedTest(difference, float(result.statistic), float(result.pvalue))


def holm(p: Sequence[float]) -> Floats:
    """Holm's step-down correction (Holm 1979): adjusted p-values of one family, in the order given."""
    p_P = np.asarray(p, dtype=np.float64)
    order = np.argsort(p_P, kind="stable")
    stepped_P = np.maximum.accumulate(p_P[order] * np.arange(len(p_P), 0, -1))
    adjusted_P = np.empty_like(p_P)
    adjusted_P[order] = np.minimum(stepped_P, 1.0)
    return adjusted_P


def holm_where_known(p: Sequence[float | None]) -> list[float | None]:
    """Holm's correction over the tests that were possible; the others stay None."""
    adjusted = iter(holm([x for x in p if x is not None]).tolist())
    return [None if x is None else next(adjusted) for x in p]


def level_means(code_N: Codes, value_N: Floats, unit_N: Codes, levels: int) -> list[Mean | None]:
    """Mean per level over everything else, with an interval over units.

    A unit (a random seed, or an arm) gives one value a level, the mean of its trials there: trials of one seed are no
    independent draws, and counting each would make the interval too narrow.

    Returns:
        L means, None where a level has no finite value.
    """
    means: list[Mean | None] = []
    for level in range(levels):
        here_N = (code_N == level) & np.isfinite(value_N)
        units = np.unique(unit_N[here_N])
        means.append(mean_interval([float(value_N[here_N & (unit_N == unit)].mean()) for unit in units]))
    return means


def matched(code_N: Codes, block_N: Codes, levels: int) -> NDArray[np.bool_]:
    """Which trials stand in a block (same seed, same other settings) that holds every level.

    Over these alone, level means differ by the level and nothing else, also where part of a grid is missing.
    """
    kept_N = np.zeros(len(code_N), dtype=bool)
    for block in np.unique(block_N):
        here_N = (block_N == block) & (code_N >= 0)
        if len(np.unique(code_N[here_N])) == levels:
            kept_N |= here_N
    return kept_N


def spread(means: Sequence[Mean | None]) -> float:
    """Size of a main effect: highest minus lowest level mean, 0 for fewer than two."""
    values = [mean.mean for mean in means if mean is not None]
    return max(values) - min(values) if len(values) > 1 else 0.0


def cell_means(row_N: Codes, column_N: Codes, value_N: Floats, shape: tuple[int, int]) -> Floats:
    """Mean of the finite values in each cell of a two-way table; NaN where there is none."""
    kept_N = np.isfinite(value_N) & (row_N >= 0) & (column_N >= 0)
    cell_N = row_N[kept_N] * shape[1] + column_N[kept_N]
    count = np.bincount(cell_N, minlength=shape[0] * shape[1])
    total = np.bincount(cell_N, weights=value_N[kept_N], minlength=shape[0] * shape[1])
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).reshape(shape)


def interaction(table: Floats) -> float | None:
    """Root mean square of what the sum of two main effects leaves of a two-way table; 0 where lines run parallel.

    The additive model is fitted by least squares over the cells that are there; None where they leave nothing to judge.
    """
    row, column = np.nonzero(np.isfinite(table))
    rows, columns = len(np.unique(row)), len(np.unique(column))
    if rows < 2 or columns < 2:
        return None
    design = np.hstack([np.eye(table.shape[0])[row], np.eye(table.shape[1])[column]])
    value = table[row, column]
    effect, _, rank, _ = np.linalg.lstsq(design, value, rcond=None)
    if len(value) <= rank:
        return None
    return float(np.sqrt(np.mean((value - design @ effect) ** 2)))


def quantile_bins(value_N: Floats, bins: int) -> tuple[Codes, Floats]:
    """Bins with about equally many values each, never one value in two.

    Returns:
        The bin of each value (-1: not finite), and the mean of each bin's values.
    """
    finite_N = np.isfinite(value_N)
    edges = np.unique(np.quantile(value_N[finite_N], np.linspace(0, 1, bins + 1)[1:-1]))
    code_N = np.where(finite_N, np.searchsorted(edges, value_N, side="left"), -1).astype(np.int64)
    used, dense_N = np.unique(code_N[finite_N], return_inverse=True)
    code_N[finite_N] = dense_N
    at = np.array([value_N[code_N == level].mean() for level in range(len(used))])
    return code_N, at
