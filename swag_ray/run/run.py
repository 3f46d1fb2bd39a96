"""A run: one config carried through to a run directory that holds everything worth keeping.

    from swag_ray import load_config, run_experiment
    run = run_experiment(load_config("configs/demo.yaml"), out="runs/demo")
    run.metrics["incremental"]["roc_auc"]
    run.pool.head()

The directory is small; what took time is in the store, so a second call continues where the first was stopped.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from swag_ray.cluster.address import check_address
from swag_ray.cluster.workers import RayWorkers
from swag_ray.config import Config
from swag_ray.experiment.pipeline import OnRound, run_pipeline, with_shards_repaired
from swag_ray.experiment.source import check_source
from swag_ray.progress import Progress
from swag_ray.record.changes import read_changes, write_changes
from swag_ray.record.files import CHANGES_FILE
from swag_ray.record.remote import RunFolder, run_folder
from swag_ray.record.run_directory import whole_run
from swag_ray.run.finished import Run
from swag_ray.run.manifest import profile_record, timing_record, write_records
from swag_ray.run.results import write_results
from swag_ray.store.use import in_use


def run_experiment(
    config: Config,
    out: str | Path | None = None,
    *,
    overwrite: bool = False,
    address: str | None = None,
    profile: bool = False,
    progress: Progress | None = None,
    on_round: OnRound = lambda metrics: None,
) -> Run:
    """Carry out a config, or go on with it, and write its run directory.

    Args:
        config: from `load_config`.
        out: the run directory, a path or an s3:// address; default `runs/<name>`. One that holds a run goes on where
            only `store`, `cluster`, `report` and `controls` differ or `rounds` grows; its figures stay until the new
            ones are whole. For any other config the default becomes `runs/<name>-2`, and a given one is refused.
        overwrite: replace the run of another config instead. Foreign files are refused all the same.
        address: a running Ray cluster (`auto` or HOST:PORT); None starts a local Ray, or uses the one this process has.
        profile: also write profile.json: where the time went, by phase, stage and actor.
        progress: what to show; None shows nothing.
        on_round: called with the metrics of every row of the loop as soon as it is there.

    Raises:
        InputError: anything about config, data, store or folder that stops the run; nothing is left half-written.
    """
    started = time.perf_counter()
    progress = progress or Progress()
    if address is not None:
        check_address(address)
    source = check_source(config, progress)
    options = config.cluster.model_dump() | {"address": address}
    with run_folder(out, config, overwrite) as folder:
        source = replace(source, config=folder.config)
        _tell_kept_controls(config, folder, progress)

        def attempt() -> dict[str, Any]:
            with whole_run(folder.path) as draft:
                with RayWorkers(**options) as workers:
                    result = run_pipeline(source, workers, progress, on_round)
                    with progress.phase("evaluate", "writing the results"):
                        write_results(draft, result)
                        write_changes(folder.path, draft, folder.config)
                    profiled = profile_record(result.prepared, workers, progress) if profile else None
                result.metrics.timing = timing_record(progress, time.perf_counter() - started)
                write_records(draft, result, profiled)
            return result.metrics.plain()

        with folder.claimed(), in_use(source.store):
            metrics = with_shards_repaired(source, progress, attempt)
            folder.send_results()
        # Not before the results are safe: a report that fails can be drawn again.
        from swag_ray.report.run.page import write_report

        write_report(folder.path)
        folder.send_report()
        directory = folder.path if folder.remote is None else None
        return Run(directory, metrics, folder.shown, read_changes(folder.path / CHANGES_FILE))


def _tell_kept_controls(config: Config, folder: RunFolder, progress: Progress) -> None:
    kept = [name for name in folder.config.controls if name not in config.controls]
    if kept:
        progress.warning(f"controls: '{folder.shown}' has {', '.join(kept)} already; they are kept")
