"""The page's plots: each takes a run and returns a drawn figure, or None where the run does not hold its figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from swag_ray.record.run_metrics import DetectorMetrics, RoundMetrics
from swag_ray.report.page.colours import COLOURS
from swag_ray.report.page.figure import Drawing, Plot, figure, legend
from swag_ray.report.page.markup import decimal, percent
from swag_ray.report.run.histograms import gate_histogram, test_scores
from swag_ray.report.run.read import SCORED_BY, RunRecord

LINES: dict[str, tuple[str, Any, float]] = {  # tone, dashes, width
    "incremental": ("normal", "-", 2.4),
    "seed_only": ("ink", "-", 1.3),
    "full_train": ("ink", "--", 1.3),
    "no_admission": ("quiet", "-", 1.3),
    "random_admission": ("quiet", ":", 1.6),
    "oracle_gate": ("third", "-.", 1.3),
    "supervised": ("fourth", (0, (6, 2)), 1.3),
}
SHORT = {
    "incremental": "incremental",
    "seed_only": "seed only",
    "full_train": "full train",
    "no_admission": "nobody admitted",
    "random_admission": "random admission",
    "oracle_gate": "oracle gate",
    "supervised": "supervised",
}
TALL = 4.0  # inches


def roc(run: RunRecord) -> Drawing | None:
    scores = run.scores
    if scores is None or not scores.both_classes or not scores.score:
        return None
    from sklearn.metrics import roc_curve  # a second

    with figure(TALL) as (drawing, (axis,)):
        axis.plot([0, 1], [0, 1], color=COLOURS["line"], lw=1)
        for key, label_T, score_T in _labelled(run):
            x_V, y_V, _ = roc_curve(label_T, score_T)
            axis.plot(x_V, y_V, label=_named(run, key, "roc_auc"), **_line(key))
        caption = "Share of anomalies found against share of normals flagged, over all thresholds."
        caption += _operating_point(run, axis)
        for index, row in enumerate(run.published):
            label = "published points" if index == 0 else None
            axis.plot(row.fp / row.test_normals, row.recall, "D", mfc="none", mec=COLOURS["anomaly"], ms=6, label=label)
        if run.published:
            caption += " Diamonds: published operating points, thresholds picked on test labels."
        _square(axis, "false-positive rate", "recall")
        legend(axis, "lower right")
        return Drawing("roc", drawing, "ROC curves of all methods on the test set", caption)


def _operating_point(run: RunRecord, axis: Axes) -> str:
    conformal = run.metrics.incremental.conformal
    x, y = conformal.rate_test_normals, conformal.recall
    nominal = percent(conformal.rate_nominal, 0)
    if x is None or y is None:
        return ""
    axis.plot(x, y, "o", mfc=COLOURS["paper"], mec=COLOURS["normal"], mew=2, ms=8, zorder=5)
    return f" Circle: the conformal threshold{f' at a nominal {nominal}' if nominal else ''}."


def precision_recall(run: RunRecord) -> Drawing | None:
    scores = run.scores
    if scores is None or not scores.both_classes or not scores.score:
        return None
    from sklearn.metrics import precision_recall_curve  # a second

    with figure(TALL) as (drawing, (axis,)):
        for key, label_T, score_T in _labelled(run):
            y_V, x_V, _ = precision_recall_curve(label_T, score_T)  # a point past the strictest threshold at the end
            x_V, y_V = x_V[-2::-1], y_V[-2::-1]
            axis.step(
                np.insert(x_V, 0, 0.0), np.insert(y_V, 0, y_V[0]), where="pre", label=_named(run, key, "pr_auc"),
                **_line(key),
            )  # fmt: skip
        known_T = scores.label_T >= 0
        share = float((scores.label_T[known_T] == 1).mean())
        axis.axhline(share, color=COLOURS["line"], lw=1)
        _square(axis, "recall", "precision")
        legend(axis, "lower left")
        caption = f"Precision against recall. Grey line: flagging at random ({percent(share)} of the test images "
        caption += "are anomalies)."
        return Drawing("pr", drawing, "Precision-recall curves of all methods on the test set", caption)


def flagged_share(p_N: NDArray[np.float64], rate_V: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the share of p <= rate, for every rate (V,)."""
    return np.searchsorted(np.sort(p_N), rate_V, side="right") / len(p_N)


def calibration(run: RunRecord) -> Drawing | None:
    """Measured against nominal false-positive rate, on the pool's and the test set's normals."""
    pool, scores = run.pool, run.scores
    groups = []
    if pool.rounds:
        last = pool.read(pool.rounds[-1])
        groups.append(("pool normals, last round", "third", "--", last.p_N[last.label_N == 0]))
    if scores is not None:
        groups.append(("test normals", "normal", "-", scores.p_T[scores.label_T == 0]))
    groups = [(name, tone, dash, p[np.isfinite(p)]) for name, tone, dash, p in groups if np.isfinite(p).any()]
    if not groups:
        return None
    rate_V = np.linspace(0, 0.3, 301)
    with figure(3.3) as (drawing, (axis,)):
        axis.plot([0, 0.3], [0, 0.3], color=COLOURS["line"], lw=1, label="as promised")
        for name, tone, dash, p_N in groups:
            axis.step(
                rate_V, flagged_share(p_N, rate_V), where="post", color=COLOURS[tone], ls=dash, lw=1.8, label=name
            )
        caption = "How many normals are flagged when the threshold promises a given rate. On the grey line the promise "
        caption += "is kept; above it there are more false alarms."
        conformal = run.metrics.incremental.conformal
        nominal, span = conformal.rate_nominal, conformal.rate_interval
        if nominal is not None and span is not None:
            axis.plot([nominal, nominal], span, color=COLOURS["ink"], lw=3, alpha=0.55, solid_capstyle="butt")
            caption += " Bar: what chance alone allows at this run's rate."
        _percentages(axis)
        axis.set(xlim=(0, 0.3), xlabel="nominal rate", ylabel="share of normals flagged")
        axis.set_ylim(bottom=0)
        legend(axis, "upper left")
        return Drawing("calibration", drawing, "Measured against nominal false-positive rate", caption)


