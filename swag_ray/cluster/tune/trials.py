"""The trials of a sweep on Ray Tune: who suggests them, where they run, what they report.

A trial is one process that drives a run, and as many sample actors beside it as a run's `cluster.actors` says (one
where it says nothing: trials are what runs side by side). Both live in the trial's placement group, on one node.
Trials share a store; leases see to it that a stage that several need is computed once.
"""

from __future__ import annotations

import json
import os
import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray import tune

from swag_ray.cluster.capacity import (
    Bundle,
    cluster_nodes,
    count_fitting,
    largest_share,
)
from swag_ray.cluster.extraction import ShardExtractor, WorkItems
from swag_ray.cluster.sample_actors import SamplePool
from swag_ray.cluster.session import Session
from swag_ray.cluster.tune.callbacks import MAX_TRIES, ReportCallback, Told, loggers
from swag_ray.cluster.tune.early_stopping import scheduler
from swag_ray.cluster.tune.leases import LeasedStore, Leases
from swag_ray.cluster.tune.room import sweep_actors
from swag_ray.cluster.tune.suggest import FixedTrials, OptunaPoints, as_job
from swag_ray.cluster.workers import RayWorkers, Workers
from swag_ray.config.sweep import SweepConfig, Trial, source_key
from swag_ray.errors import InputError, StorageError
from swag_ray.features.recipe import Recipe
from swag_ray.features.spec import FeatureSpec
from swag_ray.masking import masked
from swag_ray.record.run_metrics import RoundMetrics, RunMetrics
from swag_ray.record.trials_table import SCORES, as_text, flat_metrics
from swag_ray.store.store import Store
from swag_ray.system.files import private_files

FOLDER = "tune"  # Ray Tune's own files, and TensorBoard's, in the sweep's directory
NOT_TOLD = "what it says may name files (report.anonymous); run the trial's config alone to see it"
Report = dict[str, Any]
# (images of the trial's dataset, trial, store, workers, called with the metrics of every round) -> metrics, scores
Work = Callable[[Any, Trial, Store, Workers, Callable[[RoundMetrics], None]], tuple[RunMetrics, pa.Table | None]]


@dataclass(frozen=True)
class Shared:
    """What all trials of a sweep start from, as it travels to them.

    Attributes:
        sweep: the trials' configs follow from it.
        work: what a trial is.
        sources: by `source_key`, a reference to the listed images, so that no trial lists again.
        leases: the actor.
        actors, bundle: sample actors of a trial, and what Ray reserves for each.
    """

    sweep: SweepConfig
    work: Work
    sources: dict[str, Any]
    leases: Any
    actors: int
    bundle: Bundle


def run_trials(
    sweep: SweepConfig,
    jobs: list[Trial] | None,
    sources: Mapping[str, Any],
    work: Work,
    directory: Path,
    session: Session,
    *,
    history: list[Report],
    on_report: Callable[[Report], None],
) -> None:
    """Run these trials, or those that the sweep's algorithm suggests, to their ends.

    Args:
        jobs: the trials still to run, in order; None lets the algorithm suggest.
        sources: by `source_key`, the images of each dataset, whose features are in the store.
        work: what a trial is, importable on the workers.
        history: final reports of trials that ran before, for the algorithm to learn from.
        on_report: told every round's figures and every end, as soon as it is there.
    """
    leases = Leases.remote()  # type: ignore[attr-defined]
    actors = sweep_actors(sweep)
    bundle = largest_share(cluster_nodes(), session.bundle, actors)
    without_loggers = sweep.model_copy(update={"loggers": {}})  # the trials' reports are told here, and so are secrets
    shared = Shared(
        without_loggers, work, {key: ray.put(source) for key, source in sources.items()}, leases, actors, bundle,
    )  # fmt: skip
    # A trial's own process holds nothing, because it waits for its actors.
    group = tune.PlacementGroupFactory([{}, *[dict(bundle)] * actors], strategy="STRICT_PACK")
    searcher: FixedTrials | OptunaPoints
    if jobs is None:
        searcher = OptunaPoints(sweep, history)
    else:
        searcher = FixedTrials([as_job(job.number, job.dataset, job.random_seed, job.point) for job in jobs])
    slots = max(1, count_fitting(cluster_nodes(), {kind: actors * amount for kind, amount in bundle.items()}))
    try:
        with private_files(), _tune_environment(slots):  # Tune's own files hold the trials' reports
            for left in reversed(range(MAX_TRIES)):
                told = Told(on_report)
                callback = ReportCallback(told, anonymous=sweep.anonymous, last=left == 0)
                try:
                    _run_tuner(shared, group, searcher, directory, [callback, *loggers(sweep)])
                except Exception:
                    if told.refused is not None:
                        raise told.refused from None  # a full disk is one line, not Tune's stack
                    raise
                finally:
                    callback.end()
                if not told.given_up:
                    break
                searcher = FixedTrials(told.given_up)
    finally:
        ray.kill(leases)


