"""anomalib's PatchCore and PaDiM on the same images and backbone, ours on trusted images alone: time and ROC-AUC.

All learn from the same normals and nothing else: no pool is read, no label. Ours is the seed-only bank, and row 0 of
`contrast`, which has the auxiliary head beside it; both have one bank a fold, and the time of extracting the variants.

anomalib goes into an environment of its own under the scratch folder, which sees this one's packages; or set
SWAG_RAY_PEERS to the Python of an environment that has it. Without either the benchmark is skipped with a word.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from swag_ray.cluster.workers import RayWorkers
from swag_ray.config import load_config
from swag_ray.core.metrics import roc_auc
from swag_ray.experiment.prepare import prepare
from swag_ray.experiment.source import check_source
from swag_ray.methods.bank_fit import bank_fit
from swag_ray.methods.method import method_of
from swag_ray.progress import Progress
from tests.benchmarks.measure import REPOSITORY, Bench, Goal, Row, Skip

PEER = "anomalib==2.7.0"
PICKS, QUICK_PICKS = 2_000, 300
FREE_GB = 10


def measure(bench: Bench) -> list[Row]:
    root = _images(bench)
    python = _environment(bench)
    start = time.perf_counter()
    settings = load_config(
        REPOSITORY / "configs" / "pneumonia.yaml",
        [f"dataset.root={root}", f"store={bench.folder / 'store'}", "split.group=null", "split.seed_fraction=.99"],
    )
    with RayWorkers() as workers:
        prepared = prepare(check_source(settings, Progress()), workers, Progress())
        experiment, audit = prepared.experiment, prepared.audit
        bank = bank_fit(experiment, experiment.cohort.seeds, score_pool=False)
        banks = time.perf_counter() - start
        first = method_of(experiment).first_fit(experiment, bank_fit(experiment, experiment.cohort.seeds))
    ours = time.perf_counter() - start
    ids = experiment.cohort.id_N.take(pa.array(experiment.cohort.seeds)).to_pylist()
    trained = {i[:-9] for i in ids}  # an id is the file's stem and 8 digits
    job = {
        "train": sorted(str(p) for p in (root / "train" / "NORMAL").iterdir() if p.stem in trained),
        "test": [str(prepared.root / path) for path in audit.path_T], "size": settings.backbone.image_size,
        "ratio": settings.memory.coreset_ratio, "picks": QUICK_PICKS if bench.quick else PICKS, "threads": bench.cores,
    }  # fmt: skip
    peers = _peers(python, job)
    what = (
        f"{len(job['train'])} train, {len(job['test'])} test images, lite0, {job['ratio']:.0%}; start of Ray, features "
        f"and variants counted; {experiment.cohort.folds} folds of ours"
    )
    rows = []
    for name, peer in peers.items():
        spent = ", ".join(f"{step} {value:.0f} s" for step, value in peer["seconds"].items())
        if "wanted" in peer:
            spent += f"; coreset from its first {job['picks']:,} of {peer['wanted']:,} picks"
        total, auc = sum(peer["seconds"].values()), roc_auc(audit.anomaly_T, np.array(peer["scores"]))
        for label, seconds, fit in (("bank", banks, bank), ("bank + auxiliary head", ours, first)):
            goal = Goal(20, at_least=True) if (name, label) == ("PatchCore", "bank") else None
            rows += [
                Row("peers", f"{label} against {name}: fit + test", [seconds], [total], kind="speed-up", goal=goal,
                    against=f"{PEER}: {spent}", note=what),
                Row("peers", f"{label} against {name}: ROC-AUC", [roc_auc(audit.anomaly_T, fit.s_T)], [auc], unit="",
                    kind="rate", goal=Goal(1, at_least=True), against=f"{PEER}, the same normals"),
            ]  # fmt: skip
    return rows


def _images(bench: Bench) -> Path:
    """A folder of links: as many train normals as a 30 % seed, and the test images. One anomaly, which nobody reads."""
    source, root = bench.require_xrays(), bench.folder / "images"
    wanted = {("train", "NORMAL"): 406, ("train", "PNEUMONIA"): 1, ("test", "NORMAL"): 234, ("test", "PNEUMONIA"): 390}
    for (split, name), count in wanted.items():
        files = sorted((source / split / name).iterdir())
        folder = root / split / name
        folder.mkdir(parents=True)
        number = max(count // 4, 1) if bench.quick else count
        for i in np.linspace(0, len(files) - 1, number).astype(int):
            (folder / files[i].name).symlink_to(files[i])
    return root


def _environment(bench: Bench) -> Path:
    """A Python that has anomalib.

    Raises:
        Skip: it cannot be installed here.
    """
    given = os.environ.get("SWAG_RAY_PEERS")
    if given:
        return Path(given)
    if shutil.disk_usage(bench.folder).free < FREE_GB * 2**30:
        raise Skip(f"{PEER} not installed: less than {FREE_GB} GB of disk are free")
    venv = bench.folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin" / "python"
    packages = next((venv / "lib").glob("python*/site-packages"))
    (packages / "host.pth").write_text(sysconfig.get_path("purelib") + "\n")  # torch need not come twice
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", PEER]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Skip(f"{PEER} cannot be installed here: {reason}")
    return python


def _peers(python: Path, job: dict[str, Any]) -> dict[str, Any]:
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}  # the peer may use all cores
    done = subprocess.run(
        [str(python), "-m", "tests.benchmarks.peer_anomalib"], input=json.dumps(job), cwd=REPOSITORY,
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise Skip(f"{PEER} failed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))
