"""The pool's and the test set's score histograms: normals above a line, anomalies below it.

Shapes: N pool images of one round, T test images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from swag_ray.report.page.colours import COLOURS
from swag_ray.report.page.figure import Drawing, figure
from swag_ray.report.page.markup import MINUS, number
from swag_ray.report.run.read import RunRecord

PANELS = 6
CROSS: dict[str, Any] = {"color": COLOURS["ink"], "ms": 5, "mew": 1.3}  # a bar of one image would not be seen


def gate_histogram(run: RunRecord) -> Drawing | None:
    """The pool's z_s per round: normals above the line, anomalies below it, what was admitted filled."""
    pool = run.pool
    if pool.span is None:
        return None
    shown = _spread(pool.rounds, PANELS)
    tau = number(run.settings("gate").get("tau_distance"))
    low, high = pool.span
    edges = np.linspace(min(low, -2.5), max(high, 4.0, (tau or 0) + 2), 61)
    labelled = pool.labelled
    with figure(0.4 + 0.85 * len(shown), len(shown)) as (drawing, axes):
        for axis, number_of_round in zip(axes, shown, strict=True):
            here = pool.read(number_of_round)
            kept_N = np.isfinite(here.z_N)
            z_N, ever_N, label_N = here.z_N[kept_N], here.ever_N[kept_N], here.label_N[kept_N]
            _mirrored(axis, z_N, label_N if labelled else np.zeros_like(label_N), ever_N, edges, labelled)
            wrong_N = ever_N & (label_N == 1)
            axis.plot(np.clip(z_N[wrong_N], edges[0], edges[-1]), np.full(wrong_N.sum(), -0.16), "x", **CROSS)
            if tau is not None:
                axis.axvline(tau, color=COLOURS["ink"], lw=1, ls=(0, (4, 3)))
            axis.spines["bottom"].set_visible(axis is axes[-1])
            axis.tick_params(axis="x", length=3 if axis is axes[-1] else 0)
            axis.set_ylabel(f"round {number_of_round}", rotation=0, ha="right", va="center")
        if tau is not None:
            axes[0].set_title(f"gate {tau:g}".replace("-", MINUS), x=(tau - edges[0]) / (edges[-1] - edges[0]), pad=3,
                              color=COLOURS["ink"], fontsize=9)  # fmt: skip
        axes[-1].set_xlabel("score of a pool image against the seeds, z_s")
        caption = "The pool in each round. " if len(shown) == len(pool.rounds) else "The pool in some of the rounds. "
        caption += "Up, blue: normals; down, orange: anomalies (labels of the audit, unknown to the method), each side "
        caption += "to its own height. " if labelled else ""
        if not labelled:
            caption = caption.split("Up,")[0] + "No label is known. "
        crosses = " Crosses: anomalies among them." if pool.anomaly_admitted else ""
        caption += (
            f"Filled: admitted in that round or before.{crosses} Values beyond the edges are counted in the end bins."
        )
        if tau is not None:
            caption += " Dashed: the distance gate before any relaxation."
        return Drawing("histogram", drawing, "Histograms of the pool's z-scores per round", caption)


def test_scores(run: RunRecord) -> Drawing | None:
    """The test set's incremental scores by class; flagged images filled."""
    scores = run.scores
    score_T = None if scores is None else scores.score.get("incremental")
    if scores is None or score_T is None:
        return None
    rate = _rate(run)
    flagged_T = scores.p_T <= rate if rate is not None else np.zeros(len(score_T), dtype=bool)
    kept_T = np.isfinite(score_T)
    labelled = bool((scores.label_T >= 0).any())
    low, high = np.percentile(score_T[kept_T], [0.2, 99.8])
    edges = np.linspace(low, high, 61)
    if low == high:
        return None
    label_T = scores.label_T if labelled else np.zeros_like(scores.label_T)
    with figure(3.3) as (drawing, (axis,)):
        _mirrored(axis, score_T[kept_T], label_T[kept_T], flagged_T[kept_T], edges, labelled)
        axis.set_xlabel("incremental score of a test image")
        caption = "The test images' incremental scores. "
        caption += "Up, blue: normals; down, orange: anomalies, each side to its own height. " if labelled else ""
        if flagged_T.any():
            caption += f"Filled: flagged at the conformal threshold (p \N{LESS-THAN OR EQUAL TO} {rate:g})."
        return Drawing("test_scores", drawing, "Histogram of the test set's scores", caption)


def _rate(run: RunRecord) -> float | None:
    nominal = run.metrics.incremental.conformal.rate_nominal
    return nominal if nominal is not None else number(run.settings("calibration").get("false_positive_rate"))


def _spread(values: list[int], most: int) -> list[int]:
    """At most `most` of the values, evenly spread, first and last among them."""
    if len(values) <= most:
        return values
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def _mirrored(
    axis: Axes,
    value_N: NDArray[np.float64],
    label_N: NDArray[np.int8],
    filled_N: NDArray[np.bool_],
    edges: NDArray[np.float64],
    mirrored: bool,
) -> None:
    """Normals upwards, anomalies downwards, each side to height 1; the filled share drawn solid."""
    inside_N = np.clip(value_N, edges[0], edges[-1])
    axis.axhline(0, color=COLOURS["line"], lw=0.8)
    for label, direction, tone in ((0, 1, "normal" if mirrored else "quiet"), (1, -1, "anomaly")):
        of_class_N = label_N == label
        if not of_class_N.any():
            continue
        count, _ = np.histogram(inside_N[of_class_N], edges)
        part_of_it, _ = np.histogram(inside_N[of_class_N & filled_N], edges)
        top = max(int(count.max()), 1)
        axis.stairs(direction * count / top, edges, color=COLOURS[tone], lw=1.1)
        axis.stairs(direction * count / top, edges, color=COLOURS[tone], alpha=0.18, fill=True, lw=0)
        axis.stairs(direction * part_of_it / top, edges, color=COLOURS[tone], fill=True, lw=0, alpha=0.85)
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    axis.set_ylim(-1.08 if mirrored else 0, 1.08)
    axis.set_xlim(edges[0], edges[-1])
