"""What HTTP and Ray Serve add to scoring an image: `swag-ray serve` against the same scorer in one process.

One client against one caller, and eight clients against eight threads that share one scorer, in turns on one machine;
then the eight clients while one of two nodes is killed.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from swag_ray.run.run import run_experiment
from swag_ray.score.scorer import ImageBytes, ImageScorer
from tests.benchmarks.material import config, described, images
from tests.benchmarks.measure import Bench, Goal, Row, Skip
from tests.support.ray_nodes import Nodes
from tests.support.service import Served

CLIENTS = 8
REQUESTS = 200
GOAL = Goal(1.5)


@dataclass
class Side:
    """One side of a comparison: the median seconds of a request, and requests a second, of each repetition."""

    median: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)

    longest: list[float] = field(default_factory=list)

    def measure(self, ask: Callable[[bytes], object], files: list[bytes], callers: int) -> None:
        def timed(data: bytes) -> float:
            start = time.perf_counter()
            ask(data)
            return time.perf_counter() - start

        start = time.perf_counter()
        with ThreadPoolExecutor(callers) as threads:
            seconds = list(threads.map(timed, files))
        self.median.append(statistics.median(seconds))
        self.longest.append(max(seconds))
        self.rate.append(len(files) / (time.perf_counter() - start))


def measure(bench: Bench) -> list[Row]:
    if bench.xrays is None:
        raise Skip("no X-rays beside the repository")
    out = bench.folder / "run"
    run_experiment(config(bench, "contrast", "rounds=1", "controls=[]"), out)
    scorer = ImageScorer.load(out / "detector")
    paths = images(bench, REQUESTS // 4 if bench.quick else REQUESTS)
    files = [path.read_bytes() for path in paths]
    rows = []

    def in_process(data: bytes) -> object:
        return scorer.score([ImageBytes.of(paths[0], data)])[0].score

    with Served(bench.folder, out, "--replicas", bench.cores) as served:
        over_http = asking(served)
        assert [in_process(data) for data in files[:8]] == [over_http(data) for data in files[:8]]
        for callers in (1, CLIENTS):
            ours, reference = Side(), Side()
            for _ in range(bench.repetitions(3)):
                reference.measure(in_process, files, callers)
                ours.measure(over_http, files, callers)
            whom = "one client" if callers == 1 else f"{callers} clients"
            against = "one caller in a process" if callers == 1 else f"{callers} threads in a process"
            note = f"{len(files)} X-rays, {bench.cores} replicas; the detector of {described(bench)}"
            rows += [
                Row("service", f"median of a request, {whom}", ours.median, reference.median, against=against,
                    goal=GOAL, note=note),
                Row("service", f"images a second, {whom}", ours.rate, reference.rate, unit="images/s", kind="rate",
                    against=against),
            ]  # fmt: skip
    killed = _with_a_node_killed(bench, out, files, [in_process(data) for data in files])
    note = f"all answers right; the longest took {killed.longest[0]:.1f} s; the node did not come again"
    against = f"{CLIENTS} threads in a process, as above"
    return [
        *rows,
        Row("service", f"median, {CLIENTS} clients, one of two nodes killed", killed.median, reference.median[-1:],
            against=against, goal=GOAL, note=note),
    ]  # fmt: skip


def asking(served: Served) -> Callable[[bytes], object]:
    client = served.client()

    def over_http(data: bytes) -> object:
        answer = client.post("/score", content=data)
        assert answer.status_code == 200, answer.text
        return answer.json()["score"]

    return over_http


def _with_a_node_killed(bench: Bench, out: Path, files: list[bytes], right: list[object]) -> Side:
    """The requests while the second of two nodes, each with a replica, is killed at the fourth part of them."""
    side, answered, killed = Side(), itertools.count(), threading.Event()
    with Nodes(1, 1) as nodes, Served(bench.folder, out, "--address", nodes.address) as served:
        over_http, found = asking(served), {}

        def ask(data: bytes) -> None:
            found[data] = over_http(data)
            if next(answered) == len(files) // 4:
                killed.set()

        def kill() -> None:
            killed.wait()
            nodes.tell("lose 0")

        killer = threading.Thread(target=kill)
        killer.start()
        side.measure(ask, files, CLIENTS)
        killer.join()
    assert [found[data] for data in files] == right
    return side
