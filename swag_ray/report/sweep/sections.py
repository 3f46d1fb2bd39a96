"""The sweep page's sections, in the order in which they stand. An empty section is left out."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence

import yaml

from swag_ray.report.page.figure import Plot, show
from swag_ray.report.page.markup import (  # fmt: skip
    Column,
    Format,
    Html,
    decimal,
    element,
    join,
    number,
    p_value,
    paragraph,
    percent,
    section,
    table,
    whole,
)
from swag_ray.report.sweep.arms import (  # fmt: skip
    Comparison,
    Ranked,
    against_reference,
    against_seed_only,
    ranking,
    reference_in,
)
from swag_ray.report.sweep.plots import ARMS_SHOWN, CLOUD, effect_plots, forest, pair_plots, scatter_against
from swag_ray.report.sweep.read import SEED_ONLY, TEST, Results, SweepRecord, canonical, display
from swag_ray.report.sweep.statistics import MIN_PAIRS, Mean, mean_interval
from swag_ray.report.sweep.words import axis_name, form_for, on_test, sweep_warnings, with_interval
from swag_ray.wording import plural


def warning_section(sweep: SweepRecord) -> Html:
    found = sweep_warnings(sweep)
    body = element("ul", *(element("li", text) for text in found)) if found else paragraph("Nothing to warn of.")
    return element("section", element("h2", "Warnings"), body, class_="warnings" if found else "")


def per_dataset(sweep: SweepRecord, part: Callable[[SweepRecord, Results, str], Html]) -> Html:
    """A part for every dataset, under its name where there are several; `part` gets a prefix for its plots' names."""
    bodies = [(results.dataset, part(sweep, results, f"d{index}")) for index, results in enumerate(sweep.results)]
    several = len(sweep.results) > 1
    return join(*(join(element("h3", dataset), body) if several else body for dataset, body in bodies if body))


def best_section(sweep: SweepRecord) -> Html:
    if not sweep.results:
        return Html()
    if not any(results.known(sweep.metric) for results in sweep.results):
        return section("Arms", per_dataset(sweep, _best))
    how = f"Ranked by {axis_name(sweep.metric)} ({sweep.metric}, {'highest' if sweep.descending else 'lowest'} first), "
    how += "mean over the random seeds of a dataset. "
    if on_test(sweep.metric):
        how += "This is a figure of the test set: the choice was made on test labels."
    else:
        how += "It is measured on the train folder; no label of the test set had a part in the choice, "
        how += "and the figures of the test set stand beside it."
    return section("Best configs", paragraph(how), per_dataset(sweep, _best))


def _best(sweep: SweepRecord, results: Results, prefix: str) -> Html:
    ranked = ranking(sweep, results)
    plots: dict[str, Plot] = {}
    for column in dict.fromkeys((sweep.metric, TEST)):
        plot = forest(sweep, results, ranked, column, f"{prefix}-arms-{len(plots)}")
        if plot is not None:
            plots[plot.name] = plot
    left = len(ranked) - ARMS_SHOWN
    note = f"The first {ARMS_SHOWN} of {len(ranked)} arms; all are in the table of trials." if left > 0 else ""
    return join(_best_table(sweep, results, ranked[:ARMS_SHOWN]), paragraph(note, class_="note"),
                _options(sweep, ranked), show(plots, *plots))  # fmt: skip


