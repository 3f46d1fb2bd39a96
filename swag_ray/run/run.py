"""A run: one config carried through to a run directory that holds everything worth keeping.

    from swag_ray import load_config, run_experiment
    run = run_experiment(load_config("configs/demo.yaml"), out="runs/demo")
    run.metrics["incremental"]["roc_auc"]

The directory is small; what took time is in the store, so a second call continues where the first was stopped.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swag_ray.cluster.address import check_address
from swag_ray.cluster.workers import RayWorkers
from swag_ray.config import Config, to_yaml
from swag_ray.experiment.pipeline import OnRound, run_pipeline, with_shards_repaired
from swag_ray.experiment.source import check_source
from swag_ray.progress import Progress
from swag_ray.record.directory import check_run_directory, claim
from swag_ray.record.files import CONFIG_FILE
from swag_ray.record.remote import run_folder
from swag_ray.run.manifest import profile_record, timing_record, write_records
from swag_ray.run.results import write_results


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        directory: the run directory, or the copy here of one on s3://.
        metrics: what metrics.json holds, as `record/run_metrics.py` describes it.
        address: the run directory as it was given.
    """

    directory: Path
    metrics: dict[str, Any]
    address: str


def run_experiment(
    config: Config,
    out: str | Path | None = None,
    *,
    address: str | None = None,
    profile: bool = False,
    progress: Progress | None = None,
    on_round: OnRound = lambda metrics: None,
) -> Run:
    """Carry out a config, or go on with it, and write its run directory.

    Args:
        config: from `load_config`.
        out: the run directory, a path or an s3:// address; default `runs/<name>`. One that holds a run of the same
            config is continued.
        address: a running Ray cluster (`auto` or HOST:PORT); None starts a local Ray, or uses the one this process has.
        profile: also write profile.json: where the time went, by phase, stage and actor.
        progress: what to show; None shows nothing.
        on_round: called with the metrics of every row of the loop as soon as it is there.

    Raises:
        InputError: anything about config, data, store or folder that stops the run; nothing is left half-written.
    """
    started = time.perf_counter()
    progress = progress or Progress()
    with run_folder(out if out is not None else Path("runs") / config.name) as folder:
        directory = folder.path
        check_run_directory(directory, config)
        if address is not None:
            check_address(address)
        source = check_source(config, progress)
        options = config.cluster.model_dump() | {"address": address}

        def attempt() -> dict[str, Any]:
            with RayWorkers(**options) as workers:
                result = run_pipeline(source, workers, progress, on_round)
                with progress.phase("evaluate", "writing the results"):
                    write_results(directory, result)
                profiled = profile_record(result.prepared, workers, progress) if profile else None
            result.metrics.timing = timing_record(progress, time.perf_counter() - started)
            write_records(directory, result, profiled)
            return result.metrics.plain()

        with claim(directory, CONFIG_FILE, to_yaml(config)), folder.uploaded():
            metrics = with_shards_repaired(source, progress, attempt)
            from swag_ray.report.run.page import write_report

            write_report(directory)
    return Run(directory, metrics, folder.shown)
