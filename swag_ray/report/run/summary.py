"""The summary: this run against its controls and the published figures, and the confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence

from swag_ray.record.run_metrics import OperatingPoint
from swag_ray.report.page.markup import (  # fmt: skip
    THIN,
    Column,
    Format,
    Html,
    decimal,
    element,
    join,
    paragraph,
    percent,
    section,
    table,
    whole,
)
from swag_ray.report.run import paper_figures as published
from swag_ray.report.run.read import RunRecord

RATES: tuple[tuple[str, str, Format], ...] = (
    ("accuracy", "Accuracy", percent), ("precision", "Precision", percent), ("recall", "Recall", percent),
    ("f1", "F1", decimal), ("fp", "FP", whole),
)  # fmt: skip
SCORES_USED = {
    "fused": "the fused score",
    "bank": "the memory bank's score",
    "seed_bank": "the seed-only bank's score, because no other arm has a weight",
}


def summary_section(run: RunRecord) -> Html:
    used = SCORES_USED.get(str(run.metrics.incremental.score_used))
    body = join(_conformal_table(run), _youden_table(run), _operating_table(run))
    return section("Summary", paragraph(f"The incremental figures are those of {used}.") if used and body else "", body,
                   _others(run) if body else "")  # fmt: skip


def _conformal_table(run: RunRecord) -> Html:
    methods = run.methods
    figures = [values for _, _, values in methods]
    printed = run.published if methods else ()
    blank: list[str | None] = [None] * len(printed)
    at = [values.conformal for values in figures]
    nominal = next((text for a in at if (text := percent(a.rate_nominal))), None)
    group = f"At the conformal threshold{f', nominal {nominal}' if nominal else ''}"
    columns = [
        Column(title, [*(decimal(getattr(f, key)) for f in figures), *(decimal(getattr(p, key)) for p in printed)])
        for key, title in (("roc_auc", "ROC-AUC"), ("pr_auc", "PR-AUC"))
    ]
    columns += [Column(title, [*(form(getattr(a, key)) for a in at), *blank], group) for key, title, form in RATES]
    columns += [
        Column("FP rate, test normals", [*(percent(a.rate_test_normals) for a in at), *blank], group),
        Column("FP rate, nominal", [*(percent(a.rate_nominal) for a in at), *blank], group),
    ]
    caption = (
        "Test set. The conformal threshold is set on the seeds alone, before any test label is seen; FP counts the "
    )
    caption += "normals it flags."
    if not run.metrics.can_flag:
        caption += " With so few seeds nothing can be flagged at it, whatever the images show: see the warnings."
    if printed:
        caption += f" {published.note(str(run.published_set))}"
    stubs = [name for _, name, _ in methods] + [row.name for row in printed]
    strong = [key == "incremental" for key, _, _ in methods] + [False] * len(printed)
    return table("Method", stubs, columns, caption=caption, strong=strong)


def _youden_table(run: RunRecord) -> Html:
    methods = [(key, name, values.youden) for key, name, values in run.methods if values.youden]
    if not methods:
        return Html()
    printed = run.published
    columns = [
        Column(title, [*(form(getattr(f, key)) for _, _, f in methods), *(form(getattr(p, key)) for p in printed)])
        for key, title, form in RATES
    ]
    columns.insert(0, Column("Threshold", [*(decimal(f.threshold) for _, _, f in methods), *[None] * len(printed)]))
    stubs = [name for _, name, _ in methods] + [row.name for row in printed]
    strong = [key == "incremental" for key, _, _ in methods] + [False] * len(printed)
    caption = "Youden's threshold, the one that separates the test set best. It flatters every method alike."
    return join(
        element("h3", "Threshold picked on test labels"),
        table("Method", stubs, columns, caption=caption, strong=strong),
    )


def _operating_table(run: RunRecord) -> Html:
    methods = [(key, name, values.operating_points) for key, name, values in run.methods if values.operating_points]

    def cells(point: str) -> list[str | None]:
        return [_with_interval(getattr(found, point)) for _, _, found in methods]

    columns = [
        Column(f"specificity {share}{THIN}%", cells(f"sensitivity_at_specificity_{share}"), "Anomalies found at")
        for share in (90, 95)
    ]
    columns += [
        Column(
            f"sensitivity {share}{THIN}%", cells(f"normals_set_aside_at_sensitivity_{share}"), "Normals set aside at"
        )
        for share in (95, 99)
    ]
    caption = (
        "How many anomalies are found if at most 10 or 5 in 100 normals may raise a false alarm, and how many normals "
        "need no second look if at most 5 or 1 in 100 anomalies may be missed; in brackets, 95 % intervals. These "
        "thresholds are picked on the test labels too: they show what the ranking allows, not what the detector's own "
        "threshold does."
    )
    strong = [key == "incremental" for key, _, _ in methods]
    body = table("Method", [name for _, name, _ in methods], columns, caption=caption, strong=strong)
    return join(element("h3", "Operating points"), body) if body else Html()


def _with_interval(point: OperatingPoint) -> str | None:
    value, low, high = (percent(x) for x in (point.value, point.low, point.high))
    return f"{value} ({low} to {high})" if value and low and high else value


def _others(run: RunRecord) -> Html:
    others = published.OTHERS.get(str(run.published_set), ()) if run.published else ()
    if not others:
        return Html()
    names = "; ".join(f"{other.name} {decimal(other.roc_auc)}" for other in others)
    return paragraph(f"Other methods without labels, as published for this test set (ROC-AUC): {names}.", class_="note")


def confusion_section(run: RunRecord) -> Html:
    matrices = []
    for _, name, values in run.methods:
        at = values.conformal
        known = [cell for cell in (at.tn, at.fp, at.fn, at.tp) if cell is not None]
        if len(known) == 4:
            matrices.append(_confusion(name, known))
    if not matrices:
        return Html()
    caption = "At the conformal threshold. The tint is the share of the row."
    return section("Confusion matrices", paragraph(caption), element("div", *matrices, class_="matrices"))


def _confusion(name: str, cells: Sequence[float]) -> Html:
    rows = []
    for truth, (left, right) in (("normal", cells[:2]), ("anomaly", cells[2:])):
        total = max(left + right, 1)
        shares = [
            element("td", whole(x) or "", class_="right" if (truth == "normal") == (index == 0) else "wrong",
                    style=f"--share: {100 * x / total:.0f}%")
            for index, x in enumerate((left, right))
        ]  # fmt: skip
        rows.append(element("tr", element("th", truth, scope="row"), *shares))
    head = element(
        "tr", element("td"), element("th", "not flagged", scope="col"), element("th", "flagged", scope="col")
    )
    body = element("table", element("thead", head), element("tbody", *rows), class_="matrix")
    return element("figure", element("figcaption", name), body)
