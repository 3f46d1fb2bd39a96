"""The record of a sweep on disk: whose its directory is, and a folder per trial that ended."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from swag_ray import config as cfg
from swag_ray.config.sweep import NOTES, SweepConfig
from swag_ray.config.text import read_yaml
from swag_ray.errors import InputError
from swag_ray.record.directory import check_directory
from swag_ray.record.files import (
    CONFIG_FILE,
    ERROR_FILE,
    METRICS_FILE,
    SCORES_FILE,
    SWEEP_FILE,
    TRIAL_FILE,
    TRIALS_FILE,
    TRIALS_FOLDER,
    explain_write_errors,
    write_bytes,
    write_json,
    write_table,
    write_text,
)
from swag_ray.record.run_metrics import RunMetrics
from swag_ray.record.trials_table import SCORES, Row, flat_metrics, from_text, table
from swag_ray.system.files import make_folders

# What may be different when a sweep goes on: where it runs and who is told.
NOT_IDENTITY = ("concurrent", "loggers", *NOTES)


class TrialLog:
    """The trials of a sweep's directory: those that ended before, and those that end now."""

    def __init__(self, directory: Path, sweep: SweepConfig) -> None:
        self.directory, self.sweep = directory, sweep
        self.rows: dict[int, Row] = {}
        for path in sorted((directory / TRIALS_FOLDER).glob(f"*/{TRIAL_FILE}")):
            with suppress(ValueError):  # half a file, of another file system: the trial runs again
                row = json.loads(path.read_text(encoding="utf-8"))
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
        folder = self.directory / TRIALS_FOLDER / f"{number:04d}"
        metrics = RunMetrics.read(json.loads(report["record"])) if "record" in report else None
        figures = flat_metrics(metrics) if metrics else {k: v for k, v in report.items() if k.startswith("last_round.")}
        row: Row = {
            "trial": number, "name": folder.name, "status": report["status"], "error": report.get("error"),
            "seconds": report.get("seconds"), "dataset": report["dataset"], "random_seed": report["random_seed"],
            "point": point, "figures": figures, "computed": json.loads(report.get("computed", "[]")),
        }  # fmt: skip
        with explain_write_errors(self.directory):
            make_folders(folder)
            with suppress(InputError):  # a suggested point that is no config: its error is in the row
                trial = sweep.trial(number, point, report["dataset"], report["random_seed"])
                write_text(folder / CONFIG_FILE, cfg.to_yaml(trial.config))
            if metrics is not None:
                write_json(folder / METRICS_FILE, metrics.plain())
            if SCORES in report:
                write_bytes(folder / SCORES_FILE, from_text(report[SCORES]))
            (folder / ERROR_FILE).unlink(missing_ok=True)  # of an earlier try
            if "traceback" in report:
                write_text(folder / ERROR_FILE, report["traceback"])
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
        with explain_write_errors(self.directory):
            write_table(self.directory / TRIALS_FILE, found)
        return found


def check_sweep_directory(directory: Path, sweep: SweepConfig) -> None:
    """Refuses a folder that cannot become or stay this sweep's; see `check_directory`."""

    def other(path: Path) -> str:
        same = _identity(read_yaml(path)) == _identity(sweep.model_dump(mode="json"))
        return "" if same else "another sweep"

    check_directory(directory, SWEEP_FILE, other, "choose another folder")


def _identity(plain: dict[str, Any]) -> dict[str, Any]:
    base = {key: value for key, value in plain["base"].items() if key not in ("store", "cluster", "report")}
    return {key: value for key, value in plain.items() if key not in NOT_IDENTITY} | {"base": base}
