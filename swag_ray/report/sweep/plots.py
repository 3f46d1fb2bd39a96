"""The sweep page's plots: arms with their intervals, main effects, interactions, and what AUROC goes along with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter

from swag_ray.report.page.colours import COLOURS
from swag_ray.report.page.figure import SMALL, Plot, figure, legend, svg
from swag_ray.report.page.markup import MINUS, decimal
from swag_ray.report.sweep.arms import Effect, Pair, Ranked, arm_points, effects, interactions, reference_in
from swag_ray.report.sweep.read import SEED_ONLY, TEST, Field, Results, SweepRecord, display
from swag_ray.report.sweep.statistics import Floats, Mean, cell_means, mean_interval, spread
from swag_ray.report.sweep.words import axis_name

ARMS_SHOWN = 12
EFFECTS_SHOWN = 12
PAIRS_SHOWN = 6
CLOUD = 500  # points; more say no more and make a heavy page
MARKS = (("normal", "o", "-"), ("anomaly", "s", "--"), ("third", "^", "-."), ("fourth", "D", ":"),
         ("ink", "v", "-"), ("quiet", "P", "--"))  # fmt: skip
OUTCOME = (("normal", "o"), ("third", "s"))  # the sweep's metric, then the test set's AUROC
FAINT: dict[str, Any] = {"alpha": 0.3, "ls": "none", "mew": 0, "zorder": 2}


def forest(sweep: SweepRecord, results: Results, ranked: Sequence[Ranked], column: str, name: str) -> Plot | None:
    """The best arms, one line each: mean and interval over seeds, the seeds faint behind it."""
    top = [r.arm for r in ranked[:ARMS_SHOWN]]
    by_arm = [results.by_seed(arm, column) for arm in top]
    if not any(by_arm):
        return None
    reference = reference_in(sweep, results)
    tone, marker = OUTCOME[column == TEST and sweep.metric != TEST]
    with figure(1.0 + 0.3 * len(top)) as (drawing, (axis,)):
        for place, values in enumerate(by_arm):
            axis.plot(list(values.values()), [place] * len(values), "o", color=COLOURS[tone], ms=4, **FAINT)
            _horizontal(axis, place, mean_interval(list(values.values())), tone, marker, hollow=top[place] == reference)
            before = mean_interval(list(results.by_seed(top[place], SEED_ONLY).values()))
            if column == TEST and before is not None:
                axis.plot(before.mean, place, "|", color=COLOURS["quiet"], ms=11, mew=1.6)
        names, title = _arm_names(sweep, top)
        axis.set_yticks(range(len(top)), names)
        axis.set_title(" ")  # room for what the names are, which start at the figure's left edge
        start: Any = ("figure fraction", "axes fraction")
        what = axis.annotate(title, (0.01, 1), xytext=(0, 4), xycoords=start, textcoords="offset points", fontsize=9,
                             color=COLOURS["quiet"])  # fmt: skip
        what.set_in_layout(False)
        axis.set_ylim(len(top) - 0.4, -0.6)
        axis.grid(axis="y", color=COLOURS["line"], lw=0.5)
        axis.tick_params(axis="y", length=0, labelcolor=COLOURS["ink"])
        axis.set_xlabel(axis_name(column))
        axis.xaxis.set_major_locator(MaxNLocator(5))
        repeated = any(len(values) > 1 for values in by_arm)
        caption = "Mean and 95 % t-interval over random seeds; faint: the seeds." if repeated else "One seed an arm."
        if column == TEST:
            caption += (
                " Same order of arms as for the ranking figure." if sweep.metric != TEST and ranked[0].metric else ""
            )
            caption += " Grey stroke: the seed-only bank of the same trials." if results.known(SEED_ONLY) else ""
        if reference in top:
            caption += " Hollow: the reference arm."
        return Plot(name, svg(drawing, name), f"Arms of {display(results.dataset)}: {axis_name(column)}", caption)


def effect_plots(sweep: SweepRecord, results: Results, prefix: str) -> tuple[dict[str, Plot], int]:
    """Main effects, the largest first, on the same scales; and how many fields are left out."""
    found = effects(sweep, results)
    points = None if sweep.crossed else results
    limits = _limits(((column, _ends(means)) for effect in found for column, means in effect.means.items()), points)
    drawn = {}
    for index, effect in enumerate(found[:EFFECTS_SHOWN]):
        name = f"{prefix}-effect-{index}"
        drawn[name] = _effect(sweep, results, effect, limits, name)
    return drawn, max(len(found) - EFFECTS_SHOWN, 0)


def _effect(
    sweep: SweepRecord, results: Results, effect: Effect, limits: Mapping[str, tuple[float, float]], name: str
) -> Plot:
    columns, field = list(effect.means), effect.field
    with figure(0.9 + 1.6 * len(columns), len(columns), SMALL) as (drawing, axes):
        for axis, column in zip(axes, columns, strict=True):
            tone, marker = OUTCOME[column == TEST and sweep.metric != TEST]
            if field.continuous or not sweep.crossed:
                x, y = _cloud(results, effect, column)
                axis.plot(x, y, "o", color=COLOURS[tone], ms=3, **FAINT)
            known = [(x, m) for x, m in zip(effect.coded.at_L, effect.means[column], strict=True) if m is not None]
            axis.plot([x for x, _ in known], [m.mean for _, m in known], color=COLOURS[tone], lw=1.6, zorder=3)
            for x, mean in known:
                _vertical(axis, x, mean, tone, marker)
            axis.set_ylim(*limits[column])
            axis.set_ylabel(axis_name(column, short=True))
            axis.yaxis.set_major_locator(MaxNLocator(4))
        _scale(axes[-1], field, effect.coded.labels, effect.coded.at_L)
        sizes = [f"{axis_name(c, short=True)} {decimal(spread(effect.means[c]))}" for c in columns]
        caption = f"Highest minus lowest {'bin' if field.continuous else 'mean'}: {', '.join(sizes)}."
        caption += _matched(effect.matched, results)
        return Plot(name, svg(drawing, name), f"Main effect of {field.name} in {results.dataset}", caption)


def _cloud(results: Results, effect: Effect, column: str) -> tuple[Floats, Floats]:
    """An arm's place on the field's axis and its mean over seeds, a point an arm; of very many, some."""
    if effect.field.continuous:
        place_N = results.places(effect.field)
    else:
        place_N = np.where(effect.coded.code_N >= 0, effect.coded.code_N.astype(np.float64), np.nan)
    _, (y,) = arm_points(results, [column])
    _, first = np.unique(results.arm_N, return_index=True)
    drawn = np.unique(np.linspace(0, len(y) - 1, min(len(y), CLOUD)).astype(int))
    return place_N[first][drawn], y[drawn]


def pair_plots(sweep: SweepRecord, results: Results, prefix: str) -> tuple[dict[str, Plot], int]:
    """Interactions, the largest first; and how many pairs are left out."""
    found = interactions(sweep, results)
    limits = _limits(((column, _finite(table)) for pair in found for column, table in pair.tables.items()), None)
    drawn = {}
    for index, pair in enumerate(found[:PAIRS_SHOWN]):
        name = f"{prefix}-pair-{index}"
        drawn[name] = _pair(pair, results, limits, name)
    return drawn, max(len(found) - PAIRS_SHOWN, 0)


def _pair(pair: Pair, results: Results, limits: Mapping[str, tuple[float, float]], name: str) -> Plot:
    columns = list(pair.tables)
    with figure(1.0 + 1.7 * len(columns), len(columns), SMALL) as (drawing, axes):
        for axis, column in zip(axes, columns, strict=True):
            for line, label in enumerate(pair.lines_coded.labels):
                tone, marker, dash = MARKS[line]
                y_L = pair.tables[column][:, line]
                kept_L = np.isfinite(y_L)
                axis.plot(pair.along_coded.at_L[kept_L], y_L[kept_L], color=COLOURS[tone], ls=dash, lw=1.6,
                          marker=marker, ms=4, label=f"{pair.lines.short} {label}"[:30])  # fmt: skip
            axis.set_ylim(*limits[column])
            axis.set_ylabel(axis_name(column, short=True))
            axis.yaxis.set_major_locator(MaxNLocator(4))
        low, high = axes[0].get_ylim()
        axes[0].set_ylim(low, high + 0.15 * len(pair.lines_coded.labels) * (high - low))
        legend(axes[0], "upper left")
        _scale(axes[-1], pair.along, pair.along_coded.labels, pair.along_coded.at_L)
        caption = f"{pair.lines.name} over {pair.along.name}: interaction {decimal(pair.size, 4)}."
        caption += _matched(pair.matched, results)
        description = f"Interaction of {pair.along.name} and {pair.lines.name} in {results.dataset}"
        return Plot(name, svg(drawing, name), description, caption)


def scatter_against(sweep: SweepRecord, column: str, name: str) -> Plot | None:
    """AUROC on the test set over a share (purity, contamination): a point a trial, a marker a dataset."""
    clouds = [(r.dataset, r.figures(column), r.figures(TEST), r.figures(SEED_ONLY)) for r in sweep.results]
    clouds = [cloud for cloud in clouds if np.isfinite(cloud[1] + cloud[2]).any()]
    if len({x for cloud in clouds for x in cloud[1][np.isfinite(cloud[1])].tolist()}) < 2:
        return None
    few = all(len(np.unique(x_N[np.isfinite(x_N)])) <= 12 for _, x_N, _, _ in clouds)
    with figure(3.6) as (drawing, (axis,)):
        for index, (dataset, x_N, y_N, before_N) in enumerate(clouds):
            tone, marker, _ = MARKS[index % len(MARKS)]
            axis.plot(x_N, y_N, marker, color=COLOURS[tone], ms=4.5, alpha=0.45, ls="none", mew=0)
            axis.plot([], [], marker, color=COLOURS[tone], ms=5, label=display(dataset) if len(clouds) > 1 else None)
            if few:
                axis.plot(*_mean_line(x_N, y_N), color=COLOURS[tone], lw=1.6)
                axis.plot(*_mean_line(x_N, before_N), color=COLOURS[tone], lw=1.2, ls=":")
        axis.set(xlabel=axis_name(column), ylabel=axis_name(TEST))
        axis.xaxis.set_major_formatter(lambda x, _: f"{100 * x:.6g} %".replace("-", MINUS))
        axis.xaxis.set_major_locator(MaxNLocator(6))
        axis.margins(x=0.06)
        if len(clouds) > 1:
            low, high = axis.get_ylim()
            axis.set_ylim(low, high + 0.09 * -(-len(clouds) // 2) * (high - low))
            legend(axis, "upper left", columns=2)
        caption = "A point a trial that is done."
        caption += " Line: mean; dotted: mean of the seed-only bank." if few else ""
        return Plot(name, svg(drawing, name), f"{axis_name(TEST)} against {axis_name(column)}", caption)


def _mean_line(x_N: Floats, y_N: Floats) -> tuple[Floats, Floats]:
    kept_N = np.isfinite(x_N) & np.isfinite(y_N)
    at, code = np.unique(x_N[kept_N], return_inverse=True)
    means = cell_means(np.zeros_like(code), code, y_N[kept_N], (1, len(at)))[0] if len(at) else at
    return at, means


def _scale(axis: Axes, field: Field, labels: Sequence[str], at_L: Floats) -> None:
    """The field's axis: its own scale where it is continuous, its values at even steps where it is not."""
    axis.set_xlabel(display(field.name, 44))
    if field.continuous:
        values = [float(value) for value in field.values]
        if min(values) > 0 and max(values) >= 50 * min(values):
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
            axis.xaxis.set_minor_formatter(NullFormatter())
        else:
            axis.xaxis.set_major_locator(MaxNLocator(5))
        return
    tight = sum(len(label) for label in labels) > 30
    texts = [display(label, 14) for label in labels] if tight else labels
    axis.set_xticks(at_L.tolist(), texts, rotation=35 if tight else 0, ha="right" if tight else "center")
    axis.set_xlim(-0.4, len(labels) - 0.6)


