"""What HTTP and Ray Serve add to scoring an image: `swag-ray serve` against the same scorer in one process.

One client against one caller, and eight clients against eight threads that share one scorer, in turns on one machine.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from swag_ray.run.run import run_experiment
from swag_ray.score.scorer import ImageBytes, ImageScorer
from tests.benchmarks.material import config, described, images
from tests.benchmarks.measure import Bench, Goal, Row, Skip
from tests.support.service import Served

CLIENTS = 8
REQUESTS = 200
GOAL = Goal(1.5)


@dataclass
class Side:
    """One side of a comparison: the median seconds of a request, and requests a second, of each repetition."""

    median: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)

    def measure(self, ask: Callable[[bytes], object], files: list[bytes], callers: int) -> None:
        def timed(data: bytes) -> float:
            start = time.perf_counter()
            ask(data)
            return time.perf_counter() - start

        start = time.perf_counter()
        with ThreadPoolExecutor(callers) as threads:
            seconds = list(threads.map(timed, files))
        self.median.append(statistics.median(seconds))
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
    with Served(bench.folder, out, "--replicas", bench.cores) as served, served.client() as client:

        def in_process(data: bytes) -> object:
            return scorer.score([ImageBytes.of(paths[0], data)])[0].score

        def over_http(data: bytes) -> object:
            answer = client.post("/score", content=data)
            assert answer.status_code == 200, answer.text
            return answer.json()["score"]

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
    return rows
