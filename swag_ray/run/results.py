"""What a finished experiment leaves in its run directory: detector, tables, pictures."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from swag_ray.config import to_yaml
from swag_ray.detector.bundle import save_detector
from swag_ray.detector.detector import Detector, DetectorArm
from swag_ray.detector.trusted import Trusted
from swag_ray.experiment.pipeline import ExperimentResult
from swag_ray.experiment.prepare import Prepared
from swag_ray.methods.settings import bank_settings, contrast_settings
from swag_ray.record.files import (
    CONFIG_FILE,
    DETECTOR_FOLDER,
    OVERLAYS_FILE,
    PLOTS_FOLDER,
    POOL_FILE,
    ROUNDS_FILE,
    SCORES_FILE,
    SEEDS_FILE,
    explain_write_errors,
    write_csv,
    write_table,
    write_text,
)
from swag_ray.run.localise import localisation
from swag_ray.run.pictures import report_pictures
from swag_ray.run.seed_stages import kept_domain, kept_heat, kept_view
from swag_ray.system.files import make_folders, whole_file


def write_results(directory: Path, result: ExperimentResult) -> None:
    """Writes config.yaml, detector, tables and pictures; the run is complete once `write_records` wrote the rest."""
    from swag_ray.experiment.tables import pool_table, rounds_table, scores_table, seeds_table

    prepared, last = result.prepared, result.trajectory.last
    experiment, audit = prepared.experiment, prepared.audit
    detector = replace(detector_of(result), trusted=trusted_images(prepared))
    if pointed := localisation(result, detector):
        result.metrics.localisation = pointed
    weights = prepared.spec.weights_in(experiment.store)
    pictures = report_pictures(result, detector) if experiment.config.report.images else None
    with explain_write_errors(directory):
        write_text(directory / CONFIG_FILE, to_yaml(experiment.config))
        save_detector(detector, weights, directory / DETECTOR_FOLDER)
        further_N, further_T = prepared.further_N, prepared.further_T
        rounds = rounds_table(experiment, audit, result.trajectory, further_N)
        # The report takes one round after the other.
        write_table(directory / ROUNDS_FILE, rounds, group=len(experiment.cohort.pool))
        scores = scores_table(experiment, audit, last, result.controls, further_T)
        write_table(directory / SCORES_FILE, scores)
        write_table(directory / SEEDS_FILE, seeds_table(experiment, prepared.seed_paths, last, further_N))
        pool = pool_table(experiment, prepared.pool_paths, result.trajectory, further_N)
        write_csv(directory / POOL_FILE, pool)
        if pictures is not None:
            make_folders(directory / PLOTS_FOLDER)
            with whole_file(directory / OVERLAYS_FILE) as draft, draft.open("wb") as file:
                np.savez_compressed(file, **pictures)  # type: ignore[arg-type]


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
        DetectorArm(
            arm.name,
            arm.weight,
            arm.location,
            arm.sd,
            models if arm.name == "bank" else tuple(part.folds),
            seed_s=arm.s_N[cohort.seeds],
        )
        for part in last.arms
        for arm in [part.arm]
        if arm.weight > 0
    ]
    banks = models if result.final_bank.folds is last.folds else tuple(result.final_bank.folds)
    detector = Detector(
        name=config.name, score_used=last.score_used, spec=spec, bank=bank_settings(config),
        head=contrast_settings(config) if fused else None,
        rate=config.calibration.false_positive_rate, seed_s=last.seed_s,
        seed_fold=cohort.fold_N[cohort.seeds], models=models, banks=banks,
        arms=tuple(arms) if fused else (), typical=result.prepared.typical,
        domain=kept_domain(experiment, spec),
    )  # fmt: skip
    return replace(detector, heat=kept_heat(experiment, detector, last, result.final_bank))


def trusted_images(prepared: Prepared) -> Trusted:
    """Returns the seeds, to be told beside new images; of an anonymous run without their paths."""
    experiment, config = prepared.experiment, prepared.experiment.config
    view, embedding_nR = kept_view(experiment, prepared.spec)
    cohort, root = experiment.cohort, prepared.root
    root = root.absolute() if isinstance(root, Path) else root
    paths = None if config.report.anonymous else np.array([str(root / p) for p in prepared.seed_paths.to_pylist()])
    ids = np.array(cohort.id_N.take(pa.array(cohort.seeds)).to_pylist())
    return Trusted(ids, paths, embedding_nR, view, config.report.images)
