"""What a finished experiment leaves in its run directory: detector, tables, overlays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from swag_ray.detector.bundle import save_detector
from swag_ray.detector.detector import Detector, score_maps
from swag_ray.errors import InputError
from swag_ray.experiment.pipeline import Outcome
from swag_ray.experiment.prepare import Prepared
from swag_ray.images.decode import ImageError, picture
from swag_ray.methods.fit import Fit
from swag_ray.methods.settings import bank_settings, contrast_settings
from swag_ray.record.files import METRICS_FILE, writing

SHOWN = 6  # overlays of that many highest- and lowest-scored test images


def write_results(directory: Path, outcome: Outcome, overlays: dict[str, Any] | None) -> None:
    from swag_ray.experiment.tables import rounds_table, scores_table

    prepared, last, grown = outcome.prepared, outcome.trajectory.last, outcome.grown
    lab, audit = prepared.lab, prepared.audit
    weights = prepared.spec.weights_in(lab.store)
    with writing(directory):
        (directory / METRICS_FILE).unlink(missing_ok=True)  # without it, nothing here looks complete
        save_detector(detector_of(prepared, last, grown), weights, directory / "detector")
        _write_table(directory / "rounds.parquet", rounds_table(lab, audit, outcome.trajectory))
        _write_table(directory / "scores.parquet", scores_table(lab, audit, last, outcome.controls))
        if overlays is not None:
            (directory / "plots").mkdir(exist_ok=True)
            temporary = directory / "plots" / "overlays.tmp.npz"
            np.savez_compressed(temporary, **overlays)
            os.replace(temporary, temporary.with_name("overlays.npz"))


def detector_of(prepared: Prepared, last: Fit, grown: Fit) -> Detector:
    lab = prepared.lab
    return Detector(
        name=lab.config.name, score_used=last.score_used, spec=prepared.spec, bank=bank_settings(lab.config),
        head=contrast_settings(lab.config) if last.score_used == "head" else None,
        rate=lab.config.calibration.false_positive_rate, seed_s=last.s_N[lab.cohort.seeds],
        seed_fold=lab.cohort.fold_N[lab.cohort.seeds], models=last.folds, banks=grown.folds,
    )  # fmt: skip


def overlays(outcome: Outcome) -> dict[str, Any]:
    """The highest- and lowest-scored test images with their maps, for the report."""
    prepared, last = outcome.prepared, outcome.trajectory.last
    cohort, audit, detector = prepared.lab.cohort, prepared.audit, detector_of(prepared, last, outcome.grown)
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


def _write_table(path: Path, table: pa.Table) -> None:
    temporary = path.with_name(path.name + ".tmp")
    pq.write_table(table, temporary)
    os.replace(temporary, path)
