"""Pools of 5,000, 20,000 and 100,000 images: peak memory of the driver and of the actors, and the time; and what
`tests/benchmarks/scaling` reckons with: bytes on disk, and who works how long.

    python -m tests.benchmarks.pool_size SHARED STORE IMAGES    one loop on a pool of so many, in this process
    python -m tests.benchmarks.pool_size --list FOLDER          list the image files of a folder, in this process

The feature store is made of real images' features mixed in pairs, in the project's own format; it is removed
afterwards. Seeds are mixed of trusted images, the pool of all: only so are there rejects, and heads to fit. What a
process holds for itself is counted (anonymous memory), and its whole resident set beside it, in which pages of shards
and of the object store count that the system may drop or that others share.

Shapes: N images, P patches, C channels.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from swag_ray.cluster.workers import RayWorkers, Workers
from swag_ray.config import Config
from swag_ray.experiment.loop import incremental_loop
from swag_ray.features.cohort import build_cohort
from swag_ray.features.index import LARGE_SHARD, MANY, SHARD, feature_set
from swag_ray.features.reader import Patches
from swag_ray.features.recipe import Recipe
from swag_ray.features.shards import shard_table, write_shard
from swag_ray.features.spec import FeatureSpec
from swag_ray.images.folders import list_folder
from swag_ray.images.split import make_split
from swag_ray.methods.fit import Experiment
from swag_ray.progress import Progress
from swag_ray.store.store import Store
from swag_ray.system.allocator import give_back_freed_memory
from tests.benchmarks.material import config, in_process, start_actors
from tests.benchmarks.measure import REPOSITORY, Bench, Goal, Row, Skip
from tests.support.processes import descendants

SPEC = FeatureSpec("mixed", "none", "none", 256, (8, 16, 32), 8)  # names the store; nobody extracts with it
SEEDS, TESTS, SOURCE = 400, 200, 2_000
NORMALS = SEEDS + 1  # a pool without any normal is refused
PARTS = ("row 0", "round 1", "the last fit")  # of a loop of one round
MB = 2**20


def measure(bench: Bench) -> list[Row]:
    if bench.quick:
        raise Skip("not in the quick round: a pool of 100,000 takes minutes and 7 GB of disk")
    if not Path("/proc/self/status").exists():
        raise Skip("needs /proc to see the memory of the actors")
    sizes = [n for n in (5_000, 20_000, 100_000) if shutil.disk_usage(bench.folder).free > 2 * n * 61_000]
    peaks = {size: _peaks(bench, size) for size in sizes}
    rows = []
    small = peaks[sizes[0]]
    for size in sizes[1:]:
        p = peaks[size]
        rows += [
            Row("pool size", f"driver's peak memory, pool of {size:,}", [p.own["driver"]], [small.own["driver"]],
                unit="MB", against=f"pool of {sizes[0]:,}", goal=Goal(1.3) if size == 100_000 else None,
                note=f"resident set {p.resident['driver']:.0f} MB against {small.resident['driver']:.0f} MB"),
            Row("pool size", f"largest actor's peak memory, pool of {size:,}", [p.own["actor"]], [small.own["actor"]],
                unit="MB", against=f"pool of {sizes[0]:,}",
                note=f"resident set {p.resident['actor']:.0f} MB against {small.resident['actor']:.0f} MB"),
            Row("pool size", f"row 0, one round, last fit, pool of {size:,}", [p.seconds / size * 1e3],
                [small.seconds / sizes[0] * 1e3], unit="ms/image", against=f"pool of {sizes[0]:,}",
                note=f"{p.seconds:.0f} s in all; heads {'fitted' if p.spent['head_on'] else 'OFF: no likely anomaly'}"),
        ]  # fmt: skip
    return [*rows, *(row for size in sizes for row in [*_work(size, peaks[size]), *_listing(bench, size)])]


def _work(size: int, p: Peaks) -> list[Row]:
    """Where the seconds of one loop went, by whom, and what its pool takes on disk."""
    own = {
        "driver before the loop: split, index, cohort": p.spent["prepare"],
        "driver's processor time in the loop": p.spent["driver"],
        **{f"actors at work in {work}": seconds for work, seconds in p.spent["actors"].items()},
    }
    rows = [Row("pool size", f"{name}, pool of {size:,}", [seconds]) for name, seconds in own.items()]
    return [
        *rows,
        Row("pool size", f"store on disk, pool of {size:,}", [p.stored / sizes_of(size)[0]], unit="bytes/image"),
    ]


def _listing(bench: Bench, size: int) -> list[Row]:
    """What listing so many files takes; of some bytes each, for reading larger ones is the disk's business."""
    root = bench.folder / "files"
    for i in range(size):
        split, name = ("train", "test")[i // 2 % 10 == 0], ("NORMAL", "PNEUMONIA")[i % 2]
        folder = root / split / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"person{i}_bacteria_{i}.jpeg").write_bytes(f"{i}".encode())
    command = [sys.executable, "-m", "tests.benchmarks.pool_size", "--list", str(root)]
    out = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True).stdout
    shutil.rmtree(root)
    found = json.loads(out.splitlines()[-1])
    return [
        Row("pool size", f"listing, {size:,} small files", [found["seconds"]]),
        Row("pool size", f"driver's memory for listing, {size:,} files", [found["mb"]], unit="MB"),
    ]


