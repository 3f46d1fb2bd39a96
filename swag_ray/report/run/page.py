"""Assemble report.html from a run directory; save plots and model cards beside it. Same directory, same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from swag_ray.errors import InputError
from swag_ray.record.files import (
    CHANGES_FILE,
    CONFIG_FILE,
    DETECTOR_FILE,
    DETECTOR_FOLDER,
    MANIFEST_FILE,
    METRICS_FILE,
    OVERLAYS_FILE,
    PLOTS_FOLDER,
    POOL_FILE,
    PROFILE_FILE,
    REPORT_FILE,
    ROUNDS_FILE,
    SCORES_FILE,
    SEEDS_FILE,
    explain_write_errors,
)
from swag_ray.record.remote import is_remote, local_copy, plain_address, remote_store, send_report
from swag_ray.report.card.files import card_files
from swag_ray.report.card.make import model_card
from swag_ray.report.card.record import ModelCard
from swag_ray.report.page.document import DISCLAIMER, document, write_files
from swag_ray.report.page.figure import Plot, show
from swag_ray.report.page.markup import Html, element, join, number, paragraph, percent, section
from swag_ray.report.page.settings import is_anonymous, settings_text
from swag_ray.report.run import sections
from swag_ray.report.run.answer import admitted_section, answer, next_section, suspects_section
from swag_ray.report.run.arms import arms_section
from swag_ray.report.run.card import card_section
from swag_ray.report.run.changes import changes_section
from swag_ray.report.run.odd_seeds import odd_seeds_section
from swag_ray.report.run.paper_figures import check_published
from swag_ray.report.run.plots import draw_all
from swag_ray.report.run.profile import profile_section
from swag_ray.report.run.read import RunRecord, read_run
from swag_ray.report.run.summary import confusion_section, summary_section
from swag_ray.report.run.verdict import verdict

REPORTED = (
    CONFIG_FILE, MANIFEST_FILE, METRICS_FILE, PROFILE_FILE, ROUNDS_FILE, SCORES_FILE, SEEDS_FILE, OVERLAYS_FILE,
    POOL_FILE, CHANGES_FILE, f"{DETECTOR_FOLDER}/{DETECTOR_FILE}",
)  # fmt: skip


def report_again(place: str | Path) -> str:
    """Write report.html and the model cards of a run directory again, where it is; returns where that is.

    Raises:
        InputError: see `write_report`.
    """
    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own keeps what it once had
    with local_copy(place, "report", *REPORTED) as folder:
        page = write_report(folder)
        if not is_remote(place):
            return str(page)
        remote = remote_store(place, "report")
        if not (folder / OVERLAYS_FILE).exists():
            remote.delete(remote.path(OVERLAYS_FILE))  # removed here, by `report.images: false`
        send_report(remote, folder)
        return f"{plain_address(remote)}/{page.name}"


def write_report(run_dir: Path) -> Path:
    """Write `report.html`, `plots/*.svg` and the model cards from what the run directory holds.

    The page is one file: style and plots inline, nothing loaded from elsewhere. A figure that the run does not hold
    is left out. Files are replaced whole or not at all.
    Where config.yaml says `report.images: false`, images that a run before left are removed.

    Args:
        run_dir: a finished run's directory.

    Returns:
        Path of the page.

    Raises:
        InputError: the directory is not a run, a file is missing or damaged, or it cannot be written to.
    """
    run = read_run(Path(run_dir))
    if is_anonymous(run.config) and not run.manifest.get("anonymous"):
        raise InputError(f"{run.folder}: holds names of files, from before report.anonymous", "run it again")
    if run.settings("report").get("images", True) is False:
        with explain_write_errors(run.folder):
            (run.folder / OVERLAYS_FILE).unlink(missing_ok=True)
    check_published(run.settings("report").get("published"))
    plots = draw_all(run)
    target = run.folder / REPORT_FILE
    drawn = {run.folder / PLOTS_FOLDER / f"{plot.name}.svg": plot.svg for plot in plots.values()}
    card = model_card(run.config, run.metrics, run.manifest)
    write_files({**drawn, **card_files(run.folder, card), target: _page(run, plots, card)})
    return target


def _page(run: RunRecord, plots: Mapping[str, Plot], card: ModelCard) -> str:
    name = str(run.config.get("name") or run.folder.resolve().name)
    parts = _answering(run, plots) if run.answers else _evaluating(run, plots)
    body = element(
        "main",
        element("header", element("h1", name), _about(run), _lead(run)),
        *parts,
        sections.kinds_section(run),
        sections.localisation_section(run),
        sections.shortcuts_section(run),
        profile_section(run),
        sections.origin_section(run, settings_text(run.config, anonymous=is_anonymous(run.config))),
        card_section(card),
        sections.limits_section(run),
    )
    return document(f"{name} \N{EN DASH} swag-ray report", body)


def _lead(run: RunRecord) -> Html:
    """The answer where nothing is known of the pool, with the verdict behind it where test images have labels."""
    found = answer(run) if run.answers else Html()
    if found and run.metrics.incremental.roc_auc is None:
        return found
    return join(found, paragraph(verdict(run), class_="" if found else "verdict"))


def _evaluating(run: RunRecord, plots: Mapping[str, Plot]) -> tuple[Html, ...]:
    """What stands first where labels tell how good the detector is."""
    return (
        sections.warning_section(run),
        summary_section(run),
        changes_section(run.changes),
        section("Curves", show(plots, "roc", "pr")),
        confusion_section(run),
        arms_section(run),
        sections.rounds_section(run, plots),
        sections.calibration_section(run, plots),
        sections.overlay_section(run),
        odd_seeds_section(run),
    )


def _answering(run: RunRecord, plots: Mapping[str, Plot]) -> tuple[Html, ...]:
    """What stands first where nothing is known of the pool."""
    return (
        suspects_section(run),
        changes_section(run.changes),
        admitted_section(run),
        odd_seeds_section(run),
        sections.calibration_section(run, plots),
        sections.warning_section(run),
        next_section(run),
        summary_section(run) if run.tested else Html(),
        section("Curves", show(plots, "roc", "pr")),
        confusion_section(run),
        sections.overlay_section(run),
        arms_section(run),
        sections.rounds_section(run, plots),
    )


def _about(run: RunRecord) -> Html:
    """What was run, in a line: method, data, seed; then the disclaimer."""
    dataset = run.settings("dataset")
    facts = [f"method {run.config['method']}"] if run.config.get("method") else []
    named = ("kind",) if is_anonymous(run.config) else ("kind", "root", "seed_root", "pool_root", "manifest")
    source = [str(dataset[key]) for key in named if dataset.get(key)]
    if source:
        facts.append(f"data {' '.join(source)}")
    contamination = percent(dataset.get("contamination"), 0)
    if contamination:
        facts.append(f"contamination {contamination}")
    seed = number(run.config.get("random_seed"))
    if seed is not None:
        facts.append(f"random seed {seed:.0f}")
    return join(paragraph(" \N{MIDDLE DOT} ".join(facts), class_="about"), paragraph(DISCLAIMER, class_="about"))
