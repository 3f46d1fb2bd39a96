"""What a bundle keeps of the seeds: what they look like, how they lie, and what heatmaps are measured in.

Each is a stage of the store, so that a run of which all else is there does not read the seeds' features again. None
depends on a test image, a file name or a label.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.domain import Domain
from swag_ray.detector.detector import Detector
from swag_ray.detector.domain import domain_arrays, domain_of, seed_domain
from swag_ray.detector.heat_scale import HeatTask, heat_scale
from swag_ray.detector.heatmap import HeatScale, heat_arrays, heat_of
from swag_ray.detector.trusted import View, embed_seeds, view_arrays, view_of
from swag_ray.features.spec import FeatureSpec
from swag_ray.methods.fit import Experiment, Fit
from swag_ray.methods.settings import bank_settings
from swag_ray.models.tasks import ScoreTask
from swag_ray.store.stages import Result, stage_key


def kept_domain(experiment: Experiment, spec: FeatureSpec) -> Domain:
    """Returns what the seeds' images are like."""

    def compute() -> Result:
        return Result(domain_arrays(experiment.workers.run_one(seed_domain, _seeds(experiment), spec)))

    key = stage_key("domain", {}, [experiment.cohort.key])
    domain = domain_of(experiment.store.stage("domain", key, compute).arrays)
    assert domain is not None
    return domain


def kept_view(experiment: Experiment, spec: FeatureSpec) -> tuple[View, NDArray[np.float16]]:
    """Returns how the seeds are embedded, and their vectors (n, R)."""
    strides = bank_settings(experiment.config).strides

    def compute() -> Result:
        view, embedding_nR = experiment.workers.run_one(embed_seeds, _seeds(experiment), spec, strides)
        return Result(view_arrays(view) | {"embedding": embedding_nR})

    key = stage_key("trusted", {"strides": sorted(strides)}, [experiment.cohort.key])
    arrays = experiment.store.stage("trusted", key, compute).arrays
    return view_of(arrays), arrays["embedding"]


def kept_heat(experiment: Experiment, detector: Detector, last: Fit, final_bank: Fit) -> HeatScale:
    """Returns what a detector's maps are measured in.

    Args:
        last, final_bank: what the detector is made of.
    """
    cohort = experiment.cohort

    def compute() -> Result:
        task = _measured(experiment, detector.spec)
        return Result(heat_arrays(experiment.workers.run_one(heat_scale, task, detector)))

    variants = [cohort.variants.key] if cohort.variants is not None else []
    key = stage_key("heat", {}, [cohort.key, last.key, final_bank.key, *variants])
    return heat_of(experiment.store.stage("heat", key, compute).arrays)


def _measured(experiment: Experiment, spec: FeatureSpec) -> HeatTask:
    """Returns seeds and variants, each with its own fold, and where the variants are altered."""
    cohort = experiment.cohort
    recipes = cohort.variants.recipes if cohort.variants is not None else ()
    cell = spec.image_size // spec.grid
    share_VGG = np.zeros((len(recipes), spec.grid, spec.grid), np.float32)
    for i, recipe in enumerate(recipes):
        place = recipe.place(spec.image_size)[: cell * spec.grid, : cell * spec.grid]
        share_VGG[i] = place.reshape(spec.grid, cell, spec.grid, cell).mean(axis=(1, 3))
    rows_V, host_V = cohort.rows_N.take(cohort.seeds[:0]), cohort.seeds[:0]
    if cohort.variants is not None and recipes:
        rows_V, host_V = cohort.variants.rows_V, cohort.variants.host_V
    variants = ScoreTask(np.arange(len(recipes)), rows_V, cohort.fold_N[host_V])
    return HeatTask(_seeds(experiment), variants, share_VGG)


def _seeds(experiment: Experiment) -> ScoreTask:
    """Returns the seeds, each with its own fold."""
    cohort = experiment.cohort
    return ScoreTask(np.arange(len(cohort.seeds)), cohort.rows_N.take(cohort.seeds), cohort.fold_N[cohort.seeds])