@contextmanager
def _tune_environment(slots: int) -> Iterator[None]:
    """Ray Tune's settings that are variables of this process, for the length of the block.

    Args:
        slots: trials that the nodes hold.
    """
    environment = {
        "TUNE_MAX_PENDING_TRIALS_PG": str(slots),  # of those that wait, so many ask for nodes that are still to come
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _run_tuner(
    shared: Shared,
    group: tune.PlacementGroupFactory,
    searcher: FixedTrials | OptunaPoints,
    directory: Path,
    callbacks: list[Any],
) -> None:
    """Run what the searcher suggests, each trial in this placement group."""
    sweep = shared.sweep
    try:
        tune.Tuner(
            tune.with_resources(tune.with_parameters(_trial, shared=shared), group),
            tune_config=tune.TuneConfig(
                search_alg=searcher, scheduler=scheduler(sweep), num_samples=searcher.count,
                max_concurrent_trials=sweep.concurrent, reuse_actors=sweep.early_stopping is None,
                trial_dirname_creator=lambda trial: f"{trial.config['trial']:04d}",
                trial_name_creator=lambda trial: f"{trial.config['trial']:04d}",
            ),
            run_config=tune.RunConfig(
                name=FOLDER, storage_path=str(directory.absolute()), verbose=0,
                failure_config=tune.FailureConfig(max_failures=MAX_TRIES - 1), callbacks=callbacks,
            ),
        ).fit()  # fmt: skip
    finally:
        _remove_tune_state(directory / FOLDER)


def _remove_tune_state(folder: Path) -> None:
    """Removes what Ray Tune would go on with. It names stores and folders, and a sweep has a record of its own."""
    for pattern in ("*.pkl", "experiment_state-*", "search_gen_state-*", "searcher-state-*", "*/params.pkl"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


_pool: SamplePool | None = None  # of this trial process, which runs one trial after the other


def _trial(config: dict[str, Any], shared: Shared) -> None:
    """One trial, in its own process. What goes wrong in it is its result, and no reason to try again."""
    started = time.perf_counter()
    number = int(config["trial"])
    point = {field: config[field] for field in shared.sweep.search}
    head = {
        "trial": number,
        "dataset": config["dataset"],
        "random_seed": config["random_seed"],
        "point": json.dumps(point),
    }
    try:
        trial = shared.sweep.trial(number, point, config["dataset"], config["random_seed"])
        with LeasedStore(trial.config.store, shared.leases, trial.name) as store:
            source = ray.get(shared.sources[source_key(trial.config)])

            def told(row: RoundMetrics) -> None:
                tune.report(head | {"status": "running"} | flat_metrics(RunMetrics(rounds=[row])))

            metrics, scores = shared.work(source, trial, store, _workers(shared), told)
            computed = [list(entry) for entry in store.computed]
    except Exception as error:
        end = failure(error, anonymous=shared.sweep.anonymous)
    else:
        end = flat_metrics(metrics) | {
            "status": "done",
            "record": json.dumps(metrics.plain()),
            "computed": json.dumps(computed),
        }
        if scores is not None:
            end[SCORES] = as_text(scores)
    tune.report(head | end | {"seconds": time.perf_counter() - started})


def failure(error: Exception, *, anonymous: bool) -> Report:
    """What a trial reports that could not end: status, error and, for a fault of ours, the traceback.

    Args:
        anonymous: leaves out what the error says, which may name files: its kind, field and place are told.
    """
    kind, trace = type(error).__name__, None if isinstance(error, InputError) else error.__traceback__
    if anonymous:
        field = re.match(r"(--)?[a-z_]+(\.[a-z_]+)*(?=:)", str(error))
        said = f"{field[0] if field and isinstance(error, InputError) else kind}: {NOT_TOLD}"
        lines = ["".join(traceback.format_tb(trace)), said]
    else:
        said = " ".join(str(error).split()) if isinstance(error, InputError) else f"{kind}: {error}"
        lines = traceback.format_exception(error)
    told = {"status": "failed", "error": masked(said)}
    return told if trace is None else told | {"traceback": masked("".join(lines))}


def _workers(shared: Shared) -> Workers:
    """Workers on this process's sample actors, which outlive a trial."""
    global _pool
    if _pool is None:
        session = Session(shared.actors, 0, shared.actors, shared.bundle)
        _pool = SamplePool(session, "", "", [])
    return _TrialWorkers(_pool)


class _TrialWorkers(RayWorkers):
    """A trial's cores are its sample actors', and what every node sees, the driver has asked. Features are there when
    a sweep begins; a shard that is damaged or gone since is extracted again on the trial's own sample actors.
    """

    def checked_session(self, root: str, images: Any = ()) -> Session:
        return self.session()

    def extract(
        self, store: Store, spec: FeatureSpec, images: Any, missing: Sequence[Recipe], size: int
    ) -> Iterator[tuple[int, int, float]]:
        assert self._borrowed_pool is not None
        yield from self._borrowed_pool.map(_extract_shard, WorkItems(missing, size), store.root, spec)


def _extract_shard(reader: Any, item: dict[str, Any], root: str, spec: FeatureSpec) -> tuple[int, int, float]:
    """(actor, images, seconds) of a shard that was written by a sample actor."""
    done = ShardExtractor(root, spec)({name: [value] for name, value in item.items()})
    if done["problem"][0]:
        raise (StorageError if done["storage"][0] else InputError)(str(done["problem"][0]), str(done["advice"][0]))
    return int(done["actor"][0]), int(done["count"][0]), float(done["seconds"][0])
