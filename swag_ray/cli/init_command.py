"""`swag-ray init`: a config for the images that there are."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from swag_ray.cli.dataset_commands import AsJson


def init(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="A folder of images or a table of them (CSV, Parquet, data.json); or two folders, trusted and unknown "
            "images, and perhaps a third to test on.",
        ),
    ],
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="The config to write; default: NAME.yaml here.")
    ] = None,
    normal: Annotated[str | None, typer.Option(help="Name of the normal class, where it cannot be guessed.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at images and write a config with what was guessed of them, and why. Asks nothing."""
    from swag_ray.init.write import write_config

    done = write_config(paths, out, normal=normal, overwrite=overwrite)
    if as_json:
        guesses = [{"field": g.field, "value": g.value, "reason": g.reason} for g in done.guesses]
        print(json.dumps({"config": str(done.config), "guesses": guesses, "notes": done.notes, "next": done.next}))
        return
    for guess in done.guesses:
        value = ", ".join(guess.value) if isinstance(guess.value, list) else guess.value
        print(f"{guess.field}: {'-' if value is None else value}  ({guess.reason})")
    for note in done.notes:
        print(note)
    print(f"\nwritten: {done.config}\nnext:    {done.next}")
