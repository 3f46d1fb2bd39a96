"""The records of a run: manifest.json (versions, seeds, stage keys, machine), profile.json, the model cards, and
metrics.json last.
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from swag_ray.cluster.workers import Workers
from swag_ray.detector.bundle import digest_of
from swag_ray.experiment.pipeline import ExperimentResult
from swag_ray.experiment.prepare import Prepared
from swag_ray.features.licence import weights_licence
from swag_ray.features.spec import FeatureSpec
from swag_ray.progress import Progress
from swag_ray.record.files import (
    CONFIG_FILE,
    DETECTOR_FILE,
    DETECTOR_FOLDER,
    MANIFEST_FILE,
    METRICS_FILE,
    PROFILE_FILE,
    explain_write_errors,
    write_json,
    write_text,
)
from swag_ray.record.run_metrics import RunMetrics, Timing
from swag_ray.report.card.files import card_files
from swag_ray.report.card.make import model_card
from swag_ray.report.page.reading import read_mapping

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
    """Returns where the time went, in seconds: the driver's by phase and stage, each actor's while it worked."""
    stages: dict[str, dict[str, Any]] = {}
    for name, _, seconds in prepared.experiment.store.computed:
        entry = stages.setdefault(name, {"stage": name, "computed": 0, "seconds": 0.0})
        entry["computed"] += 1
        entry["seconds"] += seconds
    return {
        "phases": [{"phase": name, "seconds": seconds} for name, seconds in progress.seconds.items()],
        "stages": list(stages.values()),
        "actors": [*prepared.features.busy, *workers.time_spent()],
    }


def timing_record(progress: Progress, total: float) -> Timing:
    """Returns seconds by phase."""
    s = progress.seconds
    return Timing(
        features=s.get("features", 0.0), fits=s.get("fits", 0.0), controls=s.get("controls", 0.0),
        evaluate=s.get("evaluate", 0.0), total=total,
    )  # fmt: skip


def write_records(directory: Path, result: ExperimentResult, profile: dict[str, Any] | None) -> None:
    """Writes manifest.json, profile.json where there is one, the model cards of run and bundle, and metrics.json: with
    it, the run is complete. `write_results` comes first.
    """
    manifest, metrics = _manifest(directory / DETECTOR_FOLDER, result), result.metrics.plain()
    card = model_card(read_mapping(directory, CONFIG_FILE), RunMetrics.read(metrics), manifest)
    with explain_write_errors(directory):
        write_json(directory / MANIFEST_FILE, manifest)
        if profile is not None:
            write_json(directory / PROFILE_FILE, profile)
        for path, text in card_files(directory, card).items():
            write_text(path, text)
        write_json(directory / METRICS_FILE, metrics)


def _manifest(detector: Path, result: ExperimentResult) -> dict[str, Any]:
    prepared, trajectory, controls = result.prepared, result.trajectory, result.controls
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    cohort = prepared.experiment.cohort
    stages = {"features": prepared.features.key, "cohort": cohort.key, "test images": cohort.test_key}
    for row in trajectory.rows:
        stages |= {f"fit {row.n}": row.fit.key, f"decide {row.n}": row.decision.key}
    stages |= {"last fit": trajectory.last.key} | {f"control {name}": fit.key for name, fit in controls.items()}
    anonymous = {"anonymous": True} if prepared.experiment.config.report.anonymous else {}
    return anonymous | {
        "versions": versions,
        "random_seed": prepared.experiment.config.random_seed,
        "fingerprint": prepared.features.fingerprint,
        "backbone": _backbone(prepared.spec),
        "detector": {"digest": digest_of(detector), "sha256": read_mapping(detector, DETECTOR_FILE)["sha256"]},
        "stages": stages,
        "machine": {"system": platform.platform(), "cores": os.cpu_count()},
        "seconds": result.metrics.timing.plain(),
        "extracted": prepared.features.extracted,
    }


def _backbone(spec: FeatureSpec) -> dict[str, str]:
    licence = weights_licence(spec.backbone, spec.weights)
    return {"weights_digest": spec.weights_digest, "licence": licence.name, "licence_from": licence.source}
