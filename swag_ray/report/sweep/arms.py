"""A sweep's arms compared: their ranking, the paired tests, and what each field does. Figures only, no words.

An arm is a combination of swept values; random seeds are its repetitions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from swag_ray.report.sweep.read import SEED_ONLY, TEST, Field, Results, SweepRecord
from swag_ray.report.sweep.statistics import (  # fmt: skip
    Coded,
    Codes,
    Floats,
    Mean,
    PairedTest,
    cell_means,
    holm_where_known,
    interaction,
    level_means,
    matched,
    mean_interval,
    paired_test,
    spread,
)

BINS = 5  # of a continuous field
MOST_LEVELS = 10  # of a field that is not
MOST_LINES = 4


@dataclass(frozen=True)
class Ranked:
    """An arm in one dataset: how many seeds are done, and its mean of the sweep's metric (None: not known)."""

    arm: int
    seeds: int
    metric: Mean | None


@dataclass(frozen=True)
class Comparison:
    """A paired test of one arm; `corrected` is Holm's p over all comparisons of its table."""

    arm: int
    test: PairedTest
    corrected: float | None


@dataclass(frozen=True)
class Effect:
    """A field's main effect in one dataset: per outcome (column) the mean of each level. `size`: of the first.

    `matched`: how many trials were compared with their like, None where no such choice was made.
    """

    field: Field
    coded: Coded
    means: Mapping[str, Sequence[Mean | None]]
    size: float
    matched: int | None


@dataclass(frozen=True)
class Pair:
    """Two fields: per outcome the two-way table of means, levels of `along` x levels of `lines`."""

    along: Field
    lines: Field
    along_coded: Coded
    lines_coded: Coded
    tables: Mapping[str, Floats]
    size: float
    matched: int | None


def outcomes(sweep: SweepRecord, results: Results) -> list[str]:
    """The columns that effects are shown on: the sweep's metric, then AUROC on the test set, where they are known."""
    return [column for column in dict.fromkeys((sweep.metric, TEST)) if results.known(column)]


def ranking(sweep: SweepRecord, results: Results) -> list[Ranked]:
    """The dataset's arms, best mean of the metric first; arms without one last, in the order of their trials."""
    found = []
    for arm in sorted(set(results.arm_N.tolist())):
        value = mean_interval(list(results.by_seed(arm, sweep.metric).values()))
        found.append(Ranked(arm, len(np.unique(results.seed_N[results.arm_N == arm])), value))
    sign = -1 if sweep.descending else 1
    return sorted(found, key=lambda r: (r.metric is None, sign * r.metric.mean if r.metric else 0.0, r.arm))


def reference_in(sweep: SweepRecord, results: Results) -> int:
    """The reference arm, or the dataset's first where it has no trial of it that is done."""
    arm = sweep.reference[0]
    return arm if arm in results.arm_N else int(results.arm_N.min())


def against_reference(sweep: SweepRecord, results: Results, arms: Sequence[int]) -> list[Comparison]:
    """Each arm's AUROC on the test set minus the reference arm's, paired by random seed."""
    reference = reference_in(sweep, results)
    base = results.by_seed(reference, TEST)
    tests = {arm: paired_test(results.by_seed(arm, TEST), base) for arm in arms if arm != reference}
    return _corrected(tests)


def against_seed_only(results: Results, arms: Sequence[int]) -> list[Comparison]:
    """Each arm's AUROC on the test set minus that of its own trials' seed-only bank, paired by random seed."""
    return _corrected({arm: paired_test(results.by_seed(arm, TEST), results.by_seed(arm, SEED_ONLY)) for arm in arms})


def _corrected(tests: Mapping[int, PairedTest | None]) -> list[Comparison]:
    known = [(arm, test) for arm, test in tests.items() if test is not None]
    corrected = holm_where_known([test.p for _, test in known])
    return [Comparison(arm, test, p) for (arm, test), p in zip(known, corrected, strict=True)]


def effects(sweep: SweepRecord, results: Results) -> list[Effect]:
    """Main effect of every field that varies, the largest first.

    Of a grid, only trials count that have their like at every value of the field, so that one value is not judged over
    other settings than the next; where there are none such, all count.
    """
    unit_N = results.seed_N if sweep.crossed else results.arm_N
    columns = outcomes(sweep, results)
    found = []
    for field in sweep.varied:
        coded = results.coded(field, BINS, MOST_LEVELS)
        if len(coded.labels) < 2 or not columns:
            continue
        levels = len(coded.labels)
        kept_N = _like_with_like(sweep, results, [field], coded.code_N, levels)
        code_N = coded.code_N if kept_N is None else np.where(kept_N, coded.code_N, -1)
        means = {c: level_means(code_N, results.figures(c), unit_N, levels) for c in columns}
        found.append(Effect(field, coded, means, spread(means[columns[0]]), _count(kept_N)))
    return sorted(found, key=lambda effect: -effect.size)


def interactions(sweep: SweepRecord, results: Results) -> list[Pair]:
    """Every pair of fields that has an interaction to judge, the largest (on the first outcome) first."""
    columns = outcomes(sweep, results)
    found = []
    for a, b in combinations(sweep.varied, 2) if columns else ():
        # Fewer lines read better, and a scale belongs on the axis.
        lines, along = sorted((a, b), key=lambda field: (field.numeric, len(field.values)))
        along_coded, lines_coded = results.coded(along, BINS, MOST_LEVELS), results.coded(lines, 3, MOST_LINES)
        shape = (len(along_coded.labels), len(lines_coded.labels))
        known_N = (along_coded.code_N >= 0) & (lines_coded.code_N >= 0)
        cell_N = np.where(known_N, along_coded.code_N * shape[1] + lines_coded.code_N, -1)
        kept_N = _like_with_like(sweep, results, [along, lines], cell_N, shape[0] * shape[1])
        rows_N = along_coded.code_N if kept_N is None else np.where(kept_N, along_coded.code_N, -1)
        tables = {c: cell_means(rows_N, lines_coded.code_N, results.figures(c), shape) for c in columns}
        size = interaction(tables[columns[0]])
        if size is not None:
            found.append(Pair(along, lines, along_coded, lines_coded, tables, size, _count(kept_N)))
    return sorted(found, key=lambda pair: -pair.size)


def _like_with_like(
    sweep: SweepRecord, results: Results, fields: Sequence[Field], code_N: Codes, levels: int
) -> NDArray[np.bool_] | None:
    if not sweep.crossed:
        return None
    kept_N = matched(code_N, results.blocks(sweep.fields, fields), levels)
    return kept_N if kept_N.any() else None


def _count(kept_N: NDArray[np.bool_] | None) -> int | None:
    return None if kept_N is None else int(kept_N.sum())


def arm_points(results: Results, columns: Sequence[str]) -> tuple[Codes, list[Floats]]:
    """Every arm's number and its mean over seeds in each column, NaN where none is known."""
    arms = np.unique(results.arm_N)
    means = []
    for column in columns:
        value_N = results.figures(column)
        at = np.searchsorted(arms, results.arm_N[np.isfinite(value_N)])
        count = np.bincount(at, minlength=len(arms))
        total = np.bincount(at, weights=value_N[np.isfinite(value_N)], minlength=len(arms))
        means.append(np.where(count > 0, total / np.maximum(count, 1), math.nan))
    return arms, means