def _best_table(sweep: SweepRecord, results: Results, ranked: Sequence[Ranked]) -> Html:
    arms = [r.arm for r in ranked]
    form = form_for([r.metric.mean if r.metric else None for r in ranked])

    def means(column: str) -> list[Mean | None]:
        return [mean_interval(list(results.by_seed(arm, column).values())) for arm in arms]

    def plain(column: str, of: Format) -> list[str | None]:
        return [of(mean.mean) if mean else None for mean in means(column)]

    figures = [
        Column(axis_name(sweep.metric, short=True), [with_interval(r.metric, form) for r in ranked], "chosen by")
    ]
    if sweep.metric != TEST:
        figures.append(Column("ROC-AUC", [with_interval(mean) for mean in means(TEST)], "test set"))
    figures += [
        Column("PR-AUC", plain("incremental.pr_auc", decimal), "test set"),
        Column("normals flagged", plain("incremental.conformal.rate_test_normals", percent), "test set"),
        Column("admitted", plain("totals.admitted", whole), "pool"),
        Column("purity", plain("totals.purity", percent), "pool"),
    ]
    columns = [*_field_columns(sweep, arms), Column("seeds", [str(r.seeds) for r in ranked]), *figures]
    reference = reference_in(sweep, results)
    stubs = [f"{rank}{' (ref.)' if r.arm == reference else ''}" for rank, r in enumerate(ranked, start=1)]
    known = ranked[0].metric is not None
    strong = [known and rank == 0 for rank in range(len(ranked))]
    return table("Rank" if known else "Arm", stubs, columns, strong=strong)


def _field_columns(sweep: SweepRecord, arms: Sequence[int]) -> list[Column]:
    places = [(index, field) for index, field in enumerate(sweep.fields) if len(field.values) > 1]
    cells = {index: [display(sweep.arms[arm - 1].values[index]) for arm in arms] for index, _ in places}
    return [Column(field.short, cells[index], text=not field.numeric) for index, field in places]


def _options(sweep: SweepRecord, ranked: Sequence[Ranked]) -> Html:
    """The best arm as options of a run, to be copied."""
    if ranked[0].metric is None or not sweep.fields:
        return Html()
    values = zip(sweep.fields, sweep.arms[ranked[0].arm - 1].values, strict=True)
    text = " ".join(f"--set {shlex.quote(f'{field.name}={value}')}" for field, value in values)
    return join(paragraph("The first as options of a run:", class_="note"), element("pre", text))


def tests_section(sweep: SweepRecord) -> Html:
    how = (
        f"Paired t-tests on {axis_name(TEST)}: an arm and its counterpart have the same random seeds. p is corrected "
        "after Holm for the number of comparisons in its table, the intervals are not; the result is read off the "
        "corrected p at 0.05. The tests span seeds, not the drawing of the test images, which all trials share: for "
        "that, see the bootstrap interval in a run's own report."
    )
    body = per_dataset(sweep, _tests)
    return section("Paired tests", paragraph(how) if body else "", body)


def _tests(sweep: SweepRecord, results: Results, prefix: str) -> Html:
    if not results.known(TEST):
        return Html()
    arms = [r.arm for r in ranking(sweep, results)]
    ranks = {arm: rank for rank, arm in enumerate(arms, start=1)}
    reference = reference_in(sweep, results)
    title = f"Each arm minus the reference arm ({sweep.describe(reference)})"
    parts = [_comparisons(sweep, against_reference(sweep, results, arms), ranks, title)] if len(arms) > 1 else []
    if results.known(SEED_ONLY):
        title = "Each arm minus the seed-only bank of its own trials"
        parts.append(_comparisons(sweep, against_seed_only(results, arms), ranks, title))
    return join(*parts)


def _comparisons(sweep: SweepRecord, found: Sequence[Comparison], ranks: Mapping[int, int], title: str) -> Html:
    """A table of one family of tests; `ranks` names its arms as the table of the best does."""
    if not found:
        return Html()
    possible = sum(c.corrected is not None for c in found)
    if not possible:
        return paragraph(f"{title}: no test is possible, as fewer than {MIN_PAIRS} pairs of seeds are done.")
    caption = f"{title}; {plural(possible, 'comparison')}."

    def difference(mean: Mean) -> str | None:
        return with_interval(mean, lambda value: decimal(value, 4, signed=True))

    columns = [
        *_field_columns(sweep, [c.arm for c in found]),
        Column("pairs", [str(c.test.difference.n) for c in found]),
        Column("difference, 95 % interval", [difference(c.test.difference) for c in found]),
        Column("t", [decimal(c.test.t, 2) for c in found]),
        Column("p", [p_value(c.test.p) for c in found]),
        Column("p, corrected", [p_value(c.corrected) for c in found]),
        Column("result", [_result(c) for c in found], text=True),
    ]
    return table("Rank", [str(ranks[c.arm]) for c in found], columns, caption=caption, sortable=True)


