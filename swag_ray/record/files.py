"""Names of the files of a run's and a sweep's directory, and writes that are whole or not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swag_ray.errors import StorageError, reason_of, remedy_of
from swag_ray.record.csv_cells import csv_cell, csv_column
from swag_ray.system.files import is_aside, whole_file

if TYPE_CHECKING:
    import pyarrow as pa

# Of a run. A sweep keeps the first two of each trial as well.
CONFIG_FILE, METRICS_FILE = "config.yaml", "metrics.json"
MANIFEST_FILE, PROFILE_FILE = "manifest.json", "profile.json"
ROUNDS_FILE, SCORES_FILE, SEEDS_FILE = "rounds.parquet", "scores.parquet", "seeds.parquet"
POOL_FILE, CHANGES_FILE = "pool.csv", "changes.csv"
REPORT_FILE = "report.html"
PLOTS_FOLDER = "plots"
LOCK_FILE, SOFT_LOCK_FILE = ".swag-ray.lock", ".swag-ray.softlock"  # there while somebody is at work in the folder
OVERLAYS_FILE = f"{PLOTS_FOLDER}/overlays.npz"
# The detector's bundle: a folder of a run, or a copy of it anywhere.
DETECTOR_FOLDER = "detector"
DETECTOR_FILE, ARRAYS_FILE, BACKBONE_FILE = "detector.json", "arrays.npz", "backbone.safetensors"
HEAT_FILE, TRUSTED_FILE = "heat.npz", "trusted.npz"
CARD_FILE, CARD_TEXT_FILE = "model_card.json", "model_card.md"  # in a run's folder, and again in its bundle
DRAFT = "run"  # a run's next files, aside in its folder until they are whole
# Of a sweep.
SWEEP_FILE, TRIALS_FILE = "sweep.yaml", "trials.parquet"
SWEEP_REPORT_FILE, TRIALS_TEXT_FILE = "sweep.html", "trials.csv"
TRIALS_FOLDER = "trials"  # a folder per trial, named by its number
TRIAL_FILE, ERROR_FILE = "trial.json", "error.txt"


@contextmanager
def explain_write_errors(directory: Path) -> Iterator[None]:
    """Tells a write into the directory that fails as one line. Of the draft of a run, it names the run's folder.

    Raises:
        StorageError: for any OSError of the block.
    """
    try:
        yield
    except OSError as error:
        named = directory.parent if is_aside(directory.name, DRAFT) else directory
        raise StorageError(
            f"--out: cannot write to '{named}' ({reason_of(error)})",
            f"{remedy_of(error)}, or choose another folder",
        ) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file, whole or not at all."""
    with whole_file(path) as draft:
        draft.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all."""
    # File names outside UTF-8 reach us as lone surrogates.
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Writes a JSON file, whole or not at all.

    Raises:
        ValueError: the record holds a NaN or an infinity, which JSON has no word for.
    """
    write_text(path, json.dumps(record, indent=2, allow_nan=False) + "\n")


def csv_safe(table: pa.Table) -> pa.Table:
    """Returns a table as it may stand in a CSV file: text that a spreadsheet would run is marked as text."""
    import pyarrow as pa

    safe = [csv_column(column) for column in table.columns]
    return pa.Table.from_arrays(safe, names=[csv_cell(name) for name in table.column_names])


def write_csv(path: Path, table: pa.Table) -> None:
    """Writes a CSV file, whole or not at all, as `csv_safe` makes it."""
    from pyarrow import csv

    with whole_file(path) as draft:
        csv.write_csv(csv_safe(table), draft)


def write_table(path: Path, table: pa.Table, group: int | None = None) -> None:
    """Writes a Parquet file, whole or not at all. `group`: rows that a reader can take alone."""
    import pyarrow.parquet as pq

    with whole_file(path) as draft:
        pq.write_table(table, draft, row_group_size=group)
