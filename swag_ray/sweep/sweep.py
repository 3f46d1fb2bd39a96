"""A sweep: many runs around one config, over datasets and seeds, sharing all the work they have in common.

    from swag_ray.sweep import load_sweep, run_sweep
    done = run_sweep(load_sweep("configs/ablation_small.yaml"), "sweeps/ablation")
    done.table.to_pandas()

The directory holds `sweep.yaml`, a folder a trial (config.yaml, metrics.json, trial.json, on demand scores.parquet),
`trials.parquet`, `sweep.html` and Ray Tune's own files. What took time is in the store: a sweep that was stopped goes
on at the stage that was in flight.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from swag_ray import config as cfg
from swag_ray.cluster.address import check_address
from swag_ray.cluster.workers import RayWorkers, Workers
from swag_ray.config.sweep import SweepConfig, Trial, load_sweep, source_key, to_yaml
from swag_ray.config.text import dump_yaml
from swag_ray.errors import InputError
from swag_ray.experiment.pipeline import OnRound, run_pipeline, with_shards_repaired
from swag_ray.experiment.prepare import prepare
from swag_ray.experiment.source import ImageSource, check_source, split_table
from swag_ray.experiment.tables import scores_table
from swag_ray.progress import Progress
from swag_ray.record.directory import claim
from swag_ray.record.files import SWEEP_FILE
from swag_ray.record.remote import is_remote
from swag_ray.record.run_metrics import RunMetrics
from swag_ray.store.store import Store
from swag_ray.store.use import in_use
from swag_ray.sweep.credentials import with_secrets_in_environment
from swag_ray.sweep.trial_log import TrialLog, check_sweep_directory

if TYPE_CHECKING:
    from swag_ray.cluster.tune.trials import Work

__all__ = ["Sweep", "load_sweep", "run_sweep"]


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
    scores: bool = False,
    progress: Progress | None = None,
    on_report: Callable[[dict[str, Any]], None] = lambda report: None,
) -> Sweep:
    """Run a sweep's trials, or those that are left of them, and write its directory.

    Args:
        out: the sweep's directory; default `sweeps/<name>`. One that holds the same sweep is continued.
        address: a running Ray cluster; None starts a local Ray, or uses the one this process has.
        wait: seconds to wait for a node that holds a trial, and to ask an autoscaler for one, where none does yet.
        scores: keep each trial's scores.parquet too, which travels to this process: some 100 bytes a test image.
        on_report: told every round of every trial, and every end.

    Raises:
        InputError: anything about config, data, store, cluster or folder that stops the sweep as a whole.
    """
    if out is not None and is_remote(out):
        raise InputError(f"--out: '{out}': a sweep's directory is a folder", "its store may be on s3:// (base.store)")
    directory = Path(out) if out is not None else Path("sweeps") / sweep.name
    if address is not None:
        check_address(address)
    as_kept = to_yaml(sweep)
    if sweep.loggers:  # what they lack is told before hours of work, not after the features
        from swag_ray.cluster.tune.callbacks import loggers

        sweep = with_secrets_in_environment(sweep)
        list(loggers(sweep))
    progress = progress or Progress()
    listed, examples = sweep.algorithm != "optuna", sweep.representative_trials()
    sources = _sources(examples, progress)
    planned = len(examples) if listed else (sweep.points or 0) * len(sweep.repetitions())
    notes = dump_yaml({"planned": planned, "reference": sweep.reference()})
    with claim(directory, SWEEP_FILE, as_kept + notes, partial(check_sweep_directory, directory, sweep)):
        record = TrialLog(directory, sweep)
        jobs = [trial for trial in examples if trial.number not in record.through()] if listed else None
        try:
            if jobs or (jobs is None and len(record.through()) < planned):
                # `cluster.actors` are a trial's; the features before them are extracted on all there is.
                options = cfg.resolved(examples[0].config)["cluster"] | {"actors": None}
                with ExitStack() as stack:
                    for store in {source.store.root: source.store for source in sources.values()}.values():
                        stack.enter_context(in_use(store))
                    ready = partial(_room, sweep, wait, progress)
                    workers = stack.enter_context(RayWorkers(**options, address=address, ready=ready))
                    work = partial(run_trial, scores=scores)
                    _trials(record, jobs, _embeddings(examples, sources), sources, work, workers, progress, on_report)
        except BaseException:
            with suppress(Exception):  # what it has is shown too; what is told is why it stopped
                record.write_all()
            raise
        return Sweep(directory, record.write_all(), planned)


def _room(sweep: SweepConfig, wait: float, progress: Progress) -> None:
    from swag_ray.cluster.tune.room import require_room

    require_room(sweep, wait, lambda: progress.phase("room", "waiting for a node that holds a trial"))


def _trials(
    record: TrialLog,
    jobs: list[Trial] | None,
    embeddings: list[ImageSource],
    sources: dict[str, ImageSource],
    work: Work,
    workers: RayWorkers,
    progress: Progress,
    on_report: Callable[[dict[str, Any]], None],
) -> None:
    """Everything that needs Ray: room for a trial, the features of all datasets and splits, then the trials."""
    from swag_ray.cluster.tune.trials import run_trials

    session = workers.session()
    for source in embeddings:
        with_shards_repaired(source, progress, partial(prepare, source, workers, progress))
        workers.checked_session(source.store.root)  # the trials' store, on whatever node they will be
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
            record.sweep, jobs, sources, work, record.directory, session,
            history=record.history(), on_report=told,
        )  # fmt: skip


def run_trial(
    source: ImageSource, trial: Trial, store: Store, workers: Workers, on_round: OnRound, *, scores: bool = False
) -> tuple[RunMetrics, pa.Table | None]:
    """Carries out a trial in its own process.

    Args:
        source: images of the trial's dataset, whose features are in the store.
        store: the config's.
        scores: whether its scores of the test images are asked for.

    Returns:
        The metrics that `swag-ray run` gives for the trial's config, timing apart, and the table scores.parquet.
    """
    own = replace(source, config=trial.config, store=store)
    result = with_shards_repaired(own, Progress(), lambda: run_pipeline(own, workers, Progress(), on_round))
    if not scores:
        return result.metrics, None
    prepared = result.prepared
    table = scores_table(prepared.experiment, prepared.audit, result.trajectory.last, result.controls)
    return result.metrics, table


def _embeddings(trials: list[Trial], sources: dict[str, ImageSource]) -> list[ImageSource]:
    """What is embedded before the first trial: every dataset, and auxiliary anomalies per choice of seeds."""
    found: dict[str, ImageSource] = {}
    for trial in trials:
        key, config = source_key(trial.config), trial.config
        seeds_and_kinds = ("random_seed", "split", "auxiliary.kind", "auxiliary.per_seed")
        own = cfg.fields(config, *seeds_and_kinds) if "auxiliary" in cfg.resolved(config) else {}
        found.setdefault(json.dumps([key, own]), replace(sources[key], config=config))
    return list(found.values())


def _sources(trials: list[Trial], progress: Progress) -> dict[str, ImageSource]:
    """The images of every dataset, listed once, and every trial's split of them, tried once.

    Raises:
        InputError: anything that would stop a trial before it computes: the first such trial is named.
    """
    sources: dict[str, ImageSource] = {}
    tried: set[str] = set()
    for trial in trials:
        config, key = trial.config, source_key(trial.config)
        if key not in sources:
            sources[key] = check_source(config, progress)
        split = json.dumps([key, config.random_seed, cfg.fields(config, "split", "memory", "score", "dataset")])
        if split not in tried:
            tried.add(split)
            split_table(config, sources[key].listing.table)
    return sources
