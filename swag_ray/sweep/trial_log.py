"""The trials of a sweep's directory: those that ended before, and those that end now."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from swag_ray import config as cfg
from swag_ray.config.sweep import NOTES, SweepConfig
from swag_ray.config.text import read_yaml
from swag_ray.errors import InputError
from swag_ray.record.files import write_text, writing
from swag_ray.record.trials_table import Row, flat_metrics, table

SWEEP_FILE, TRIALS_FILE, TRIAL_FILE = "sweep.yaml", "trials.parquet", "trial.json"

# What may be different when a sweep goes on: where it runs and who is told.
NOT_IDENTITY = ("concurrent", "loggers", *NOTES)


class TrialLog:
    """The trials of a sweep's directory: those that ended before, and those that end now."""

    def __init__(self, directory: Path, sweep: SweepConfig) -> None:
        self.directory, self.sweep = directory, sweep
        self.rows: dict[int, Row] = {}
        for path in sorted((directory / "trials").glob(f"*/{TRIAL_FILE}")):
            with suppress(ValueError):  # half a file, of another file system: the trial runs again
                row = json.loads(path.read_text())
                self.rows[row["trial"]] = row

    def through(self) -> set[int]:
        """Trials that need not run again."""
        return {number for number, row in self.rows.items() if row["status"] != "failed"}

    def history(self) -> list[dict[str, Any]]:
        """Their final reports, for an algorithm that learns."""
        return [
            {**row["figures"], "trial": n, "point": json.dumps(row["point"]), "status": row["status"]}
            for n, row in self.rows.items()
        ]

    def keep(self, report: dict[str, Any]) -> None:
        """Write a trial's files as it ends; `trial.json` last: with it, the trial is through."""
        sweep, number = self.sweep, int(report["trial"])
        point = json.loads(report["point"]) if "point" in report else {name: report.get(name) for name in sweep.search}
        folder = self.directory / "trials" / f"{number:04d}"
        metrics = json.loads(report["record"]) if "record" in report else None
        figures = flat_metrics(metrics) if metrics else {k: v for k, v in report.items() if k.startswith("last_round.")}
        row: Row = {
            "trial": number, "name": folder.name, "status": report["status"], "error": report.get("error"),
            "seconds": report.get("seconds"), "dataset": report["dataset"], "random_seed": report["random_seed"],
            "point": point, "figures": figures, "computed": json.loads(report.get("computed", "[]")),
        }  # fmt: skip
        with writing(self.directory):
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(InputError):  # a suggested point that is no config: its error is in the row
                trial = sweep.trial(number, point, report["dataset"], report["random_seed"])
                write_text(folder / "config.yaml", cfg.to_yaml(trial.config))
            if metrics is not None:
                write_text(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
            (folder / "error.txt").unlink(missing_ok=True)  # of an earlier try
            if "traceback" in report:
                write_text(folder / "error.txt", report["traceback"])
            write_text(folder / TRIAL_FILE, json.dumps(row, indent=2) + "\n")
        self.rows[number] = row
        self.write_table()

    def write_all(self) -> pa.Table:
        """trials.parquet and sweep.html, if any trial has ended; nothing for a sweep that was refused."""
        from swag_ray.report.sweep.page import write_sweep_report  # plots: a second

        found = self.write_table() if self.rows else table([], list(self.sweep.search))
        if self.rows:
            write_sweep_report(self.directory)
        return found

    def write_table(self) -> pa.Table:
        """trials.parquet, of all trials so far."""
        rows = [row | {"dataset": row["dataset"] or "all"} for row in self.rows.values()]
        found = table(rows, list(self.sweep.search))
        with writing(self.directory):
            temporary = self.directory / f"{TRIALS_FILE}.tmp"
            pq.write_table(found, temporary)
            os.replace(temporary, self.directory / TRIALS_FILE)
        return found


def check_sweep_directory(directory: Path, sweep: SweepConfig) -> None:
    """Refuse, touching nothing, a folder that cannot become or go on being this sweep's."""
    with writing(directory):
        existing = sorted(p.name for p in directory.iterdir()) if directory.exists() else []
        existing = [name for name in existing if name != f"{SWEEP_FILE}.tmp"]  # of a claim that was killed
    if SWEEP_FILE in existing:
        if _identity(read_yaml(directory / SWEEP_FILE)) != _identity(sweep.model_dump(mode="json")):
            raise InputError(f"--out: '{directory}' holds another sweep", "choose another folder")
    elif existing:
        raise InputError(
            f"--out: '{directory}' holds something else ('{existing[0]}')", "choose an empty or new folder"
        )


def _identity(plain: dict[str, Any]) -> dict[str, Any]:
    base = {key: value for key, value in plain["base"].items() if key not in ("store", "cluster", "report")}
    return {key: value for key, value in plain.items() if key not in NOT_IDENTITY} | {"base": base}
