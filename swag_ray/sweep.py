"""A sweep: many runs around one config, over datasets and seeds, sharing all the work they have in common.

    from swag_ray.sweep import load_sweep, run_sweep
    done = run_sweep(load_sweep("configs/ablation_small.yaml"), "sweeps/ablation")
    done.table.to_pandas()

The directory holds `sweep.yaml`, a folder a trial (config.yaml, metrics.json, trial.json), `trials.parquet`,
`sweep.html` and Ray Tune's own files. What took time is in the store: a sweep that was stopped goes on at the stage
that was in flight.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from swag_ray import config as cfg
from swag_ray.cluster.address import check_address
from swag_ray.cluster.workers import Workers
from swag_ray.config_text import dump_yaml, read_yaml
from swag_ray.errors import InputError
from swag_ray.prepare import Source, look, prepare, split_table
from swag_ray.progress import Progress
from swag_ray.remote_directory import is_remote
from swag_ray.run_directory import claimed, write_text, writing
from swag_ray.sweep_config import NOTES, SweepConfig, Trial, load_sweep, source_key, to_yaml
from swag_ray.sweep_table import Row, flat_metrics, table
from swag_ray.sweep_trial import carry_out_trial

__all__ = ["Sweep", "load_sweep", "run_sweep"]

SWEEP_FILE, TRIALS_FILE, TRIAL_FILE = "sweep.yaml", "trials.parquet", "trial.json"
# What may be different when a sweep goes on: where it runs and who is told.
NOT_IDENTITY = ("concurrent", "loggers", *NOTES)


@dataclass(frozen=True)
class Sweep:
    """A finished sweep.

    Attributes:
        directory: where everything is.
        table: trials.parquet.
        planned: trials in all.
    """

    directory: Path
    table: pa.Table
    planned: int

    def count(self, status: str) -> int:
        """Trials that ended so: `done`, `stopped` or `failed`."""
        return self.table.column("status").to_pylist().count(status)


def run_sweep(
    sweep: SweepConfig,
    out: str | Path | None = None,
    *,
    address: str | None = None,
    wait: float = 0.0,
    progress: Progress | None = None,
    on_report: Callable[[dict[str, Any]], None] = lambda report: None,
) -> Sweep:
    """Run a sweep's trials, or those that are left of them, and write its directory.

    Args:
        out: the sweep's directory; default `sweeps/<name>`. One that holds the same sweep is continued.
        address: a running Ray cluster; None starts a local Ray, or uses the one this process has.
        wait: seconds to wait for a node that holds a trial, and to ask an autoscaler for one, where none does yet.
        on_report: told every round of every trial, and every end.

    Raises:
        InputError: anything about config, data, store, cluster or folder that stops the sweep as a whole.
    """
    if out is not None and is_remote(out):
        raise InputError(f"--out: '{out}': a sweep's directory is a folder; its store may be on s3:// (base.store)")
    directory = Path(out) if out is not None else Path("sweeps") / sweep.name
    _check_directory(directory, sweep)
    if address is not None:
        check_address(address)
    if sweep.loggers:  # what they lack is told before hours of work, not after the features
        from swag_ray.cluster.listeners import loggers

        list(loggers(sweep))
    progress = progress or Progress()
    listed, examples = sweep.algorithm != "optuna", sweep.examples()
    sources = _sources(examples, progress)
    planned = len(examples) if listed else (sweep.points or 0) * len(sweep.repetitions())
    notes = dump_yaml({"planned": planned, "reference": sweep.reference()})
    with claimed(directory, SWEEP_FILE, to_yaml(sweep) + notes):
        record = _Record(directory, sweep)
        jobs = [trial for trial in examples if trial.number not in record.through()] if listed else None
        try:
            if jobs or (jobs is None and len(record.through()) < planned):
                # `cluster.actors` are a trial's; the features before them are extracted on all there is.
                options = cfg.resolved(examples[0].config)["cluster"] | {"actors": None}
                with Workers(**options, address=address, ready=lambda: _room(sweep, wait, progress)) as workers:
                    _trials(record, jobs, sources, workers, progress, on_report)
        except BaseException:
            with suppress(Exception):  # what it has is shown too; what is told is why it stopped
                record.write_all()
            raise
        return Sweep(directory, record.write_all(), planned)


def _room(sweep: SweepConfig, wait: float, progress: Progress) -> None:
    from swag_ray.cluster.tune import require_room

    require_room(sweep, wait, lambda: progress.phase("room", "waiting for a node that holds a trial"))


def _trials(
    record: _Record,
    jobs: list[Trial] | None,
    sources: dict[str, Source],
    workers: Workers,
    progress: Progress,
    on_report: Callable[[dict[str, Any]], None],
) -> None:
    """Everything that needs Ray: room for a trial, the features of all datasets, then the trials."""
    from swag_ray.cluster.tune import run_trials

    session = workers.session()
    for source in sources.values():
        prepare(source, workers, progress)
        workers.session_seeing(source.store.root)  # the trials' store, on whatever node they will be
    images = {key: (source.listing, source.spec) for key, source in sources.items()}

    sweep = record.sweep

    def told(report: dict[str, Any]) -> None:
        if progress.interrupted():
            raise KeyboardInterrupt
        if report["status"] != "running":
            record.keep(report)
            progress.advance()
        on_report(report)
        ended, steers = report["status"] == "done", sweep.algorithm == "optuna" or sweep.early_stopping is not None
        if ended and steers and sweep.metric not in report:
            raise InputError(f"metric: trials have no {sweep.metric} to go by (is it spelt so? has the pool labels?)")

    with progress.phase("trials", "trials"):
        if jobs is not None:
            progress.expect(len(jobs))
        run_trials(
            record.sweep, jobs, images, carry_out_trial, record.directory, session,
            history=record.history(), on_report=told,
        )  # fmt: skip


class _Record:
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
        from swag_ray.report.sweep import write_sweep_report  # plots: a second

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


def _sources(trials: list[Trial], progress: Progress) -> dict[str, Source]:
    """The images of every dataset, listed once, and every trial's split of them, tried once.

    Raises:
        InputError: anything that would stop a trial before it computes: the first such trial is named.
    """
    sources: dict[str, Source] = {}
    tried: set[str] = set()
    for trial in trials:
        config, key = trial.config, source_key(trial.config)
        if key not in sources:
            sources[key] = look(config, progress)
        split = json.dumps([key, config.random_seed, cfg.fields(config, "split", "memory", "score", "dataset")])
        if split not in tried:
            tried.add(split)
            split_table(config, sources[key].listing.table)
    return sources


def _check_directory(directory: Path, sweep: SweepConfig) -> None:
    """Refuse, touching nothing, a folder that cannot become or go on being this sweep's."""
    with writing(directory):
        existing = sorted(p.name for p in directory.iterdir()) if directory.exists() else []
        existing = [name for name in existing if name != f"{SWEEP_FILE}.tmp"]  # of a claim that was killed
    if SWEEP_FILE in existing:
        if _identity(read_yaml(directory / SWEEP_FILE)) != _identity(sweep.model_dump(mode="json")):
            raise InputError(f"--out: '{directory}' holds another sweep; choose another folder")
    elif existing:
        raise InputError(f"--out: '{directory}' holds something else ('{existing[0]}'); choose an empty or new folder")


def _identity(plain: dict[str, Any]) -> dict[str, Any]:
    base = {key: value for key, value in plain["base"].items() if key not in ("store", "cluster", "report")}
    return {key: value for key, value in plain.items() if key not in NOT_IDENTITY} | {"base": base}