def rounds(run: RunRecord) -> Drawing | None:
    found = run.metrics.rounds
    x = [row.round for row in found]
    rankings = _series(x, (
        ("test", "normal", "-", [row.roc_auc for row in found]),
        ("pool", "third", "--", [row.pool_roc_auc for row in found]),
    ))  # fmt: skip
    purities = _series(x, (
        ("admitted in the round", "normal", "-", [_purity(row) for row in found]),
        ("rejects", "anomaly", "-.", [row.rejects_purity for row in found]),
        ("without 2nd gate", "quiet", ":", [row.purity_without_second_gate for row in found]),
    ))  # fmt: skip
    if not rankings and not purities:
        return None
    panels = [(series, title) for series, title in ((rankings, "ROC-AUC"), (purities, "purity")) if series]
    with figure(0.5 + 2.5 * len(panels), len(panels)) as (drawing, axes):
        for axis, (series, title) in zip(axes, panels, strict=True):
            for label, tone, dash, x_n, y_n in series:
                axis.plot(x_n, y_n, color=COLOURS[tone], ls=dash, lw=1.8, marker="o", ms=4, label=label)
            axis.set_ylabel(title)
            axis.margins(y=0.12)
        caption = "Round 0 is what the trusted images alone give."
        if purities:
            caption += " Purity: share of normals among the admitted, of anomalies among the rejects."
        final = run.metrics.incremental.roc_auc
        if rankings and final is not None:
            last = max(value for value in x if value is not None)
            axes[0].plot(
                last + 1, final, "o", mfc=COLOURS["paper"], mec=COLOURS["normal"], mew=2, ms=8, label="last fit"
            )
            caption += " Circle: the last fit, which is the detector."
        for axis in axes:
            _headroom(axis)
        axes[-1].set_xlabel("round")
        axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        return Drawing("rounds", drawing, "ROC-AUC and purity per round", caption)


def _purity(row: RoundMetrics) -> float | None:
    """Share of normals among what a row admitted; None where nothing was admitted or no label is known."""
    if not row.admitted or row.admitted_anomalies is None:
        return None
    return 1 - row.admitted_anomalies / row.admitted


def _series(
    x: Sequence[int | None], wanted: Sequence[tuple[str, str, str, Sequence[float | None]]]
) -> list[tuple[str, str, str, list[int], list[float]]]:
    """(label, tone, dashes, x, y) of every line that has a point; points that are not known are left out."""
    result = []
    for label, tone, dash, y in wanted:
        points = [(a, b) for a, b in zip(x, y, strict=True) if a is not None and b is not None]
        if points:
            result.append((label, tone, dash, [a for a, _ in points], [b for _, b in points]))
    return result


def _admission_moved_none(score: dict[str, NDArray[np.float64]]) -> bool:
    """Whether the control without admission gave every test image the run's own score."""
    return "incremental" in score and np.array_equal(score["no_admission"], score["incremental"], equal_nan=True)


def _labelled(run: RunRecord) -> list[tuple[str, NDArray[np.bool_], NDArray[np.float64]]]:
    """(method, labels, scores) of every method."""
    if run.scores is None:
        return []
    result = []
    for key in SCORED_BY:
        score_T = run.scores.score.get(key)
        if score_T is None or (key == "no_admission" and _admission_moved_none(run.scores.score)):
            continue  # its curve would lie on the run's own
        kept_T = (run.scores.label_T >= 0) & np.isfinite(score_T)
        label_T = run.scores.label_T[kept_T] == 1
        if label_T.any() and not label_T.all():
            result.append((key, label_T, score_T[kept_T]))
    return result


def _named(run: RunRecord, key: str, figure_key: str) -> str:
    figures = {name: values for name, _, values in run.methods}.get(key, DetectorMetrics())
    value = decimal(getattr(figures, figure_key))
    return f"{SHORT[key]} {value}" if value else SHORT[key]


def _line(key: str) -> dict[str, Any]:
    tone, dashes, width = LINES[key]
    return {"color": COLOURS[tone], "ls": dashes, "lw": width, "zorder": 4 if key == "incremental" else 3}


def _square(axis: Axes, x: str, y: str) -> None:
    axis.set(xlim=(-0.01, 1.01), ylim=(0, 1.02), xlabel=x, ylabel=y)


def _percentages(axis: Axes) -> None:
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))


def _headroom(axis: Axes) -> None:
    """Room above the lines for the legend; purities of 1 keep a sensible scale."""
    low, high = axis.get_ylim()
    low = min(low, high - 0.02)
    axis.set_ylim(low, high + 0.28 * (high - low))
    axis.set_yticks([tick for tick in axis.get_yticks() if low <= tick <= min(high, 1.0000001)])
    legend(axis, "upper left", columns=2)


ALL: tuple[Callable[[RunRecord], Drawing | None], ...] = (
    roc, precision_recall, gate_histogram, test_scores, calibration, rounds,
)  # fmt: skip


def draw_all(run: RunRecord) -> dict[str, Plot]:
    """Every plot the run holds figures for, by name."""
    drawn = [draw(run) for draw in ALL]
    return {drawing.name: drawing.plot() for drawing in drawn if drawing is not None}
