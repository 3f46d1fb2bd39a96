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

from swag_ray import config as cfg
from swag_ray.cluster.workers import Workers
from swag_ray.config import Config
from swag_ray.controls import run_controls
from swag_ray.core.calibrate import DegenerateScores
from swag_ray.detector import Detector, save_detector
from swag_ray.errors import InputError
from swag_ray.evaluate import evaluate, round_figures, rounds_table, scores_table
from swag_ray.experiment import Row, Trajectory, incremental_loop
from swag_ray.fits import Fit, bank_settings, contrast_settings, patch_bank_fit
from swag_ray.prepare import Prepared, feature_reader, prepare
from swag_ray.progress import Progress

CONFIG_FILE, METRICS_FILE, MANIFEST_FILE = "config.yaml", "metrics.json", "manifest.json"
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
        directory: the run directory.
        metrics: what metrics.json holds.
    """

    directory: Path
    metrics: dict[str, Any]


def run_experiment(
    config: Config,
    out: str | Path | None = None,
    *,
    address: str | None = None,
    progress: Progress | None = None,
    on_round: Callable[[dict[str, Any]], None] = lambda figures: None,
) -> Run:
    """Carry out a config, or go on with it, and write its run directory.

    Args:
        config: from `load_config`.
        out: the run directory; default `runs/<name>`. One that holds a run of the same config is continued.
        address: a running Ray cluster (`auto` or HOST:PORT); None starts a local Ray, or uses the one this process has.
        progress: what to show; None shows nothing.
        on_round: told the figures of every row of the loop as soon as it is there.

    Raises:
        InputError: anything about config, data, store or folder that stops the run; nothing is left half-written.
    """
    started = time.perf_counter()
    directory = Path(out) if out is not None else Path("runs") / config.name
    claim_directory(directory, config)
    progress = progress or Progress()
    c = config.cluster
    options = {
        "address": address,
        "cpus": c.cpus,
        "gpus": c.gpus,
        "actors": c.actors,
        "object_store_mb": c.object_store_mb,
    }
    try:
        with Workers(**options) as workers:
            prepared = prepare(config, workers, progress)
            lab, audit = prepared.lab, prepared.audit
            for warning in prepared.warnings:
                progress.line(f"[yellow]warning:[/] {warning}")
            seconds: list[float] = []

            def timed(row: Row) -> None:
                seconds.append(progress.seconds["fits"] - sum(seconds))
                on_round(round_figures(lab, audit, row))

            trajectory = incremental_loop(lab, on_row=timed)
            controls = run_controls(lab, audit, trajectory)
            with progress.phase("evaluate", "evaluating"):
                metrics = _write_results(directory, prepared, trajectory, controls, seconds)
    except DegenerateScores as error:
        raise InputError(
            f"dataset: the trusted seeds cannot calibrate anything ({error}); are they all one image?"
        ) from error
    metrics["timing"] = _timing(progress, time.perf_counter() - started)
    _write_json(directory / MANIFEST_FILE, _manifest(prepared, trajectory, controls, metrics["timing"]))
    _write_json(directory / METRICS_FILE, metrics)
    from swag_ray.report import write_report

    write_report(directory)
    return Run(directory, metrics)


def claim_directory(directory: Path, config: Config) -> None:
    """Make the folder this run's, or refuse it untouched: a run of another config or foreign files stay as they are.

    Raises:
        InputError: the folder holds something else, or cannot be written.
    """
    try:
        existing = sorted(p.name for p in directory.iterdir()) if directory.exists() else []
        if CONFIG_FILE in existing:
            held = cfg.load_config(directory / CONFIG_FILE)
            if cfg.identity(held) != cfg.identity(config):
                field = _first_difference(cfg.identity(held), cfg.identity(config))
                raise InputError(f"--out: '{directory}' holds a run of another config ({field}); choose another folder")
        elif existing:
            raise InputError(
                f"--out: '{directory}' holds something else ('{existing[0]}'); choose an empty or new folder"
            )
        directory.mkdir(parents=True, exist_ok=True)
        _write_text(directory / CONFIG_FILE, cfg.to_yaml(config))
    except OSError as error:
        raise InputError(f"--out: cannot write to '{directory}' ({error.strerror}); choose another folder") from error


def _write_results(
    directory: Path, prepared: Prepared, trajectory: Trajectory, controls: dict[Any, Fit], seconds: list[float]
) -> dict[str, Any]:
    lab, audit = prepared.lab, prepared.audit
    last, decision = trajectory.last, trajectory.decision
    # The grown bank serves heatmaps and the arm `bank` alone, so it is built once, here; `published` has one already.
    members = np.union1d(lab.cohort.seeds, decision.held)
    published = lab.config.method == "published"
    grown = last if published else patch_bank_fit(lab, members, decision.key, score_pool=False)
    reader = feature_reader(prepared)
    metrics = evaluate(lab, audit, trajectory, controls, grown, reader)
    for row, spent in zip(metrics["rounds"], seconds, strict=True):
        row["seconds"] = spent
    metrics["warnings"] = [*prepared.warnings, *_fit_warnings(trajectory)]
    metrics["dataset"] = prepared.facts
    detector = Detector(
        name=lab.config.name, score_used=last.score_used, spec=prepared.spec, bank=bank_settings(lab.config),
        head=contrast_settings(lab.config) if last.score_used == "head" else None,
        rate=lab.config.calibration.false_positive_rate, seed_s=last.s_N[lab.cohort.seeds],
        seed_fold=lab.cohort.fold_N[lab.cohort.seeds], models=last.folds, banks=grown.folds,
    )  # fmt: skip
    save_detector(detector, directory / "detector")
    _write_table(directory / "rounds.parquet", rounds_table(lab, audit, trajectory))
    _write_table(directory / "scores.parquet", scores_table(lab, audit, last, controls))
    if lab.config.report.images:
        _write_overlays(directory / "plots", prepared, detector, last)
    return metrics


def _write_overlays(plots: Path, prepared: Prepared, detector: Detector, last: Fit) -> None:
    """The highest- and lowest-scored test images with their maps, for the report."""
    from swag_ray.data.decode import read_grey

    cohort, audit = prepared.lab.cohort, prepared.audit
    order = np.argsort(-last.s_T, kind="stable")
    shown = np.unique(np.concatenate([order[:SHOWN], order[-SHOWN:]]))
    shown = shown[np.argsort(-last.s_T[shown], kind="stable")]
    patches = feature_reader(prepared).patches(cohort.rows_T.take(shown), prepared.spec.strides)
    size = prepared.spec.image_size
    pixels = [read_grey((prepared.root / audit.path_T[i]).read_bytes(), size).image_1HW[0].numpy() for i in shown]
    arrays = {
        "id": cohort.id_T[shown], "score": last.s_T[shown], "p": last.p_T(cohort)[shown], "label": audit.label_T[shown],
        "image": np.stack(pixels), "distance": detector.distance_maps(patches),
    }  # fmt: skip
    evidence = detector.evidence_maps(patches)
    if evidence is not None:
        arrays["evidence"] = evidence
    plots.mkdir(exist_ok=True)
    temporary = plots / "overlays.tmp.npz"
    np.savez_compressed(temporary, **arrays)
    os.replace(temporary, plots / "overlays.npz")


def _fit_warnings(trajectory: Trajectory) -> list[str]:
    """What the fits warn of, each reason once with the fits it holds for."""
    fits: dict[str, list[int]] = {}
    for n, fit in enumerate([*(row.fit for row in trajectory.rows), trajectory.last]):
        if fit.reason:
            fits.setdefault(fit.reason, []).append(n)
    return [f"{reason} (fit {', '.join(map(str, numbers))})" for reason, numbers in fits.items()]


def _timing(progress: Progress, total: float) -> dict[str, float]:
    s = progress.seconds
    return {
        "features": s.get("features", 0.0), "fits": s.get("fits", 0.0), "controls": s.get("controls", 0.0),
        "evaluate": s.get("evaluate", 0.0), "total": total,
    }  # fmt: skip


def _manifest(
    prepared: Prepared, trajectory: Trajectory, controls: dict[Any, Fit], timing: dict[str, float]
) -> dict[str, Any]:
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


def _first_difference(held: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> str:
    for key in sorted(held.keys() | wanted.keys()):
        a, b = held.get(key), wanted.get(key)
        if a != b:
            if isinstance(a, dict) and isinstance(b, dict):
                return _first_difference(a, b, f"{prefix}{key}.")
            return f"{prefix}{key} is {a!r} there, {b!r} here"
    return "unknown"


def _write_table(path: Path, table: pa.Table) -> None:
    temporary = path.with_name(path.name + ".tmp")
    pq.write_table(table, temporary)
    os.replace(temporary, path)


def _write_json(path: Path, record: dict[str, Any]) -> None:
    _write_text(path, json.dumps(record, indent=2, allow_nan=False) + "\n")


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
