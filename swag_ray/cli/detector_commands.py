"""The commands that work with a run's detector: `score`, `calibrate`, `drift`, `card`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from swag_ray.score.rows import ScoredFiles

Run = Annotated[
    str, typer.Argument(metavar="RUN", help="Run directory, or a copy of its detector/ folder; a path or s3://.")
]
Images = Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of them.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


def score(
    run_dir: Run,
    images: Images,
    out: Annotated[Path, typer.Option(help="Result file: .csv, .json or .parquet.")],
    site: Annotated[Path | None, typer.Option(help="SITE.json of `calibrate`: flag by that place's p-values.")] = None,
    rate: Annotated[float | None, typer.Option(help="Share of normals to flag; default: the run's.")] = None,
    drift_log: Annotated[
        Path | None, typer.Option(help="Note how these images score in this file, for `drift`.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Score new images with a run's detector, in this process."""
    from swag_ray.score.score import score_to_file

    counts = score_to_file(run_dir, images, out, site=site, rate=rate, drift_log=drift_log)
    _skipped(counts.unreadable, counts.left_out)
    for line in counts.warnings:
        print(f"swag-ray: warning: {line}", file=sys.stderr)
    if not quiet:
        p = "p" if site is None else "aligned p"
        print(f"{counts.scored} images scored, {counts.flagged} flagged ({p} <= {counts.rate:g}), written to {out}")
        print(counts.like)


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
    from swag_ray.score.calibrate import calibrate_to_file

    found = calibrate_to_file(run_dir, images, out, normals=normals)
    scored: ScoredFiles = found.scored
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
