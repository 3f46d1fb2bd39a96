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
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from swag_ray.cluster.address import check_address
from swag_ray.cluster.workers import Workers
from swag_ray.config import Config
from swag_ray.controls import run_controls
from swag_ray.core.calibrate import DegenerateScores
from swag_ray.data.decode import ImageError, picture
from swag_ray.data.shards import DamagedShard
from swag_ray.detector import Detector, save_detector, score_maps
from swag_ray.errors import InputError
from swag_ray.experiment import Row, Trajectory, incremental_loop
from swag_ray.fits import Fit, bank_settings, contrast_settings, patch_bank_fit
from swag_ray.prepare import Prepared, Source, feature_reader, look, prepare
from swag_ray.progress import Progress
from swag_ray.remote_directory import run_folder
from swag_ray.run_directory import (
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
        check_directory(folder.path, config)
        if address is not None:
            check_address(address)
        source = look(config, progress)
        options = config.cluster.model_dump() | {"address": address}

        def attempt() -> dict[str, Any]:
            with Workers(**options) as workers:
                return _carry_out(source, workers, folder.path, progress, on_round, started, profile)

        with claimed(folder.path, config), folder.published():
            metrics = _past_damage(attempt, source, progress)
            from swag_ray.report import write_report

            write_report(folder.path)
    return Run(folder.path, metrics, folder.shown)


def _past_damage(attempt: Callable[[], dict[str, Any]], source: Source, progress: Progress) -> dict[str, Any]:
    """The attempt's result; again for every feature shard that turns out to be damaged, once each."""
    damaged: set[str] = set()
    while True:
        try:
            return attempt()
        except DamagedShard as error:
            if error.path in damaged:
                raise
            damaged.add(error.path)
            error.remove(source.store)
            progress.warning(f"'{error.path}' is damaged ({error.reason}); its images are extracted again")


def _carry_out(
    source: Source,
    workers: Workers,
    directory: Path,
    progress: Progress,
    on_round: Callable[[dict[str, Any]], None],
    started: float,
    profile: bool,
) -> dict[str, Any]:
    """Everything between the listing and the report; what is in the store is not computed again."""
    try:
        prepared = prepare(source, workers, progress)
        lab, audit = prepared.lab, prepared.audit
        for warning in prepared.warnings:
            progress.warning(warning)
        threading.Thread(target=import_module, args=["swag_ray.evaluate"], daemon=True).start()  # while Ray starts
        seconds: list[float] = []
        before = progress.seconds.get("fits", 0.0)

        def timed(row: Row) -> None:
            from swag_ray.evaluate import round_figures

            seconds.append(progress.seconds["fits"] - before - sum(seconds))
            on_round(round_figures(lab, audit, row))

        trajectory = incremental_loop(lab, on_row=timed)
        controls = run_controls(lab, audit, trajectory)
        with progress.phase("evaluate", "evaluating"):
            metrics = _write_results(directory, prepared, trajectory, controls, seconds)
    except DegenerateScores as error:
        reason = f"dataset: the trusted seeds cannot calibrate anything ({error}); are they all one image?"
        raise InputError(reason) from error
    metrics["timing"] = _timing(progress, time.perf_counter() - started)
    with writing(directory):
        _write_json(directory / MANIFEST_FILE, _manifest(prepared, trajectory, controls, metrics["timing"]))
        if profile:
            _write_json(directory / PROFILE_FILE, _profile(prepared, workers, progress))
        _write_json(directory / METRICS_FILE, metrics)
    return metrics


def _write_results(
    directory: Path, prepared: Prepared, trajectory: Trajectory, controls: dict[Any, Fit], seconds: list[float]
) -> dict[str, Any]:
    from swag_ray.evaluate import evaluate, rounds_table, scores_table  # scikit-learn takes a second to import

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
    overlays = _overlays(prepared, detector, last) if lab.config.report.images else None
    weights = prepared.spec.weights_in(lab.store)
    with writing(directory):
        (directory / METRICS_FILE).unlink(missing_ok=True)  # without it, nothing here looks complete
        save_detector(detector, weights, directory / "detector")
        _write_table(directory / "rounds.parquet", rounds_table(lab, audit, trajectory))
        _write_table(directory / "scores.parquet", scores_table(lab, audit, last, controls))
        if overlays is not None:
            (directory / "plots").mkdir(exist_ok=True)
            temporary = directory / "plots" / "overlays.tmp.npz"
            np.savez_compressed(temporary, **overlays)
            os.replace(temporary, temporary.with_name("overlays.npz"))
    return metrics


def _overlays(prepared: Prepared, detector: Detector, last: Fit) -> dict[str, Any]:
    """The highest- and lowest-scored test images with their maps, for the report."""
    cohort, audit = prepared.lab.cohort, prepared.audit
    order = np.argsort(-last.s_T, kind="stable")
    shown = np.unique(np.concatenate([order[:SHOWN], order[-SHOWN:]]))
    shown = shown[np.argsort(-last.s_T[shown], kind="stable")]
    maps = prepared.lab.workers.once(score_maps, cohort.rows_T.take(shown), detector)
    pixels = [_pixels(prepared.root / audit.path_T[i], prepared.spec.image_size) for i in shown]
    facts = {
        "id": cohort.id_T[shown], "score": last.s_T[shown], "p": last.p_T(cohort)[shown], "label": audit.label_T[shown],
    }  # fmt: skip
    return facts | {"image": np.stack(pixels)} | maps


def _pixels(path: Path, size: int) -> NDArray[np.uint8]:
    try:
        return picture(path.read_bytes(), size)
    except (OSError, ImageError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"dataset: '{path}' changed after it was listed ({reason}); run again") from error


def _fit_warnings(trajectory: Trajectory) -> list[str]:
    """What the fits warn of, each reason once with the fits it holds for."""
    fits: dict[str, list[int]] = {}
    for n, fit in enumerate([*(row.fit for row in trajectory.rows), trajectory.last]):
        if fit.reason:
            fits.setdefault(fit.reason, []).append(n)
    return [f"{reason} (fit {', '.join(map(str, numbers))})" for reason, numbers in fits.items()]


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


def _write_table(path: Path, table: pa.Table) -> None:
    temporary = path.with_name(path.name + ".tmp")
    pq.write_table(table, temporary)
    os.replace(temporary, path)


def _write_json(path: Path, record: dict[str, Any]) -> None:
    write_text(path, json.dumps(record, indent=2, allow_nan=False) + "\n")
