"""Where the time went, for a run that was profiled (`profile.json`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from swag_ray.errors import InputError
from swag_ray.record.files import PROFILE_FILE
from swag_ray.report.page.markup import Column, Html, seconds, section, table, whole
from swag_ray.report.run.read import RunRecord

CAPTIONS = {
    "phases": "Phases of the run, by the clock.",
    "stages": "Stages that had to be computed; what was in the store is not here.",
    "actors": "What the actors were at work on. The rest of the clock they waited, or other actors ran.",
}


def profile_section(run: RunRecord) -> Html:
    """Three tables, or nothing where the run was not profiled."""
    path = run.folder / PROFILE_FILE
    if not path.exists():
        return Html()
    try:
        found: Mapping[str, Sequence[Mapping[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
        return section("Where the time went", *(_table(kind, found[kind]) for kind in CAPTIONS))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error})", "delete it or run again with --profile") from error


def _table(kind: str, rows: Sequence[Mapping[str, Any]]) -> Html:
    ordered = sorted(rows, key=lambda row: -float(row["seconds"]))
    name = {"phases": "phase", "stages": "stage", "actors": "actor"}[kind]
    columns = [Column("time", [seconds(row["seconds"]) for row in ordered])]
    if kind == "stages":
        columns.insert(0, Column("computed", [whole(row["computed"]) for row in ordered]))
    if kind == "actors":
        columns.insert(0, Column("calls", [whole(row["calls"]) for row in ordered]))
        columns.insert(0, Column("work", [str(row["work"]).replace("_", " ") for row in ordered], text=True))
    return table(name, [str(row[name]) for row in ordered], columns, caption=CAPTIONS[kind])
