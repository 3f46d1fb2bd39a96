"""manifest.json and profile.json: versions, seeds, stage keys, machine, and where the time went."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from swag_ray.cluster.workers import Workers
from swag_ray.experiment.pipeline import Outcome
from swag_ray.experiment.prepare import Prepared
from swag_ray.progress import Progress

PACKAGES = (
    "swag-ray",
    "ray",
    "torch",
    "torchvision",
    "timm",
    "faiss-gpu",
    "faiss-cpu",
    "scikit-learn",
    "numpy",
    "pyarrow",
)


def profile_record(prepared: Prepared, workers: Workers, progress: Progress) -> dict[str, Any]:
    """Where the time went. Phases and stages are the driver's seconds, an actor's are those in which it was at work."""
    stages: dict[str, dict[str, Any]] = {}
    for name, _, seconds in prepared.lab.store.computed:
        entry = stages.setdefault(name, {"stage": name, "computed": 0, "seconds": 0.0})
        entry["computed"] += 1
        entry["seconds"] += seconds
    return {
        "phases": [{"phase": name, "seconds": seconds} for name, seconds in progress.seconds.items()],
        "stages": list(stages.values()),
        "actors": [*prepared.features.busy, *workers.busy()],
    }


def timing_record(progress: Progress, total: float) -> dict[str, float]:
    s = progress.seconds
    return {
        "features": s.get("features", 0.0), "fits": s.get("fits", 0.0), "controls": s.get("controls", 0.0),
        "evaluate": s.get("evaluate", 0.0), "total": total,
    }  # fmt: skip


def manifest(outcome: Outcome, timing: dict[str, float]) -> dict[str, Any]:
    prepared, trajectory, controls = outcome.prepared, outcome.trajectory, outcome.controls
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    stages = {"features": prepared.features.key, "cohort": prepared.lab.cohort.key}
    for row in trajectory.rows:
        stages |= {f"fit {row.n}": row.fit.key, f"decide {row.n}": row.decision.key}
    stages |= {"last fit": trajectory.last.key} | {f"control {name}": fit.key for name, fit in controls.items()}
    return {
        "versions": versions,
        "random_seed": prepared.lab.config.random_seed,
        "fingerprint": prepared.features.fingerprint,
        "stages": stages,
        "machine": {"system": platform.platform(), "cores": os.cpu_count()},
        "seconds": timing,
        "extracted": prepared.features.extracted,
    }
