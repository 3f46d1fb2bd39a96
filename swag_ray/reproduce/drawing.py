"""The one figure of RESULTS.md: ROC-AUC against the share of anomalies in the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from swag_ray.report.page.colours import COLOURS
from swag_ray.report.page.figure import figure, legend, svg
from swag_ray.reproduce.rows import Row

if TYPE_CHECKING:
    from swag_ray.reproduce.results import Results

POOL, TRUE = "dataset.contamination", "contamination.true"
TONES = ("normal", "third", "fourth")
SEED_ONLY = "baselines.seed_only.roc_auc"


def drawing(results: Results) -> str | None:
    """The figure as SVG, with the spread over splits; None where no block of the plan's figure has a row."""
    drawn = {name: results.rows[name] for name in results.plan.figure if name in results.rows}
    if not drawn:
        return None
    earlier = results.plan.earlier
    shares = {share for rows in drawn.values() for row in rows if (share := _share(row)) is not None}
    ticks = sorted(shares | set(earlier.roc_auc if earlier else ()))
    place = {share: i for i, share in enumerate(ticks)}  # evenly: the small shares are the clinic's
    with figure(3.6, width=6.5) as (sheet, (axis,)):
        for (name, rows), tone in zip(drawn.items(), TONES, strict=False):
            _line(axis, rows, place, "incremental.roc_auc", results.plan.figure[name], COLOURS[tone], "o", "-")
        first = next(iter(drawn.values()))
        _line(axis, first, place, SEED_ONLY, "seed-only bank", COLOURS["quiet"], "s", ":")
        if earlier is not None:
            shown = sorted(earlier.roc_auc.items())
            axis.plot(
                [place[x] for x, _ in shown], [y for _, y in shown], "^--", color=COLOURS["anomaly"], ms=5,
                label=earlier.name,
            )  # fmt: skip
        axis.set_xticks(range(len(ticks)), [f"{100 * share:g}" for share in ticks])
        axis.set_xlabel("anomalies in the unlabelled pool, %")
        axis.set_ylabel("ROC-AUC on the test images")
        axis.grid(axis="y", color=COLOURS["line"], lw=0.5)
        legend(axis, "upper left")
        return svg(sheet, "results")


def _line(
    axis: Any, rows: tuple[Row, ...], place: dict[float, int], figure_name: str, name: str, colour: str, marker: str,
    style: str,
) -> None:  # fmt: skip
    points = sorted(
        (place[share], row.figures[figure_name])
        for row in rows
        if (share := _share(row)) is not None and figure_name in row.figures
    )
    axis.errorbar(
        [x for x, _ in points], [m.mean for _, m in points], yerr=[m.sd or 0.0 for _, m in points], label=name,
        color=colour, marker=marker, ls=style, ms=5, capsize=2, elinewidth=0.8,
    )  # fmt: skip


def _share(row: Row) -> float | None:
    """The pool's share of anomalies: what was asked for, or in whole tens of percent what all of them make."""
    asked = row.point.get(POOL)
    true = row.mean(TRUE)
    if asked is not None:
        return float(asked)
    return None if true is None else round(true, 1)
