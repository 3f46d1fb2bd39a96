"""What a finished experiment leaves in its run directory: detector, tables, overlays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from swag_ray.detector.bundle import save_detector
from swag_ray.detector.detector import Detector, score_maps
from swag_ray.errors import InputError, reason_of
from swag_ray.experiment.pipeline import ExperimentResult
from swag_ray.images.decode import ImageError, picture
from swag_ray.methods.settings import bank_settings, contrast_settings
from swag_ray.record.files import (
    DETECTOR_FOLDER,
    METRICS_FILE,
    OVERLAYS_FILE,
    PLOTS_FOLDER,
    ROUNDS_FILE,
    SCORES_FILE,
    explain_write_errors,
    write_table,
)
from swag_ray.store.stages import Arrays
from swag_ray.system.files import whole_file

SHOWN = 6  # overlays of that many highest- and lowest-scored test images


def write_results(directory: Path, result: ExperimentResult) -> None:
    """Writes detector, tables and overlays; the run counts as complete once `write_records` has written the rest."""
    from swag_ray.experiment.tables import rounds_table, scores_table

    prepared, last = result.prepared, result.trajectory.last
    experiment, audit, detector = prepared.experiment, prepared.audit, detector_of(result)
    weights = prepared.spec.weights_in(experiment.store)
    overlays = _overlays(result, detector) if experiment.config.report.images else None
    with explain_write_errors(directory):
        (directory / METRICS_FILE).unlink(missing_ok=True)  # without it, nothing here looks complete
        save_detector(detector, weights, directory / DETECTOR_FOLDER)
        write_table(directory / ROUNDS_FILE, rounds_table(experiment, audit, result.trajectory))
        write_table(directory / SCORES_FILE, scores_table(experiment, audit, last, result.controls))
        if overlays is not None:
            (directory / PLOTS_FOLDER).mkdir(exist_ok=True)
            with whole_file(directory / OVERLAYS_FILE) as draft, draft.open("wb") as file:
                np.savez_compressed(file, **overlays)  # type: ignore[arg-type]


def detector_of(result: ExperimentResult) -> Detector:
    """Returns the last fit as a detector of new images."""
    experiment, last = result.prepared.experiment, result.trajectory.last
    config, cohort = experiment.config, experiment.cohort
    return Detector(
        name=config.name, score_used=last.score_used, spec=result.prepared.spec, bank=bank_settings(config),
        head=contrast_settings(config) if last.score_used == "head" else None,
        rate=config.calibration.false_positive_rate, seed_s=last.seed_s,
        seed_fold=cohort.fold_N[cohort.seeds], models=last.folds, banks=result.final_bank.folds,
    )  # fmt: skip


def _overlays(result: ExperimentResult, detector: Detector) -> Arrays:
    """Returns the highest- and lowest-scored test images with their maps, for the report."""
    prepared, last = result.prepared, result.trajectory.last
    cohort, audit = prepared.experiment.cohort, prepared.audit
    order = np.argsort(-last.s_T, kind="stable")
    shown = np.unique(np.concatenate([order[:SHOWN], order[-SHOWN:]]))
    shown = shown[np.argsort(-last.s_T[shown], kind="stable")]
    maps = prepared.experiment.workers.run_one(score_maps, cohort.rows_T.take(shown), detector)
    pixels = [_pixels(prepared.root / audit.path_T[i], prepared.spec.image_size) for i in shown]
    facts = {
        "id": np.array(cohort.id_T.take(pa.array(shown)).to_pylist(), dtype=str), "score": last.s_T[shown],
        "p": last.p_T[shown], "label": audit.label_T[shown],
    }  # fmt: skip
    return facts | {"image": np.stack(pixels)} | maps


def _pixels(path: Path, size: int) -> NDArray[np.uint8]:
    try:
        return picture(path.read_bytes(), size)
    except (OSError, ImageError) as error:
        raise InputError(f"dataset: '{path}' changed after it was listed ({reason_of(error)})", "run again") from error