@dataclass
class Peaks:
    """Largest memory seen, MB, by `driver`, `actor` (the largest one) and `bank`; seconds of the loop; bytes of the
    feature shards; `spent`: what `run_loop` says.
    """

    own: dict[str, float] = field(default_factory=dict)
    resident: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    stored: int = 0
    spent: dict[str, Any] = field(default_factory=dict)

    def look(self, role: str, pid: int) -> None:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            return  # gone meanwhile
        held = {line.split(":")[0]: float(line.split()[1]) / 1024 for line in lines if line.endswith(" kB")}
        self.own[role] = max(self.own.get(role, 0.0), held.get("RssAnon", 0.0))
        self.resident[role] = max(self.resident.get(role, 0.0), held.get("VmHWM", 0.0))


def _peaks(bench: Bench, size: int) -> Peaks:
    """Make the pool, run the loop on it in another process, watch that one and its actors."""
    root = bench.folder / "mixed"
    make_store(root, *_source(bench), size)
    peaks = Peaks(stored=sum(file.stat().st_size for file in (root / "features").rglob("*.parquet")))
    command = [sys.executable, "-m", "tests.benchmarks.pool_size", str(bench.store), str(root), str(size)]
    if bench.xrays is not None:
        command.append(str(bench.xrays))
    child = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    watcher = threading.Thread(target=_watch, args=(peaks, child), daemon=True)
    watcher.start()
    out, _ = child.communicate()
    watcher.join()
    shutil.rmtree(root)
    if child.returncode:
        raise RuntimeError(f"the loop on a pool of {size} ended with exit code {child.returncode}")
    peaks.spent = json.loads(out.splitlines()[-1])
    peaks.seconds = float(peaks.spent["seconds"])
    return peaks


def _watch(peaks: Peaks, child: subprocess.Popen[str]) -> None:
    while child.poll() is None:
        peaks.look("driver", child.pid)
        for pid, command in descendants(child.pid).items():
            if command.startswith("ray::SampleActor"):
                peaks.look("actor", pid)
            elif command.startswith("ray::MemoryBank"):
                peaks.look("bank", pid)
        time.sleep(0.2)


def _source(bench: Bench) -> tuple[Patches, int]:
    """Features of real images, to mix, and how many of them, the first, are trusted ones."""
    experiment, _ = in_process(bench, "contrast")
    rows = experiment.cohort.rows_N
    some = np.linspace(0, len(rows) - 1, min(SOURCE, len(rows))).astype(int)
    chosen = np.concatenate([experiment.cohort.seeds, some])
    found: Patches = experiment.workers.reader.patches(rows.take(chosen), experiment.config.backbone.strides)  # type: ignore[attr-defined]
    return found, len(experiment.cohort.seeds)


def sizes_of(size: int) -> tuple[int, int]:
    """Images in all, and images a shard, of a pool of `size`."""
    count = NORMALS + size + TESTS
    return count, SHARD if count <= MANY else LARGE_SHARD


def make_store(root: Path, source: Patches, trusted: int, size: int) -> None:
    """Feature shards of seeds and one normal, a pool of `size` images and test images, each mixed from two real ones.

    Args:
        trusted: images at the beginning of the source, of which the seeds are mixed.
    """
    store, generator = Store(root), np.random.default_rng(0)
    count, shard = sizes_of(size)
    none = (np.zeros((32, 32), np.uint8), np.zeros(7, np.float32), 0.0)
    for start in range(0, count, shard):
        number = min(shard, count - start)
        of_seeds = np.arange(start, start + number) < NORMALS
        a, b = generator.integers(0, np.where(of_seeds, trusted, len(next(iter(source.values())))), (2, number))
        weight = generator.uniform(0.6, 1.0, (number, 1, 1)).astype(np.float32)
        mixed = {s: (weight * x[a] + (1 - weight) * x[b]).astype(np.float16) for s, x in source.items()}
        rows = [
            {
                "error": None,
                "features": {s: x[i] for s, x in mixed.items()},
                "statistics": none,
                "width": 9,
                "height": 9,
            }
            for i in range(number)
        ]
        table = shard_table(_names(start, number), rows, list(source))
        write_shard(store, store.path("features", SPEC.fingerprint, f"{start // shard:05d}.parquet"), table)


