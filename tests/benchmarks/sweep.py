"""`swag-ray sweep configs/ablation_small.yaml` as a process, against its 24 configs run one after another by `swag-ray
run`, each in a store of its own. Features are there on both sides, nothing else is; every figure is compared.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from swag_ray import config as cfg
from swag_ray.cluster.workers import RayWorkers
from swag_ray.config.sweep import Trial, load_sweep, source_key
from swag_ray.experiment.prepare import prepare
from swag_ray.experiment.source import check_source
from swag_ray.progress import Progress
from swag_ray.record.run_metrics import RunMetrics
from swag_ray.record.trials_table import FIRST, flat_metrics, table
from tests.benchmarks.measure import REPOSITORY, Bench, Goal, Row, Skip

CONFIG = REPOSITORY / "configs" / "ablation_small.yaml"
EXTRACTED = ("backbone", "features", "index")  # stages that the extraction leaves
MANY = 1_000  # trials of the table that is written once more


@dataclass(frozen=True)
class Swept:
    """One sweep: seconds of the process, the rows of trials.parquet, each trial's trial.json, all stages computed."""

    seconds: float
    rows: list[dict[str, Any]]
    kept: list[dict[str, Any]]

    @property
    def stages(self) -> list[tuple[str, str]]:
        return [(kind, key) for trial in self.kept for kind, key, _ in trial["computed"]]


@dataclass(frozen=True)
class Alone:
    """One config run by itself: seconds of the process, its metrics.json, the stages that it left as (kind, key)."""

    seconds: float
    metrics: dict[str, Any]
    stages: set[tuple[str, str]]

    @property
    def around(self) -> float:
        """Seconds outside features, fits and evaluation: listing, report, start and end of the process."""
        return self.seconds - sum(self.metrics["timing"][name] for name in ("features", "fits", "controls", "evaluate"))


def measure(bench: Bench) -> list[Row]:
    if bench.quick:
        raise Skip("not in the quick round: 24 runs and two sweeps take twenty minutes")
    roots = {"pneumonia": bench.require_xrays(), "covid": bench.require_xrays().with_name("covid_cxr")}
    if not roots["covid"].is_dir():
        raise Skip(f"the X-rays of covid_cxr are not beside {roots['pneumonia'].name}")
    overrides = [f"datasets.{name}.root={root}" for name, root in roots.items()]
    trials = load_sweep(CONFIG, [*overrides, f"base.store={bench.store}"]).trials()
    for trial in {source_key(trial.config): trial for trial in trials}.values():
        with RayWorkers(cpus=bench.cores) as workers:  # features of both datasets, in the shared store
            prepare(check_source(trial.config, Progress()), workers, Progress())
    first = _sweep(bench, overrides)
    alone = [_alone(bench, trial) for trial in trials]
    second = _sweep(bench, overrides)
    for swept in (first, second):
        _require_same(swept, trials, alone)
    kinds, different = Counter(kind for kind, _ in second.stages), Counter(kind for kind, _ in {*second.stages})
    by_runs = sum(kind in kinds for run in alone for kind, _ in run.stages)
    total, around = sum(run.seconds for run in alone), sum(run.around for run in alone)
    what, n, against = f"{len(trials)} trials", len(trials), "different stages"
    return [
        Row("sweep", f"{what}, features there", [first.seconds, second.seconds], [total], goal=Goal(0.5),
            against="the same configs, run one after another",
            note=f"metrics identical; no images drawn; of a run's {total / n:.1f} s {around / n:.1f} s are listing, "
            "report, start and end of the process, which a sweep has once; among the rest are Ray's start, once too, "
            "and detector file and tables, which a trial has none of"),
        Row("sweep", "a trial on average", [first.seconds / n, second.seconds / n], [total / n]),
        Row("sweep", f"stages computed, {what}", [kinds.total()], [different.total()], unit="stages", against=against,
            note=", ".join(f"{kind} {kinds[kind]} of {different[kind]}" for kind in sorted(kinds))),
        Row("sweep", f"stages computed by the runs, {what}", [by_runs], [different.total()], unit="stages",
            against=against),
        Row("sweep", f"trials.parquet of {MANY:,} trials, made once", _table_of_many(bench, second)),
    ]  # fmt: skip


def _store(bench: Bench) -> Path:
    """A new store with what the extraction left, and nothing else."""
    own = bench.folder / "store"
    shutil.rmtree(own, ignore_errors=True)
    (own / "stages").mkdir(parents=True)
    (own / "features").symlink_to(bench.store.absolute() / "features")
    for name in EXTRACTED:
        if (bench.store / "stages" / name).is_dir():
            shutil.copytree(bench.store / "stages" / name, own / "stages" / name)
    return own


def _process(bench: Bench, command: str, config: Path, overrides: Sequence[str]) -> tuple[float, Path]:
    """Wall-clock seconds of a command as a process, and the folder that it wrote."""
    out = bench.folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    words = [sys.executable, "-m", "swag_ray.cli", command, str(config), "--quiet", "--out", str(out)]
    for override in overrides:
        words += ["--set", override]
    start = time.perf_counter()
    subprocess.run(words, check=True, cwd=REPOSITORY)
    return time.perf_counter() - start, out


def _sweep(bench: Bench, overrides: Sequence[str]) -> Swept:
    seconds, out = _process(bench, "sweep", CONFIG, [*overrides, f"base.store={_store(bench)}"])
    kept = [json.loads(file.read_text()) for file in sorted((out / "trials").glob("*/trial.json"))]
    return Swept(seconds, pq.read_table(out / "trials.parquet").to_pylist(), kept)


def _alone(bench: Bench, trial: Trial) -> Alone:
    config, store = bench.folder / "config.yaml", _store(bench)
    config.write_text(cfg.to_yaml(trial.config))
    overrides = [f"store={store}", "report.images=false"]  # a trial draws no images either
    seconds, out = _process(bench, "run", config, overrides)
    left = {(f.parent.name, f.name) for f in (store / "stages").glob("*/*") if f.parent.name not in EXTRACTED}
    return Alone(seconds, json.loads((out / "metrics.json").read_text()), left)


def _require_same(swept: Swept, trials: Sequence[Trial], alone: Sequence[Alone]) -> None:
    """Compare every figure of every trial with that of its run, timing apart.

    Raises:
        RuntimeError: naming the first that differ.
    """
    wrong = []
    for trial, row, run in zip(trials, swept.rows, alone, strict=True):
        theirs = flat_metrics(RunMetrics.read(run.metrics))
        if row["status"] != "done":
            wrong.append(f"trial {trial.name}: {row['status']}, {row['error']}")
        for name in sorted({*row, *theirs} - {*FIRST, *trial.point, "last_round.seconds"}):
            if not name.startswith("timing.") and row.get(name) != theirs.get(name):
                wrong.append(f"trial {trial.name}, {name}: {row.get(name)} in the sweep, {theirs.get(name)} alone")
    if wrong:
        raise RuntimeError(f"{len(wrong)} figures differ: {'; '.join(wrong[:10])}")


def _table_of_many(bench: Bench, swept: Swept) -> list[float]:
    """Seconds to make and write the table of many trials, which a sweep does whenever one ends."""
    many = [swept.kept[n % len(swept.kept)] | {"trial": n} for n in range(MANY)]
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        pq.write_table(table(many, list(many[0]["point"])), bench.folder / "many.parquet")
        seconds.append(time.perf_counter() - start)
    return seconds
