"""The report of a sweep from its directory alone: sweep.html, one self-contained page, and trials.csv."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from swag_ray.record.files import SWEEP_REPORT_FILE, TRIALS_TEXT_FILE
from swag_ray.report.page.document import DISCLAIMER, document, write_files
from swag_ray.report.page.markup import Html, element, join, paragraph
from swag_ray.report.sweep import sections, trials
from swag_ray.report.sweep.read import SweepRecord, read_sweep
from swag_ray.report.sweep.words import progress, verdicts
from swag_ray.wording import plural

# Sorts a table by the column whose title is clicked: figures by size, others as text, empty cells last.
# Without it the page reads the same, the best rows first.
SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], titles = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const key = (row, column) => {
    const text = row.cells[column].textContent.trim();
    const figure = Number(text.replace(/\\u2212/g, "-").replace(/ \\[.*/, "").replace(/[<>,%\\s]/g, ""));
    return text === "" ? null : Number.isNaN(figure) ? text : figure;
  };
  const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b
    : typeof a === typeof b ? a.localeCompare(b, undefined, {numeric: true}) : typeof a === "number" ? -1 : 1;
  titles.forEach((title, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = title.textContent;
    title.replaceChildren(button);
    button.addEventListener("click", () => {
      const sign = title.getAttribute("aria-sort") === "descending" ? 1 : -1;
      titles.forEach(other => other.removeAttribute("aria-sort"));
      title.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
      const rows = [...body.rows].map(row => [key(row, column), row]);
      rows.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b));
      body.append(...rows.map(([, row]) => row));
    });
  });
}
"""


def write_sweep_report(directory: Path) -> Path:
    """Write `sweep.html` and `trials.csv` from what the sweep's directory holds, finished or under way.

    The page is one file: style, plots and script inline, nothing loaded from elsewhere. trials.csv holds
    trials.parquet as it is, a row a trial, empty where null. Files are replaced whole or not at all.

    Args:
        directory: a sweep's directory, with sweep.yaml and trials.parquet.

    Returns:
        Path of the page.

    Raises:
        InputError: the directory is not a sweep's, a file is missing or damaged, or it cannot be written to.
    """
    sweep = read_sweep(Path(directory))
    target = sweep.folder / SWEEP_REPORT_FILE
    write_files({sweep.folder / TRIALS_TEXT_FILE: _csv(sweep), target: _page(sweep)})
    return target


def _page(sweep: SweepRecord) -> str:
    body = element(
        "main",
        element("header", element("h1", sweep.name), _about(sweep), _verdicts(sweep)),
        sections.warning_section(sweep),
        sections.best_section(sweep),
        sections.tests_section(sweep),
        sections.effects_section(sweep),
        sections.interactions_section(sweep),
        sections.shares_section(sweep),
        trials.trials_section(sweep),
        trials.failed_section(sweep),
        sections.origin_section(sweep),
        sections.limits_section(),
    )
    return document(f"{sweep.name} \N{EN DASH} swag-ray sweep", body, SCRIPT)


def _about(sweep: SweepRecord) -> Html:
    """How far it is and what it spans, in a line; then the disclaimer."""
    seeds = {seed for results in sweep.results for seed in results.seed_N.tolist()}
    facts = [f"sweep ({sweep.settings.get('algorithm') or 'grid'})", progress(sweep)]
    for count, one in ((len(sweep.arms), "arm"), (len(sweep.results), "dataset"), (len(seeds), "random seed")):
        facts += [plural(count, one)] if count else []
    return join(paragraph(" \N{MIDDLE DOT} ".join(facts), class_="about"), paragraph(DISCLAIMER, class_="about"))


def _verdicts(sweep: SweepRecord) -> Html:
    return join(*(paragraph(text, class_="verdict") for text in verdicts(sweep)))


def _csv(sweep: SweepRecord) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(sweep.columns)
    writer.writerows([row[column] for column in sweep.columns] for row in sweep.rows)
    return text.getvalue()