def _nobody(missing: Sequence[Recipe], size: int) -> NoReturn:
    raise AssertionError("all features are there")


def _names(start: int, number: int) -> list[str]:
    return [f"{i:064x}" for i in range(start, start + number)]


def run_loop(settings: Config, root: Path, size: int) -> dict[str, Any]:
    """Row 0, one round and the last fit on a made pool, on sample actors.

    Returns:
        Seconds without the start of Ray: `seconds` of the loop; `prepare`, what the driver does before it; `driver`,
        its processor time in the loop, all threads; `actors`, by part of the loop and work, those in which sample
        actors were at it.
    """
    give_back_freed_memory()  # here and below, where a run does
    count, _ = sizes_of(size)
    ids = _names(0, count)
    test_N = np.arange(count) >= count - TESTS
    # The first are the train normals, of which all but one are seeds; the loop reads no label.
    anomaly_N = np.where(test_N, np.arange(count) % 2 == 0, np.arange(count) >= NORMALS)
    table = pa.table(
        {
            "id": ids, "path": ids, "split": np.where(test_N, "test", "train").tolist(),
            "label": anomaly_N.tolist(), "class_name": ids,
            "kind": pa.array([None] * count, pa.string()), "sha256": ids, "file_bytes": np.arange(count), "group": ids,
        }
    )  # fmt: skip
    del ids
    give_back_freed_memory()
    began = time.perf_counter()
    cut = make_split(
        table, seed_fraction=SEEDS / NORMALS, folds=settings.split.folds, contamination=None, random_seed=0
    )
    give_back_freed_memory()
    store, prepare = Store(root), time.perf_counter() - began
    with RayWorkers() as workers:
        began = time.perf_counter()
        # All there: found, indexed, and looked up.
        features = feature_set(store, SPEC, table.column("path"), table.column("sha256"), _nobody, Progress())
        give_back_freed_memory()
        cohort = build_cohort(table, cut, features.rows, settings.split.folds, features.fingerprint)
        workers.use_features(store.root, features.fingerprint, features.shards, cohort.seeds)
        del table, cut, features
        give_back_freed_memory()
        prepare += time.perf_counter() - began
        start_actors(workers, workers.session().actors)
        start, processor = time.perf_counter(), time.process_time()
        busy = [_busy(workers)]
        done = incremental_loop(
            Experiment(settings, store, cohort, workers, Progress()), on_round=lambda row: busy.append(_busy(workers))
        )
        seconds, driver = time.perf_counter() - start, time.process_time() - processor
        busy.append(_busy(workers))
    actors = {
        f"{part}, {work}": after[work] - before[work]
        for part, before, after in zip(PARTS, busy, busy[1:], strict=False)
        for work in sorted(after) if after[work] > before[work]
    }  # fmt: skip
    return {
        "seconds": seconds, "prepare": prepare, "driver": driver, "actors": actors, "head_on": done.last.head_on,
    }  # fmt: skip


def _busy(workers: Workers) -> Counter[str]:
    """Seconds that all sample actors together have spent so far, by work."""
    spent: Counter[str] = Counter()
    for entry in workers.time_spent():
        spent[entry["work"]] += entry["seconds"]
    return spent


def listing(root: str) -> dict[str, float]:
    """Seconds, and MB that the process grew by at most, for listing a folder."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far, of imports, is forgotten
    before, start = _memory("VmRSS"), time.perf_counter()
    list_folder(Path(root), normal="NORMAL", anomaly=["PNEUMONIA"], group=r"^(person\d+)")
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "mb": _memory("VmHWM") - before}


def _memory(name: str) -> float:
    """A line of this process's status, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def main(shared: str, root: str, size: str, xrays: str | None = None) -> None:
    bench = Bench(False, Path(root).parent, Path(shared), Path(xrays) if xrays else None, 2)
    print(json.dumps(run_loop(config(bench, "contrast", "rounds=1"), Path(root), int(size))))


if __name__ == "__main__":
    if sys.argv[1] == "--list":
        print(json.dumps(listing(sys.argv[2])))
    else:
        main(*sys.argv[1:])
