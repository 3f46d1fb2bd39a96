"""The sweep page's table of all trials, and the errors of those that failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swag_ray.record.files import TRIALS_TEXT_FILE
from swag_ray.report.page.markup import (  # fmt: skip
    Column,
    Format,
    Html,
    decimal,
    element,
    number,
    paragraph,
    percent,
    section,
    table,
    whole,
)
from swag_ray.report.sweep.read import NO_ADMISSION, SEED_ONLY, TEST, Field, SweepRecord, canonical, display
from swag_ray.report.sweep.words import axis_name, form_for
from swag_ray.wording import plural

ERRORS_SHOWN = 50
LINE_SHOWN = 500  # characters of an error's first line


def trials_section(sweep: SweepRecord) -> Html:
    """Every trial, by dataset the best first; those without the metric last."""
    if not sweep.rows:
        return Html()
    sign = -1 if sweep.descending else 1

    datasets = [results.dataset for results in sweep.results]

    def place(row: Mapping[str, Any]) -> tuple[bool, int, bool, float]:
        done, value = row.get("status") == "done", number(row.get(sweep.metric))
        return not done, datasets.index(str(row.get("dataset"))) if done else 0, value is None, sign * (value or 0.0)

    rows = sorted(sweep.rows, key=place)

    def cells(column: str, form: Format) -> list[str | None]:
        return [form(row.get(column)) for row in rows]

    metric = form_for([number(row.get(sweep.metric)) for row in rows])
    status = [None if row.get("status") == "done" else str(row.get("status")) for row in rows]
    columns = [
        Column("dataset", [display(str(row.get("dataset"))) for row in rows], text=True),
        Column("seed", cells("random_seed", whole)),
        *(_trial_cells(field, rows) for field in sweep.varied),
        Column(axis_name(sweep.metric, short=True), cells(sweep.metric, metric)),
        *([Column("test ROC-AUC", cells(TEST, decimal))] if sweep.metric != TEST else []),
        Column("test PR-AUC", cells("incremental.pr_auc", decimal)),
        Column("seed-only ROC-AUC", cells(SEED_ONLY, decimal)),
        Column("ROC-AUC, nobody admitted", cells(NO_ADMISSION, decimal)),
        Column("admitted", cells("totals.admitted", whole)),
        Column("purity", cells("totals.purity", percent)),
        Column("contamination", cells("contamination.true", percent)),
        Column("seconds", cells("seconds", whole)),
        Column("status", status, text=True),
    ]
    stubs = [whole(row.get("trial")) or "" for row in rows]
    order = "by dataset, the best first" if len(datasets) > 1 else "the best first"
    caption = f"{plural(len(rows), 'trial')}, {order}. With scripts on, a click on a title sorts. "
    caption += f"Every column is in {TRIALS_TEXT_FILE}."
    return section("Trials", table("Trial", stubs, columns, caption=caption, sortable=True))


def _trial_cells(field: Field, rows: Sequence[Mapping[str, Any]]) -> Column:
    return Column(field.short, [display(canonical(row.get(field.name))) for row in rows], text=not field.numeric)


def failed_section(sweep: SweepRecord) -> Html:
    """The errors, alike ones together."""
    groups: dict[str, list[str]] = {}
    for row in sweep.rows:
        if row.get("status") == "failed":
            error = str(row.get("error") or "no message")
            groups.setdefault(error, []).append(whole(row.get("trial")) or str(row.get("name")))
    items = []
    for error, trials in list(groups.items())[:ERRORS_SHOWN]:
        head, _, rest = error.strip().partition("\n")
        which = f"{'Trials' if len(trials) > 1 else 'Trial'} {', '.join(trials[:40])}"
        which += f" and {len(trials) - 40} more" if len(trials) > 40 else ""
        cut = rest or len(head) > LINE_SHOWN
        more = element("details", element("summary", "All of it"), element("pre", error)) if cut else ""
        items.append(element("li", f"{which}: {head[:LINE_SHOWN]}", more))
    left = len(groups) - len(items)
    note = paragraph(f"{left} more kinds of error; all are in {TRIALS_TEXT_FILE}.", class_="note") if left > 0 else ""
    return section("Failed trials", element("ul", *items, class_="errors") if items else "", note)
