"""The fold models as one detector: what its maps are measured against."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from swag_ray.core.score import image_score
from swag_ray.detector.bundle import load_detector, save_detector
from swag_ray.detector.detector import Detector, seed_patches
from swag_ray.experiment.loop import incremental_loop
from swag_ray.experiment.pipeline import ExperimentResult
from swag_ray.features.spec import FeatureSpec
from swag_ray.methods.bank_fit import bank_fit
from swag_ray.methods.method import method_of
from swag_ray.methods.settings import bank_settings
from swag_ray.models.fold_bank import bank_index
from swag_ray.models.tasks import ScoreTask
from swag_ray.record.run_metrics import RunMetrics
from swag_ray.run.results import detector_of
from tests.support.made_up_experiment import CHANNELS, GRID, OFF, PLACES, config, here, made_up_experiment

pytestmark = pytest.mark.usefixtures("one_thread")


SPEC = FeatureSpec("-", "-", "-", 256, tuple(CHANNELS), GRID)


@pytest.mark.parametrize(
    ("method", "overrides", "arms"),
    [
        ("contrast", (), ["bank", "auxiliary", "head"]), ("contrast", OFF, ["bank", "auxiliary"]),
        ("contrast", ("auxiliary.weight=0",), ["bank", "head"]), ("contrast", ("auxiliary.weight=0", *OFF), []),
        ("published", (), []),
    ],
)  # fmt: skip
def test_a_bundle_scores_test_images_as_the_fit_did_bit_for_bit(
    tmp_path: Path, method: str, overrides: tuple[str, ...], arms: list[str]
) -> None:
    """Scores leave the actors as float32: a detector that kept more digits would place images between seeds."""
    settings = config("rounds=1", *overrides, method=method)
    experiment, _ = made_up_experiment(tmp_path / "store", settings, variants=method == "contrast")
    loop, cohort = incremental_loop(experiment), experiment.cohort
    bank = method_of(experiment).final_bank(experiment, loop.decision.training, loop.last)
    prepared: Any = SimpleNamespace(experiment=experiment, spec=SPEC, typical=None)
    detector = detector_of(ExperimentResult(prepared, loop, {}, bank, RunMetrics()))
    assert [arm.name for arm in detector.arms] == arms and (detector.head is not None) == bool(arms)
    save_detector(detector, {"weight": np.zeros(1, np.float32)}, tmp_path / "bundle")
    patches = here(experiment).reader.patches(cohort.rows_T, tuple(CHANNELS))
    for one in (detector, load_detector(tmp_path / "bundle")):
        score_TK = one.scores(patches)
        assert score_TK.shape == (len(cohort.id_T), cohort.folds) and np.array_equal(score_TK, loop.last.s_TK)
        assert np.array_equal(one.p_values(score_TK), loop.last.p_T)
        site = loop.last.site
        assert np.array_equal(one.site_seed_s, site.seed_s)
        assert np.array_equal(one.scores_and_site(patches)[1], site.s_TK)
        assert np.array_equal(site.s_TK, loop.last.s_TK) == ("head" not in arms)
        assert one.score_used == loop.last.score_used
        assert np.array_equal(one.distance_maps(patches), detector.distance_maps(patches))
        sent = pickle.loads(pickle.dumps(one))
        assert "_indices" not in vars(sent) and np.array_equal(sent.scores(patches), score_TK)


def test_indices_are_made_once_a_detector_whoever_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment, _ = made_up_experiment(tmp_path / "store", config("rounds=1"), variants=True)
    loop, cohort = incremental_loop(experiment), experiment.cohort
    prepared: Any = SimpleNamespace(experiment=experiment, spec=SPEC, typical=None)
    detector = detector_of(ExperimentResult(prepared, loop, {}, loop.seed_bank, RunMetrics()))
    made: list[int] = []
    monkeypatch.setattr(
        "swag_ray.detector.detector.bank_index", lambda fold, bank: (made.append(id(fold)), bank_index(fold, bank))[1]
    )
    patches = here(experiment).reader.patches(cohort.rows_T, tuple(CHANNELS))
    parts = [{s: x[i : i + 1] for s, x in patches.items()} for i in range(len(cohort.id_T))]
    first = detector.scores(parts[0])
    assert len(made) == len(set(made)) == cohort.folds
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(detector.scores, parts))
    assert len(made) == cohort.folds and np.array_equal(found[0], first)
    assert np.array_equal(np.concatenate(found), np.concatenate([replace(detector).scores(p) for p in parts]))


def test_the_evidence_is_what_the_heads_add_to_the_score(tmp_path: Path) -> None:
    """Summed over the places it is the heads' part of the score, but for what is the same in all images."""
    experiment, _ = made_up_experiment(tmp_path / "store", config("rounds=1"), variants=True)
    loop, cohort = incremental_loop(experiment), experiment.cohort
    prepared: Any = SimpleNamespace(experiment=experiment, spec=SPEC, typical=None)
    detector = detector_of(ExperimentResult(prepared, loop, {}, loop.seed_bank, RunMetrics()))
    maps_TGG = detector.evidence_maps(here(experiment).reader.patches(cohort.rows_T, tuple(CHANNELS)))
    assert maps_TGG is not None and maps_TGG.shape == (len(cohort.id_T), 4, 4)
    heads = [part.arm for part in loop.last.arms if part.arm.name != "bank"]
    assert len(heads) == 2 and all(arm.weight > 0 for arm in heads)
    added_T = sum(arm.part(arm.s_TK).mean(axis=1) for arm in heads)
    constant_T = maps_TGG.sum(axis=(1, 2)) - added_T
    np.testing.assert_allclose(constant_T, constant_T.mean(), atol=1e-3)


def test_the_scale_of_the_maps_is_made_by_banks_that_never_saw_the_seed(tmp_path: Path) -> None:
    """Each seed's patches are measured by the bank that gave its score, not by those that hold it."""
    experiment, _ = made_up_experiment(tmp_path, config())
    cohort = experiment.cohort
    fit = bank_fit(experiment, cohort.seeds)
    settings = bank_settings(experiment.config)
    fold_n = cohort.fold_N[cohort.seeds]
    detector = Detector(
        name="made-up", score_used="seed_bank", spec=SPEC,
        bank=settings, head=None, rate=0.05, seed_s=fit.seed_s, seed_fold=fold_n, models=fit.folds, banks=fit.folds,
    )  # fmt: skip
    reader, rows = here(experiment).reader, cohort.rows_N.take(cohort.seeds)
    distance_nP = detector.held_out_distances(reader.patches(rows, tuple(CHANNELS)), fold_n)
    assert distance_nP.shape == (len(cohort.seeds), PLACES)
    np.testing.assert_allclose(image_score(distance_nP, settings.top_fraction), fit.seed_s, rtol=1e-5)
    scale = seed_patches(reader, ScoreTask(np.arange(len(rows)), rows, fold_n), detector)
    assert scale == pytest.approx([distance_nP.mean(), distance_nP.std(), np.percentile(distance_nP, 99)])
