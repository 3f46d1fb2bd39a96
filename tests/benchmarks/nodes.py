"""One experiment on 1, 2 and 4 emulated nodes with as many actors and cores in all: equal results, and what the way
between nodes costs. Nodes are raylets on this machine, so a network's own delay is not in it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq

from swag_ray.run.run import run_experiment
from tests.benchmarks.material import config, described, own_store
from tests.benchmarks.measure import Bench, Row, Skip
from tests.support.ray_nodes import emulated

NODES = (1, 2, 4)
ACTORS = 4  # in all, on any number of nodes
TABLES = ("rounds.parquet", "scores.parquet")


def measure(bench: Bench) -> list[Row]:
    if bench.quick:
        raise Skip("not in the quick round: every cluster takes ten seconds to start")
    seconds: dict[int, list[float]] = {nodes: [] for nodes in NODES}
    results = []
    for _ in range(bench.repetitions(2)):
        for nodes in NODES:
            spent, tables = _run(bench, nodes)
            seconds[nodes].append(spent)
            results.append(tables)
    same = all(other == results[0] for other in results)
    what = f"{ACTORS} actors in all over {described(bench)}, 2 rounds; " + (
        "results equal" if same else "RESULTS DIFFER"
    )
    return [
        Row("nodes", f"row 0, rounds and last fit, {nodes} nodes", spent, seconds[1], against="one node", note=what)
        for nodes, spent in seconds.items()
        if spent and nodes > 1
    ]


def _run(bench: Bench, nodes: int) -> tuple[float, list[object]]:
    """Seconds of the loop, without start-up, and the tables of results."""
    out = bench.folder / "run"
    store = own_store(bench, "contrast", f"store-{nodes}")
    settings = config(
        bench, "contrast", f"store={store}", "rounds=2", "controls=[seed_only]", f"cluster.actors={ACTORS}",
    )  # fmt: skip
    with emulated(*[ACTORS // nodes] * nodes) as cluster:
        run = run_experiment(settings, out, address=cluster.address)
    tables = [pq.read_table(Path(out) / name) for name in TABLES]
    shutil.rmtree(out)
    shutil.rmtree(store)
    return float(run.metrics["timing"]["fits"]), tables