def _result(comparison: Comparison) -> str:
    if comparison.corrected is None:
        return f"fewer than {MIN_PAIRS} pairs"
    if comparison.corrected >= 0.05:
        return "cannot tell"
    return "higher" if comparison.test.difference.mean > 0 else "lower"


def effects_section(sweep: SweepRecord) -> Html:
    body = per_dataset(sweep, _effects)
    if sweep.crossed:
        how = (
            "Mean of each value over all other settings, with a 95 % t-interval over random seeds; settings and seeds "
        )
        how += "that lack one of the field's values are left out of its plot. "
    else:
        how = f"A point is an arm (mean over its seeds; at most {CLOUD} are drawn). Line: mean of each value, or of "
        how += "five bins with about equally many trials, with a 95 % t-interval over arms. "
    how += "Within a dataset, all plots of a figure share one scale; the largest effect stands first."
    if str(sweep.settings.get("algorithm")) == "optuna":
        how += " The search drew more often where results were good: these are no fair samples of the space."
    return section("Main effects", paragraph(how) if body else "", body)


def _effects(sweep: SweepRecord, results: Results, prefix: str) -> Html:
    plots, left = effect_plots(sweep, results, prefix)
    note = f"{plural(left, 'more field')} with smaller effects left out." if left else ""
    return join(show(plots, *plots, small=True), paragraph(note, class_="note"))


def interactions_section(sweep: SweepRecord) -> Html:
    body = per_dataset(sweep, _interactions)
    how = "Means of one field's values over another's; parallel lines mean that their effects add up. "
    how += "All plots of a figure share one scale. The largest interaction (root mean square of what the two effects "
    how += "do not explain) stands first."
    return section("Interactions", paragraph(how) if body else "", body)


def _interactions(sweep: SweepRecord, results: Results, prefix: str) -> Html:
    plots, left = pair_plots(sweep, results, prefix)
    note = f"{plural(left, 'more pair')} with smaller interactions left out." if left else ""
    return join(show(plots, *plots, small=True), paragraph(note, class_="note"))


def shares_section(sweep: SweepRecord) -> Html:
    """Purity and contamination against AUROC, over all datasets."""
    columns = ("totals.purity", "contamination.true")
    plots = {
        column: plot
        for index, column in enumerate(columns)
        if (plot := scatter_against(sweep, column, f"share-{index}"))
    }
    constant = []
    for column in columns:
        values = {x for r in sweep.results for x in r.figures(column).tolist() if number(x) is not None}
        if len(values) == 1:
            constant.append(f"The {axis_name(column)} is {percent(values.pop())} in every trial.")
    return section("Purity and contamination against AUROC", show(plots, *plots), paragraph(" ".join(constant)))


def origin_section(sweep: SweepRecord) -> Html:
    """What was searched, and the resolved sweep as it stands in its file."""
    search = sweep.settings.get("search") or {}
    spaces = [canonical(search.get(field.name)) for field in sweep.fields]
    base = [display(sweep.arms[sweep.reference[0] - 1].values[i]) if sweep.arms else None for i in range(len(spaces))]
    columns = [
        Column("searched", [display(text, 80) for text in spaces], text=True),
        Column("values tried", [whole(len(field.values)) for field in sweep.fields]),
        Column("reference arm", base, text=True),
    ]
    dump = yaml.safe_dump(dict(sweep.settings), sort_keys=False, allow_unicode=True)
    resolved = element("details", element("summary", "Resolved sweep"), element("pre", dump))
    return section("How it was run", table("Field", [field.name for field in sweep.fields], columns), resolved)


def limits_section() -> Html:
    texts = (
        "The best of many arms looks better on the figure that chose it than it is; its figures on the test set were "
        "not part of that choice, unless a warning above says so.",
        "Intervals and tests are over random seeds; with few seeds they see only large differences, and they take the "
        "differences to be about normally distributed.",
        "Differences between values of one field hold for the other values that were tried, not beyond them.",
    )
    return section("Limits", element("ul", *(element("li", text) for text in texts)))
