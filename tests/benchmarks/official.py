"""Last fits of the runs that are reported on official test splits, for studies that look at their scores."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from swag_ray.cluster.workers import RayWorkers
from swag_ray.config import load_config
from swag_ray.experiment.loop import incremental_loop
from swag_ray.experiment.prepare import prepare
from swag_ray.experiment.source import check_source
from swag_ray.methods.fit import Fit
from swag_ray.progress import Progress
from tests.benchmarks.measure import REPOSITORY

DATA = REPOSITORY.parent / "shared" / "data"
POOLS: dict[str, tuple[str, tuple[float | None, ...], int]] = {
    "pneumonia": ("chest_xray", (0.0, 0.05, 0.3, None), 5),
    "covid": ("covid_cxr", (0.05, 0.25), 3),
}


def official_fits(store: str, workers: RayWorkers) -> Iterator[tuple[str, Fit, NDArray[np.bool_]]]:
    """Yields (what it is, its last fit, which test images are anomalies) of every set, pool and random seed."""
    for name, (folder, pools, seeds) in POOLS.items():
        for contamination in pools:
            for random_seed in range(seeds):
                config = load_config(
                    str(REPOSITORY / f"configs/{name}.yaml"),
                    [
                        f"dataset.root={DATA / folder}", f"store={store}", f"random_seed={random_seed}",
                        f"dataset.contamination={'null' if contamination is None else contamination}",
                    ],
                )  # fmt: skip
                prepared = prepare(check_source(config, Progress()), workers, Progress())
                pool = "all" if contamination is None else f"{contamination:.0%}"
                last = incremental_loop(prepared.experiment).last
                yield f"{name}, {pool}: {random_seed}", last, prepared.audit.anomaly_T
