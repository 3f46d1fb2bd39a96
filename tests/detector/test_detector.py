"""The fold models as one detector: what its maps are measured against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from swag_ray.core.score import image_score
from swag_ray.detector.detector import Detector, seed_patches
from swag_ray.experiment.loop import incremental_loop
from swag_ray.features.spec import FeatureSpec
from swag_ray.methods.bank_fit import bank_fit
from swag_ray.methods.settings import bank_settings, contrast_settings
from swag_ray.models.tasks import ScoreTask
from tests.support.made_up_experiment import CHANNELS, GRID, PLACES, config, here, made_up_experiment

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("method", ["contrast", "published"])
def test_it_scores_test_images_as_the_fit_did_bit_for_bit(tmp_path: Path, method: str) -> None:
    """Scores leave the actors as float32: a detector that kept more digits would place images between seeds."""
    experiment, _ = made_up_experiment(tmp_path, config("rounds=1", method=method))
    loop, cohort, folds = incremental_loop(experiment), experiment.cohort, experiment.cohort.folds
    fits = [loop.last] if method == "published" else [loop.last, loop.seed_bank]
    for fit in fits:
        detector = Detector(
            name="made-up", score_used=fit.score_used, spec=FeatureSpec("-", "-", "-", 256, tuple(CHANNELS), GRID),
            bank=bank_settings(experiment.config), rate=0.05, seed_s=fit.seed_s,
            head=contrast_settings(experiment.config) if fit.head_on and method == "contrast" else None,
            seed_fold=cohort.fold_N[cohort.seeds], models=fit.folds, banks=loop.seed_bank.folds,
        )  # fmt: skip
        score_TK = detector.scores(here(experiment).reader.patches(cohort.rows_T, tuple(CHANNELS)))
        assert score_TK.shape == (len(cohort.id_T), folds) and np.array_equal(score_TK, fit.s_TK)
        assert np.array_equal(detector.p_values(score_TK), fit.p_T)


def test_the_scale_of_the_maps_is_made_by_banks_that_never_saw_the_seed(tmp_path: Path) -> None:
    """Each seed's patches are measured by the bank that gave its score, not by those that hold it."""
    experiment, _ = made_up_experiment(tmp_path, config())
    cohort = experiment.cohort
    fit = bank_fit(experiment, cohort.seeds)
    settings = bank_settings(experiment.config)
    fold_n = cohort.fold_N[cohort.seeds]
    detector = Detector(
        name="made-up", score_used="seed_bank", spec=FeatureSpec("-", "-", "-", 256, tuple(CHANNELS), GRID),
        bank=settings, head=None, rate=0.05, seed_s=fit.seed_s, seed_fold=fold_n, models=fit.folds, banks=fit.folds,
    )  # fmt: skip
    reader, rows = here(experiment).reader, cohort.rows_N.take(cohort.seeds)
    distance_nP = detector.held_out_distances(reader.patches(rows, tuple(CHANNELS)), fold_n)
    assert distance_nP.shape == (len(cohort.seeds), PLACES)
    np.testing.assert_allclose(image_score(distance_nP, settings.top_fraction), fit.seed_s, rtol=1e-5)
    scale = seed_patches(reader, ScoreTask(np.arange(len(rows)), rows, fold_n), detector)
    assert scale == pytest.approx([distance_nP.mean(), distance_nP.std(), np.percentile(distance_nP, 99)])
