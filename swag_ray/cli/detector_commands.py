"""The commands that work with a run's detector: `score`, `calibrate`, `drift`, `card`."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swag_ray.cli.exit import interruptible
from swag_ray.wording import plural

if TYPE_CHECKING:
    from swag_ray.score.rows import ScoredRows

Run = Annotated[
    str, typer.Argument(metavar="RUN", help="Run directory, or a copy of its detector/ folder; a path or s3://.")
]
Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE...", help="Image files, folders of them, or tables that list them (CSV, Parquet); or s3://."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


class OrderBy(StrEnum):
    """How the rows of `score` are ordered."""

    suspicion = "suspicion"
    path = "path"


def score(
    run_dir: Run,
    images: Images,
    out: Annotated[str, typer.Option(help="Result file: .csv, .json or .parquet; - is CSV on the terminal.")],
    site: Annotated[Path | None, typer.Option(help="SITE.json of `calibrate`: flag by that place's p-values.")] = None,
    rate: Annotated[float | None, typer.Option(help="Share of normals to flag; default: the run's.")] = None,
    order: Annotated[
        OrderBy, typer.Option(help="Rows: most suspicious first, or by path.", case_sensitive=False)
    ] = OrderBy.suspicion,
    heatmaps: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for each image under its heatmap, DIR/ID.png.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="One page, .html: ranked, with heatmaps and trusted films."),
    ] = None,
    drift_log: Annotated[
        Path | None, typer.Option(help="Note how these images score in this file, for `drift`.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with code 1 if any image could not be scored.")
    ] = False,
    address: Annotated[str | None, typer.Option(help="Score on a running Ray cluster: `auto` or HOST:PORT.")] = None,
    quiet: Quiet = False,
) -> None:
    """Score new images with a run's detector; the most suspicious come first. A call that was killed goes on."""
    from swag_ray.cli.score_screen import score_screen
    from swag_ray.score.score import ScoreOptions, score_to_file

    options = ScoreOptions(site, rate, order.value, heatmaps, report, drift_log, address)
    with score_screen(quiet=quiet) as progress, interruptible(progress):
        counts = score_to_file(run_dir, images, out, options, progress)
    _skipped(counts.unreadable, counts.left_out)
    for line in counts.warnings:
        print(f"swag-ray: warning: {line}", file=sys.stderr)
    if not quiet:
        words = sys.stderr if out == "-" else sys.stdout  # what is piped on is the table alone
        p = "p" if site is None else "aligned p"
        lost = f", {len(counts.unreadable)} not scored" if counts.unreadable else ""
        done = f"{plural(counts.scored, 'image')} scored{lost}, {counts.flagged} flagged ({p} <= {counts.rate:g})"
        print(done if out == "-" else f"{done}, written to {out}", file=words)
        print(f"{counts.meaning[0].upper()}{counts.meaning[1:]}", file=words)
    if strict and counts.unreadable:
        raise typer.Exit(1)


def calibrate(
    run_dir: Run,
    images: Images,
    out: Annotated[Path, typer.Option(help="Result file, .json, for `score --site`.")],
    normals: Annotated[
        bool, typer.Option("--normals", help="The images are known to be normal; otherwise whatever comes in.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Find the threshold that holds where these images come from: at a new site, on a new scanner."""
    from swag_ray.cli.score_screen import score_screen
    from swag_ray.score.calibrate import calibrate_to_file

    with score_screen(quiet=quiet) as progress, interruptible(progress):
        found = calibrate_to_file(run_dir, images, out, normals=normals, progress=progress)
    scored: ScoredRows = found.scored
    _skipped(scored.unreadable, scored.left_out)
    if not quiet:
        print(f"{found.text}; written to {out}")
        print(f"Score films of this place with: swag-ray score {run_dir} IMAGE... --site {out} --out scores.csv")


def drift(
    run_dir: Run,
    log: Annotated[Path, typer.Argument(metavar="LOG", help="File that `score --drift-log` wrote.")],
    site: Annotated[Path | None, typer.Option(help="SITE.json: look for shifts against that place.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Say whether the images scored over the last days have shifted; exit code 1 where they have."""
    from swag_ray.cli.tables import show_course
    from swag_ray.score.drift import read_course

    found = read_course(run_dir, log, site)
    if as_json:
        print(json.dumps(found.plain()))
    else:
        show_course(found, "the trusted images" if site is None else "the site")
    if found.alarms:
        raise typer.Exit(1)


def card(
    run_dir: Run,
    as_json: Annotated[bool, typer.Option("--json", help="Print model_card.json instead of Markdown.")] = False,
) -> None:
    """Print the model card: what the detector was made from, what it is worth, its limits and digests."""
    from swag_ray.report.card.files import read_card
    from swag_ray.report.card.markdown import markdown

    found, plain = read_card(run_dir)
    print(json.dumps(plain) if as_json else markdown(found), end="\n" if as_json else "")


def _skipped(unreadable: tuple[str, ...], left_out: dict[str, int]) -> None:
    from swag_ray.images.layout import left_out as clause

    for line in unreadable:
        print(f"swag-ray: skipped {line}", file=sys.stderr)
    if text := clause(left_out):
        print(f"swag-ray: left out {text}", file=sys.stderr)
