"""The trials of a sweep on Ray Tune: who suggests them, where they run, what they report.

A trial is one process that drives a run, and as many sample actors beside it as a run's `cluster.actors` says (one
where it says nothing: trials are what runs side by side). Both live in the trial's placement group, on one node.
Trials share a store; leases see to it that a stage that several need is computed once.
"""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import ray
from ray import tune
from ray.util.placement_group import placement_group, remove_placement_group

from swag_ray.cluster.capacity import Node, amount_text, cluster_nodes, count_fitting
from swag_ray.cluster.sample_actors import SamplePool
from swag_ray.cluster.session import Session
from swag_ray.cluster.tune.callbacks import MAX_TRIES, ReportCallback, loggers
from swag_ray.cluster.tune.early_stopping import scheduler
from swag_ray.cluster.tune.leases import LeasedStore, Leases
from swag_ray.cluster.tune.suggest import FixedTrials, OptunaPoints
from swag_ray.cluster.workers import RayWorkers, Workers
from swag_ray.config.sweep import SweepConfig, Trial, source_key
from swag_ray.errors import InputError
from swag_ray.features.spec import FeatureSpec
from swag_ray.record.run_metrics import RoundMetrics, RunMetrics
from swag_ray.record.trials_table import flat_metrics
from swag_ray.store.store import Store
from swag_ray.wording import plural

FOLDER = "tune"  # Ray Tune's own files, and TensorBoard's, in the sweep's directory
Report = dict[str, Any]
# (images of the trial's dataset, trial, store, workers, called with the metrics of every round) -> metrics
Work = Callable[[Any, Trial, Store, Workers, Callable[[RoundMetrics], None]], RunMetrics]


@dataclass(frozen=True)
class Shared:
    """What all trials of a sweep start from, as it travels to them.

    Attributes:
        sweep: the trials' configs follow from it.
        work: what a trial is.
        sources: by `source_key`, a reference to the listed images, so that no trial lists again.
        leases: the actor.
        actors, gpus_per_actor: sample actors of a trial.
    """

    sweep: SweepConfig
    work: Work
    sources: dict[str, Any]
    leases: Any
    actors: int
    gpus_per_actor: float


def bundles(actors: int, gpus_per_actor: float) -> list[dict[str, float]]:
    """What a trial's actors hold; its own process holds nothing, for it waits for them."""
    return [{"CPU": 1.0} | ({"GPU": gpus_per_actor} if gpus_per_actor else {}) for _ in range(actors)]


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
    gpus = session.gpus_per_actor
    actors = sweep_actors(sweep)
    shared = Shared(
        sweep, work, {key: ray.put(source) for key, source in sources.items()}, leases, actors, gpus,
    )  # fmt: skip
    group = tune.PlacementGroupFactory([{}, *bundles(actors, gpus)], strategy="STRICT_PACK")
    searcher = FixedTrials(jobs) if jobs is not None else OptunaPoints(sweep, history)
    slots = max(1, min(int(session.cpus) // actors, session.gpus // actors if gpus else session.cpus))
    environment = {
        "TUNE_MAX_PENDING_TRIALS_PG": str(slots),  # of those that wait, so many ask for nodes that are still to come
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    tell = ReportCallback(on_report)
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
                failure_config=tune.FailureConfig(max_failures=MAX_TRIES - 1),
                callbacks=[tell, *loggers(sweep)],
            ),
        ).fit()  # fmt: skip
    except Exception:
        if (refused := tell.end()) is not None:
            raise refused from None  # a full disk is one line, not Tune's stack
        raise
    finally:
        tell.end()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        ray.kill(leases)


def require_room(sweep: SweepConfig, wait: float, waiting: Callable[[], AbstractContextManager[None]]) -> None:
    """Refuse a sweep of which no trial could ever start.

    While it waits, a pending placement group asks an autoscaler for the node. It is this driver's own and goes with it;
    `request_resources` would replace what others asked for, and outlive a driver that is killed.

    Args:
        wait: seconds to wait for a node that is large enough.
        waiting: entered for as long as it waits.

    Raises:
        InputError: with the numbers.
    """
    actors, deadline = sweep_actors(sweep), time.monotonic() + wait
    gpus_to_come = bool((sweep.base.get("cluster") or {}).get("gpus"))
    with ExitStack() as stack:
        asking = False
        while True:
            nodes = cluster_nodes()
            gpus = 1.0 if gpus_to_come or any(node.gpus >= 1 for node in nodes) else 0.0
            kinds = {"CPU": float(actors)} | ({"GPU": actors * gpus} if gpus else {})
            if count_fitting(nodes, kinds):  # one node holds a whole trial
                return
            if time.monotonic() >= deadline:
                raise _no_room(nodes, actors, kinds)
            if not asking:
                asking = True
                stack.enter_context(waiting())
                group = placement_group(bundles(actors, gpus), strategy="STRICT_PACK")
                stack.callback(remove_placement_group, group)
            time.sleep(1)


def _no_room(nodes: Sequence[Node], actors: int, kinds: dict[str, float]) -> InputError:
    most = {kind: max((node.resources.get(kind, 0.0) for node in nodes), default=0.0) for kind in kinds}
    asked, there = (" and ".join(amount_text(*item) for item in amounts.items()) for amounts in (kinds, most))
    fewer = int(min(most.values()))
    return InputError(
        f"cluster.actors: a trial of {plural(actors, 'actor')} needs one node with {asked}, and of "
        f"{plural(len(nodes), 'node')} none has more than {there}",
        (f"set base.cluster.actors to {fewer} at most, or add a larger node" if fewer else "add such a node")
        + " (--wait MINUTES asks for one and waits)",
    )


def sweep_actors(sweep: SweepConfig) -> int:
    """Sample actors of each trial."""
    return int((sweep.base.get("cluster") or {}).get("actors") or 1)


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

            metrics = shared.work(source, trial, store, _workers(shared), told)
            computed = [list(entry) for entry in store.computed]
    except InputError as error:
        end = {"status": "failed", "error": " ".join(str(error).split())}
    except Exception as error:
        end = {"status": "failed", "error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    else:
        end = flat_metrics(metrics) | {
            "status": "done",
            "record": json.dumps(metrics.plain()),
            "computed": json.dumps(computed),
        }
    tune.report(head | end | {"seconds": time.perf_counter() - started})


def _workers(shared: Shared) -> Workers:
    """Workers on this process's sample actors, which outlive a trial."""
    global _pool
    if _pool is None:
        session = Session(shared.actors, int(shared.actors * shared.gpus_per_actor), shared.actors)
        _pool = SamplePool(session, "", "", [])
    return _TrialWorkers(_pool)


class _TrialWorkers(RayWorkers):
    """A trial extracts nothing: its cores are its sample actors'. What every node sees, the driver has asked."""

    def checked_session(self, root: str, images: Any = ()) -> Session:
        return self.session()

    def extract(self, store: Store, spec: FeatureSpec, images: Any, missing: dict[str, str], size: int) -> NoReturn:
        raise InputError(
            "store: features that were there when the sweep began are gone", "`--resume` extracts them again"
        )
