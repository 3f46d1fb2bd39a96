"""Last fits of the runs that are reported on official test splits, for studies that look at their scores."""

from __future__ import annotations

from collections.abc import Iterator

from swag_ray.cluster.workers import RayWorkers
from swag_ray.config import Config, load_config
from swag_ray.experiment.loop import incremental_loop
from swag_ray.experiment.prepare import Prepared, prepare
from swag_ray.experiment.source import check_source
from swag_ray.images.audit import Audit
from swag_ray.methods.fit import Fit
from swag_ray.progress import Progress
from tests.benchmarks.measure import REPOSITORY

DATA = REPOSITORY.parent / "shared" / "data"
SPLITS = 5
POOLS: dict[str, tuple[str, tuple[float | None, ...]]] = {
    "pneumonia": ("chest_xray", (0.0, 0.05, 0.3, None)),
    "covid": ("covid_cxr", (0.05, 0.25)),
}


def official_fits(store: str) -> Iterator[tuple[str, Fit, Audit]]:
    """Yields (what it is, its last fit, its labels) of every set, pool and random seed."""
    with RayWorkers() as workers:  # extraction first: the actors that fit would hold its cores
        for _, config in _configs(store):
            _prepared(config, workers)
    with RayWorkers() as workers:
        for name, config in _configs(store):
            prepared = _prepared(config, workers)
            yield name, incremental_loop(prepared.experiment).last, prepared.audit


def _configs(store: str) -> Iterator[tuple[str, Config]]:
    for name, (folder, pools) in POOLS.items():
        for contamination in pools:
            for random_seed in range(SPLITS):
                share = "null" if contamination is None else f"{contamination}"
                config = load_config(
                    str(REPOSITORY / f"configs/{name}.yaml"),
                    [
                        f"dataset.root={DATA / folder}", f"store={store}", f"random_seed={random_seed}",
                        f"dataset.contamination={share}",
                    ],
                )  # fmt: skip
                yield f"{name}, {'all' if contamination is None else share}: {random_seed}", config


def _prepared(config: Config, workers: RayWorkers) -> Prepared:
    return prepare(check_source(config, Progress()), workers, Progress())
