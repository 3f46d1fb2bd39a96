"""One, two and four emulated nodes with the same actors in all: the same figures, and what the nodes cost.

The nodes are processes on this machine (ray.cluster_utils.Cluster); only those that were started here are ended.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any

from numpy.typing import NDArray

from swag_ray.experiment import Rule, decide
from swag_ray.fits import contrast_fit, patch_bank_fit
from tests.benchmarks.material import described, identical, laboratory, start_actors
from tests.benchmarks.measure import Bench, Row

ACTORS = 4
STORE_BYTES = 100 * 2**20


@dataclass(frozen=True)
class Answer:
    """What a cluster computed, and the seconds of its start and of the work."""

    start: float
    work: float
    arrays: list[NDArray[Any]]
    nodes: int


def measure(bench: Bench) -> list[Row]:
    counts = (1, 2) if bench.quick else (1, 2, 4)
    answers = {}
    with laboratory(bench, "contrast"):
        pass  # extracts what is missing, on a Ray of its own
    for count in counts:
        folder = bench.folder / str(count)
        folder.mkdir()
        # A process each: the actors of a second cluster would have the names of the first's, whose handles still go.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            answers[count] = process.submit(on_nodes, replace(bench, folder=folder), count).result()
    same = "results equal" if identical([a.arrays for a in answers.values()]) else "RESULTS DIFFER"
    rows = []
    one = answers[1]
    for count in counts[1:]:
        a = answers[count]
        note = f"{described(bench)}: row 0 and fit 1 with {ACTORS} actors; {a.nodes} nodes used; {same}"
        rows += [
            Row("nodes", f"{count} emulated nodes", [a.work], [one.work], against="one node", note=note),
            Row("nodes", f"apart: start of {count} nodes", [a.start], [one.start], against="one node"),
        ]
    return rows


def on_nodes(bench: Bench, count: int) -> Answer:
    started = time.perf_counter()
    with _cluster(count) as address:
        start = time.perf_counter() - started
        with laboratory(bench, "contrast", address=address, actors=ACTORS) as (lab, _):
            used = len(start_actors(lab.workers, ACTORS))
            started = time.perf_counter()
            seed_bank = patch_bank_fit(lab, lab.cohort.seeds)
            first = decide(lab, 0, seed_bank, None, Rule())
            fit = contrast_fit(lab, 1, first.key, first.held, first.rejects, seed_bank)
            work = time.perf_counter() - started
    arrays = [seed_bank.s_N, seed_bank.s_TK, fit.s_N, fit.u_N, fit.s_TK, first.arrays["rejected"]]
    return Answer(start, work, arrays, used)


@contextmanager
def _cluster(count: int) -> Iterator[str]:
    """A cluster of `count` nodes that this process has joined; its nodes, and nothing else, end with it."""
    os.environ["RAY_AUTH_MODE"] = "disabled"  # it listens on this machine alone, for a minute
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        for _ in range(count):
            cluster.add_node(num_cpus=ACTORS // count, object_store_memory=STORE_BYTES, include_dashboard=False)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield str(cluster.address)
    finally:
        ray.shutdown()
        cluster.shutdown()
