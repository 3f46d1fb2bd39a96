"""How long one waits before anything happens: the command line, imports, Ray, the sample actors."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.measure import REPOSITORY, Bench, Goal, Row, interleaved
from tests.support.images import PATIENT

SCRIPT = Path(sys.executable).with_name("swag-ray")


def measure(bench: Bench) -> list[Row]:
    command = [str(SCRIPT)] if SCRIPT.exists() else [sys.executable, "-m", "swag_ray.cli"]
    repetitions = 3 if bench.quick else 9
    seconds, _ = interleaved(
        {
            "help": lambda: _process([*command, "--help"]),
            "pass": lambda: _process([sys.executable, "-c", "pass"]),
        },
        repetitions,
    )
    rows = [
        Row("startup", "swag-ray --help", seconds["help"], seconds["pass"], against="python -c pass",
            goal=Goal(0.5, of="ours"))
    ]  # fmt: skip
    imports = {"imports of a run": "import swag_ray.run", "torch alone": "import torch"}
    for name, statement in list(imports.items())[: 1 if bench.quick else 2]:
        seconds, _ = interleaved(
            {"ours": lambda statement=statement: _process([sys.executable, "-c", statement])}, bench.repetitions(3)
        )
        rows.append(Row("startup", name, seconds["ours"]))
    return [*rows, *_listing(bench), *_ray(bench)]


def _listing(bench: Bench) -> list[Row]:
    """A set that the store knows against one that is new, both in the page cache; a disk takes longer."""
    if bench.xrays is None:
        return []
    from swag_ray.images.folders import list_folder
    from swag_ray.images.known import KnownFiles

    root = bench.xrays

    def listed(table: KnownFiles) -> KnownFiles:
        list_folder(root, normal="NORMAL", anomaly=["PNEUMONIA"], group=PATIENT, known=table)
        return table

    data = listed(KnownFiles()).data()
    sides = {"known": lambda: listed(KnownFiles(data)), "new": lambda: listed(KnownFiles()).data()}
    seconds, returned = interleaved(sides, bench.repetitions(9))
    assert not returned["known"].changed
    return [
        Row("startup", "listing the X-rays again", seconds["known"], seconds["new"], against="the first time, hashed",
            goal=Goal(0.3), note="all in the page cache")
    ]  # fmt: skip


def _ray(bench: Bench) -> list[Row]:
    from swag_ray.cluster.sample_actors import SamplePool
    from swag_ray.cluster.session import ray_session
    from tests.benchmarks.material import start_actors

    started, actors = [], []
    for _ in range(bench.repetitions(3)):
        start = time.perf_counter()
        with ray_session(cpus=bench.cores) as session:
            started.append(time.perf_counter() - start)
            start = time.perf_counter()
            with SamplePool(session, str(bench.folder), "none", []) as pool:
                start_actors(pool, session.actors)
                actors.append(time.perf_counter() - start)
    return [Row("startup", "Ray", started), Row("startup", f"{bench.cores} sample actors", actors)]


def _process(command: list[str]) -> None:
    subprocess.run(command, check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