def _limits(drawn: Iterable[tuple[str, list[float]]], points: Results | None) -> dict[str, tuple[float, float]]:
    """A column's range over all that is drawn of it, and over nearly all points where points are drawn."""
    values: dict[str, list[float]] = {}
    for column, found in drawn:
        values.setdefault(column, []).extend(found)
    limits = {}
    for column, found in values.items():
        if points is not None:
            _, (y,) = arm_points(points, [column])
            found = [*found, *np.quantile(y[np.isfinite(y)], [0.02, 0.98]).tolist()]
        room = 0.07 * (max(found) - min(found)) or 0.01
        limits[column] = (min(found) - room, max(found) + room)
    return limits


def _ends(means: Sequence[Mean | None]) -> list[float]:
    return [x for m in means if m is not None for x in (m.mean, m.low, m.high) if x is not None]


def _finite(table: Floats) -> list[float]:
    found: list[float] = table[np.isfinite(table)].tolist()
    return found


def _matched(count: int | None, results: Results) -> str:
    return "" if count in (None, len(results.rows)) else f" Over the {count} of {len(results.rows)} trials that match."


def _arm_names(sweep: SweepRecord, arms: Sequence[int]) -> tuple[list[str], str]:
    """Each arm's values and the fields' names, or plain ranks where that would be too long."""
    varied = [index for index, field in enumerate(sweep.fields) if len(field.values) > 1]
    names = [" \N{MIDDLE DOT} ".join(display(sweep.arms[arm - 1].values[i], 14) for i in varied) for arm in arms]
    title = " \N{MIDDLE DOT} ".join(sweep.fields[i].short for i in varied)
    if not varied or max(map(len, names)) > 30 or len(title) > 60:
        return [str(rank) for rank in range(1, len(arms) + 1)], "rank" if len(arms) > 1 else ""
    return names, title


def _horizontal(axis: Axes, place: float, mean: Mean | None, tone: str, marker: str, *, hollow: bool) -> None:
    if mean is None:
        return
    if mean.low is not None and mean.high is not None:
        axis.plot([mean.low, mean.high], [place, place], color=COLOURS[tone], lw=1.8, solid_capstyle="butt", zorder=3)
    fill = COLOURS["paper"] if hollow else COLOURS[tone]
    axis.plot(mean.mean, place, marker, mfc=fill, mec=COLOURS[tone], mew=1.6, ms=6.5, zorder=4)


def _vertical(axis: Axes, x: float, mean: Mean, tone: str, marker: str) -> None:
    if mean.low is not None and mean.high is not None:
        axis.plot([x, x], [mean.low, mean.high], color=COLOURS[tone], lw=1.6, solid_capstyle="butt", zorder=3)
    axis.plot(x, mean.mean, marker, color=COLOURS[tone], ms=5.5, zorder=4)
