"""A run: one config carried through to a run directory that holds everything worth keeping.

    from swag_ray import load_config, run_experiment
    run = run_experiment(load_config("configs/demo.yaml"), out="runs/demo")
    run.metrics["incremental"]["roc_auc"]

The directory is small; what took time is in the store, so a second call continues where the first was stopped.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from swag_ray.cluster.address import check_address
from swag_ray.cluster.workers import Workers
from swag_ray.config import Config, to_yaml
from swag_ray.data.decode import ImageError, picture
from swag_ray.detector import Detector, save_detector, score_maps
from swag_ray.errors import InputError
from swag_ray.fits import Fit, bank_settings, contrast_settings
from swag_ray.outcome import Outcome, carry_out
from swag_ray.prepare import Prepared, look
from swag_ray.progress import Progress
from swag_ray.remote_directory import run_folder
from swag_ray.run_directory import (
    CONFIG_FILE,
    MANIFEST_FILE,
    METRICS_FILE,
    PROFILE_FILE,
    check_directory,
    claimed,
    write_text,
    writing,
)

SHOWN = 6  # overlays of that many highest- and lowest-scored test images
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


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        directory: the run directory, or the copy here of one on s3://.
        metrics: what metrics.json holds.
        address: the run directory as it was given.
    """

    directory: Path
    metrics: dict[str, Any]
    address: str


def run_experiment(
    config: Config,
    out: str | Path | None = None,
    *,
    address: str | None = None,
    profile: bool = False,
    progress: Progress | None = None,
    on_round: Callable[[dict[str, Any]], None] = lambda figures: None,
) -> Run:
    """Carry out a config, or go on with it, and write its run directory.

    Args:
        config: from `load_config`.
        out: the run directory, a path or an s3:// address; default `runs/<name>`. One that holds a run of the same
            config is continued.
        address: a running Ray cluster (`auto` or HOST:PORT); None starts a local Ray, or uses the one this process has.
        profile: also write profile.json: where the time went, by phase, stage and actor.
        progress: what to show; None shows nothing.
        on_round: told the figures of every row of the loop as soon as it is there.

    Raises:
        InputError: anything about config, data, store or folder that stops the run; nothing is left half-written.
    """
    started = time.perf_counter()
    progress = progress or Progress()
    with run_folder(out if out is not None else Path("runs") / config.name) as folder:
        directory = folder.path
        check_directory(directory, config)
        if address is not None:
            check_address(address)
        source = look(config, progress)
        options = config.cluster.model_dump() | {"address": address}

        def finish(outcome: Outcome, workers: Workers) -> None:
            with progress.phase("evaluate", "writing the results"):
                overlays = _overlays(outcome) if config.report.images else None
                _write_results(directory, outcome, overlays)
            timing = outcome.metrics["timing"] = _timing(progress, time.perf_counter() - started)
            with writing(directory):
                _write_json(directory / MANIFEST_FILE, _manifest(outcome, timing))
                if profile:
                    _write_json(directory / PROFILE_FILE, _profile(outcome.prepared, workers, progress))
                _write_json(directory / METRICS_FILE, outcome.metrics)

        with claimed(directory, CONFIG_FILE, to_yaml(config)), folder.published():
            outcome = carry_out(source, lambda: Workers(**options), progress, on_round, finish)
            from swag_ray.report import write_report

            write_report(directory)
    return Run(directory, outcome.metrics, folder.shown)


def _write_results(directory: Path, outcome: Outcome, overlays: dict[str, Any] | None) -> None:
    from swag_ray.evaluate import rounds_table, scores_table

    prepared, last, grown = outcome.prepared, outcome.trajectory.last, outcome.grown
    lab, audit = prepared.lab, prepared.audit
    weights = prepared.spec.weights_in(lab.store)
    with writing(directory):
        (directory / METRICS_FILE).unlink(missing_ok=True)  # without it, nothing here looks complete
        save_detector(_detector(prepared, last, grown), weights, directory / "detector")
        _write_table(directory / "rounds.parquet", rounds_table(lab, audit, outcome.trajectory))
        _write_table(directory / "scores.parquet", scores_table(lab, audit, last, outcome.controls))
        if overlays is not None:
            (directory / "plots").mkdir(exist_ok=True)
            temporary = directory / "plots" / "overlays.tmp.npz"
            np.savez_compressed(temporary, **overlays)
            os.replace(temporary, temporary.with_name("overlays.npz"))


def _detector(prepared: Prepared, last: Fit, grown: Fit) -> Detector:
    lab = prepared.lab
    return Detector(
        name=lab.config.name, score_used=last.score_used, spec=prepared.spec, bank=bank_settings(lab.config),
        head=contrast_settings(lab.config) if last.score_used == "head" else None,
        rate=lab.config.calibration.false_positive_rate, seed_s=last.s_N[lab.cohort.seeds],
        seed_fold=lab.cohort.fold_N[lab.cohort.seeds], models=last.folds, banks=grown.folds,
    )  # fmt: skip


def _overlays(outcome: Outcome) -> dict[str, Any]:
    """The highest- and lowest-scored test images with their maps, for the report."""
    prepared, last = outcome.prepared, outcome.trajectory.last
    cohort, audit, detector = prepared.lab.cohort, prepared.audit, _detector(prepared, last, outcome.grown)
    order = np.argsort(-last.s_T, kind="stable")
    shown = np.unique(np.concatenate([order[:SHOWN], order[-SHOWN:]]))
    shown = shown[np.argsort(-last.s_T[shown], kind="stable")]
    maps = prepared.lab.workers.once(score_maps, cohort.rows_T.take(shown), detector)
    pixels = [_pixels(prepared.root / audit.path_T[i], prepared.spec.image_size) for i in shown]
    facts = {
        "id": np.array(cohort.id_T.take(pa.array(shown)).to_pylist(), dtype=str), "score": last.s_T[shown],
        "p": last.p_T(cohort)[shown], "label": audit.label_T[shown],
    }  # fmt: skip
    return facts | {"image": np.stack(pixels)} | maps


def _pixels(path: Path, size: int) -> NDArray[np.uint8]:
    try:
        return picture(path.read_bytes(), size)
    except (OSError, ImageError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"dataset: '{path}' changed after it was listed ({reason}); run again") from error


def _profile(prepared: Prepared, workers: Workers, progress: Progress) -> dict[str, Any]:
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


def _timing(progress: Progress, total: float) -> dict[str, float]:
    s = progress.seconds
    return {
        "features": s.get("features", 0.0), "fits": s.get("fits", 0.0), "controls": s.get("controls", 0.0),
        "evaluate": s.get("evaluate", 0.0), "total": total,
    }  # fmt: skip


def _manifest(outcome: Outcome, timing: dict[str, float]) -> dict[str, Any]:
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


def _write_table(path: Path, table: pa.Table) -> None:
    temporary = path.with_name(path.name + ".tmp")
    pq.write_table(table, temporary)
    os.replace(temporary, path)


def _write_json(path: Path, record: dict[str, Any]) -> None:
    write_text(path, json.dumps(record, indent=2, allow_nan=False) + "\n")
