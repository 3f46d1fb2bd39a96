"""What a finished experiment leaves in its run directory: detector, tables, overlays."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from swag_ray.config import to_yaml
from swag_ray.core.seeding import numpy_generator
from swag_ray.detector.bundle import save_detector
from swag_ray.detector.detector import Detector, DetectorArm, score_maps, seed_patches
from swag_ray.errors import InputError, reason_of
from swag_ray.experiment.pipeline import ExperimentResult
from swag_ray.features.spec import FeatureSpec
from swag_ray.images.decode import picture
from swag_ray.images.image_error import ImageError
from swag_ray.methods.fit import Experiment
from swag_ray.methods.settings import bank_settings, contrast_settings
from swag_ray.models.tasks import ScoreTask
from swag_ray.record.files import (
    CONFIG_FILE,
    DETECTOR_FOLDER,
    OVERLAYS_FILE,
    PLOTS_FOLDER,
    ROUNDS_FILE,
    SCORES_FILE,
    explain_write_errors,
    write_table,
    write_text,
)
from swag_ray.store.stages import Arrays
from swag_ray.system.files import make_folders, whole_file

MEASURED = 300  # seeds at most, whose patches are the scale of the maps: 192 of 64 each lie above the 99th centile
SHOWN = 6  # overlays of that many highest- and lowest-scored test images


def write_results(directory: Path, result: ExperimentResult) -> None:
    """Writes config.yaml, detector, tables and overlays; the run is complete once `write_records` wrote the rest."""
    from swag_ray.experiment.tables import rounds_table, scores_table

    prepared, last = result.prepared, result.trajectory.last
    experiment, audit, detector = prepared.experiment, prepared.audit, detector_of(result)
    weights = prepared.spec.weights_in(experiment.store)
    overlays = _overlays(result, detector) if experiment.config.report.images else None
    with explain_write_errors(directory):
        write_text(directory / CONFIG_FILE, to_yaml(experiment.config))
        save_detector(detector, weights, directory / DETECTOR_FOLDER)
        rounds, pool = rounds_table(experiment, audit, result.trajectory), len(experiment.cohort.pool)
        write_table(directory / ROUNDS_FILE, rounds, group=pool)  # the report takes one round after the other
        write_table(directory / SCORES_FILE, scores_table(experiment, audit, last, result.controls))
        if overlays is not None:
            make_folders(directory / PLOTS_FOLDER)
            with whole_file(directory / OVERLAYS_FILE) as draft, draft.open("wb") as file:
                np.savez_compressed(file, **overlays)  # type: ignore[arg-type]


def detector_of(result: ExperimentResult) -> Detector:
    """Returns the last fit as a detector of new images."""
    experiment, last = result.prepared.experiment, result.trajectory.last
    config, cohort = experiment.config, experiment.cohort
    spec = result.prepared.spec
    if config.report.anonymous and os.sep in spec.weights:
        spec = replace(spec, weights="a file")  # its digest says which
    fused = last.score_used == "fused"
    models = tuple(last.folds)
    arms = [
        DetectorArm(arm.name, arm.weight, arm.location, arm.sd, models if arm.name == "bank" else tuple(part.folds))
        for part in last.arms
        for arm in [part.arm]
        if arm.weight > 0
    ]
    banks = models if result.final_bank.folds is last.folds else tuple(result.final_bank.folds)
    return Detector(
        name=config.name, score_used=last.score_used, spec=spec, bank=bank_settings(config),
        head=contrast_settings(config) if fused else None,
        rate=config.calibration.false_positive_rate, seed_s=last.seed_s,
        seed_fold=cohort.fold_N[cohort.seeds], models=models, banks=banks,
        arms=tuple(arms) if fused else (), typical=result.prepared.typical,
    )  # fmt: skip


def _overlays(result: ExperimentResult, detector: Detector) -> Arrays:
    """Returns the highest- and lowest-scored test images with their maps, for the report."""
    prepared, last = result.prepared, result.trajectory.last
    cohort, audit = prepared.experiment.cohort, prepared.audit
    order = np.argsort(-last.s_T, kind="stable")
    shown = np.unique(np.concatenate([order[:SHOWN], order[-SHOWN:]]))
    shown = shown[np.argsort(-last.s_T[shown], kind="stable")]
    maps = prepared.experiment.workers.run_one(score_maps, cohort.rows_T.take(shown), detector)
    scale = prepared.experiment.workers.run_one(seed_patches, _measured(prepared.experiment), detector)
    pixels = [_pixels(prepared.root / audit.path_T[i], prepared.spec) for i in shown]
    facts = {
        "id": np.array(cohort.id_T.take(pa.array(shown)).to_pylist(), dtype=str), "score": last.s_T[shown],
        "p": last.p_T[shown], "label": audit.label_T[shown],
    }  # fmt: skip
    return facts | {"image": np.stack(pixels), "seed_patches": scale} | maps


def _measured(experiment: Experiment) -> ScoreTask:
    """Returns the seeds, or as many of them as are measured, each with its own fold."""
    cohort, generator = experiment.cohort, numpy_generator(experiment.config.random_seed, "seed patches")
    chosen = cohort.seeds
    if len(chosen) > MEASURED:
        chosen = np.sort(generator.choice(chosen, MEASURED, replace=False))
    return ScoreTask(np.arange(len(chosen)), cohort.rows_N.take(chosen), cohort.fold_N[chosen])


def _pixels(path: Path, spec: FeatureSpec) -> NDArray[np.uint8]:
    try:
        return picture(path.read_bytes(), spec.image_size, spec.white)
    except (OSError, ImageError) as error:
        raise InputError(f"dataset: '{path}' changed after it was listed ({reason_of(error)})", "run again") from error
