"""`swag-ray run` as a process, from the command to its end: cold (an empty store) and warm (features are there,
everything else is computed), against the bare loop's time over the same images; and the published script's workload.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.bare_loop import BareLoop
from tests.benchmarks.material import CONFIGS, WORKLOAD, images, workload
from tests.benchmarks.measure import REPOSITORY, Bench, Goal, Row

PUBLISHED_SECONDS = 452.0  # the published script on this workload, 2 cores, as the project's issue states it
SAMPLE = 768  # images the bare loop is timed on; its time for all is in proportion


@dataclass(frozen=True)
class Process:
    """A finished run: wall-clock seconds of the whole process, and its metrics.json."""

    seconds: float
    metrics: dict[str, Any]

    @property
    def outside(self) -> float:
        """Seconds of the process that the run itself does not see: the interpreter, imports, the end of Ray."""
        return self.seconds - float(self.metrics["timing"]["total"])


def measure(bench: Bench) -> list[Row]:
    bench.require_xrays()
    rows = _published_workload(bench)
    return rows if bench.quick else [*rows, *_full(bench)]


def _published_workload(bench: Bench) -> list[Row]:
    """268 train and 120 test images, 5 rounds; method, backbone and image size as in the published script's report."""
    root, store = workload(bench), bench.folder / "small"
    rows = []
    for method in ("published",) if bench.quick else ("published", "contrast"):
        shutil.rmtree(store, ignore_errors=True)
        cold = _run(bench, method, root, store, "[seed_only]")
        warm = []
        for _ in range(bench.repetitions(2)):
            _forget_stages(store)
            warm.append(_run(bench, method, root, store, "[seed_only]"))
        for name, found, limit in (("cold", [cold], 60), ("warm", warm, 20)):
            rows.append(
                Row("whole run", f"the published script's workload, {method}, {name}", [p.seconds for p in found],
                    [PUBLISHED_SECONDS], kind="speed-up", against="published script: stated, not measured here",
                    goal=Goal(limit, of="ours"), note=f"{sum(WORKLOAD.values())} images; {_parts(found)}")
            )  # fmt: skip
    _keep_features(bench, store)
    return rows


def _full(bench: Bench) -> list[Row]:
    root, store = bench.require_xrays(), bench.folder / "full"
    count = len(list(root.glob("*/*/*.jp*g")))
    sample = [str(path) for path in images(bench, SAMPLE)]
    bare: list[float] = []
    with BareLoop(bench.cores) as loop:

        def beside(method: str, controls: str) -> Process:
            bare.append(loop.seconds(sample) * count / len(sample))
            return _run(bench, method, root, store, controls)

        cold = beside("contrast", "[seed_only]")
        _keep_features(bench, store)
        warm = []
        for _ in range(2):
            _forget_stages(store)
            warm.append(beside("contrast", "[seed_only]"))
        _forget_stages(store)
        everything = beside(
            "contrast", "[seed_only, full_train, no_admission, random_admission, oracle_gate, supervised]"
        )
        _forget_stages(store)
        published = beside("published", "[seed_only]")
        bare.append(loop.seconds(sample) * count / len(sample))
    typical = statistics.median(bare)
    shutil.rmtree(store)
    against = f"bare loop over {count:,} images, from {SAMPLE}, in between"
    auc = f"ROC-AUC {cold.metrics['incremental']['roc_auc']:.4f}"
    rows = [
        Row("whole run", name, [p.seconds for p in found], [typical], against=against, goal=goal,
            note=f"{_parts(found)}{more}")
        for name, found, goal, more in (
            ("pneumonia, cold", [cold], Goal(1.4), f"; {auc}"), ("pneumonia, warm", warm, Goal(0.3), ""),
            ("pneumonia, warm, all controls", [everything], Goal(1), ""),
            ("pneumonia_published, warm", [published], None, ""),
        )
    ]  # fmt: skip
    for method, found in (("contrast", warm), ("published", [published])):
        seconds = [row["seconds"] for p in found for row in p.metrics["rounds"][1:]]
        rows.append(Row("whole run", f"one round, {method}", [statistics.median(seconds)], [typical], against=against))
    rows.append(Row("whole run", "the bare loop itself", bare, note="before each run, and after the last"))
    return rows


def _run(bench: Bench, method: str, root: Path, store: Path, controls: str) -> Process:
    out = bench.folder / "run"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "swag_ray.cli", "run", str(REPOSITORY / "configs" / CONFIGS[method]), "--quiet"]
    for override in (f"dataset.root={root}", f"store={store}", f"controls={controls}"):
        command += ["--set", override]
    start = time.perf_counter()
    subprocess.run([*command, "--out", str(out)], check=True, cwd=REPOSITORY)
    seconds = time.perf_counter() - start
    return Process(seconds, json.loads((out / "metrics.json").read_text()))


def _forget_stages(store: Path) -> None:
    """Leave nothing but what the extraction left: the features, and the backbone that they came from."""
    for stage in (store / "stages").iterdir():
        if stage.name not in ("features", "backbone"):
            shutil.rmtree(stage)


def _keep_features(bench: Bench, store: Path) -> None:
    """Let the later families read what was extracted here."""
    shutil.copytree(store / "features", bench.store / "features", dirs_exist_ok=True)


def _parts(found: list[Process]) -> str:
    """Where the last process's time went."""
    t, last = found[-1].metrics["timing"], found[-1]
    shown = " ".join(f"{name} {t[name]:.1f}" for name in ("features", "fits", "controls", "evaluate"))
    start = t["total"] - sum(t[name] for name in ("features", "fits", "controls", "evaluate"))
    return f"of it {shown} other {start:.1f} outside the run {last.outside:.1f} s"
