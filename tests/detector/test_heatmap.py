"""Heatmaps: in whose units they are, by whose models, and that they point. Made-up features, known places."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from swag_ray.detector.bundle import digest_of, load_detector, save_detector
from swag_ray.detector.detector import Detector
from swag_ray.detector.heat_scale import HeatTask, heat_scale
from swag_ray.errors import InputError
from swag_ray.experiment.loop import incremental_loop
from swag_ray.experiment.pipeline import ExperimentResult
from swag_ray.features.reader import FeatureReader
from swag_ray.features.spec import FeatureSpec
from swag_ray.methods.fit import Experiment
from swag_ray.models.tasks import ScoreTask
from swag_ray.record.run_metrics import RunMetrics
from swag_ray.run.results import detector_of
from tests.support.made_up_experiment import CHANNELS, GRID, OFF, config, here, made_up_experiment

pytestmark = pytest.mark.usefixtures("one_thread")
SPEC = FeatureSpec("-", "-", "-", 256, tuple(CHANNELS), GRID)
WEIGHTS = {"weight": np.zeros(1, np.float32)}


def fitted(root: Path, method: str = "contrast", *overrides: str) -> tuple[Experiment, FeatureReader, Detector]:
    experiment, _ = made_up_experiment(
        root, config("rounds=1", *overrides, method=method), variants=method == "contrast"
    )
    loop = incremental_loop(experiment)
    prepared: Any = SimpleNamespace(experiment=experiment, spec=SPEC, typical=None)
    bank = loop.last if method == "published" else loop.seed_bank
    detector = detector_of(ExperimentResult(prepared, loop, {}, bank, RunMetrics()))
    return experiment, here(experiment).reader, detector


def tasks(experiment: Experiment, reader: FeatureReader) -> HeatTask:
    """The experiment's seeds and variants; a place is altered where it is not the host's."""
    cohort = experiment.cohort
    assert cohort.variants is not None
    rows, host_V = cohort.variants.rows_V, cohort.variants.host_V
    before, after = (reader.patches(r, [8])[8] for r in (cohort.rows_N.take(host_V), rows))
    share_VGG = (before != after).any(axis=2).astype(np.float32).reshape(-1, GRID, GRID)
    seeds = ScoreTask(np.arange(len(cohort.seeds)), cohort.rows_N.take(cohort.seeds), cohort.fold_N[cohort.seeds])
    return HeatTask(seeds, ScoreTask(np.arange(len(rows)), rows, cohort.fold_N[host_V]), share_VGG)


def held_out(detector: Detector, reader: FeatureReader, task: ScoreTask) -> NDArray[np.float32]:
    maps_nGG = np.empty((len(task.rows), GRID, GRID), np.float32)
    for k in np.unique(task.fold):
        patches = reader.patches(task.rows.take(np.flatnonzero(task.fold == k)), tuple(CHANNELS))
        maps_nGG[task.fold == k] = detector.of_fold(int(k)).heatmaps(patches)
    return maps_nGG


@pytest.mark.parametrize(
    ("method", "overrides", "parts"),
    [
        ("contrast", (), ["distance", "evidence"]), ("contrast", OFF, ["distance"]),
        ("contrast", ("auxiliary.weight=0", *OFF), ["distance"]), ("published", (), ["distance"]),
    ],
)  # fmt: skip
def test_a_run_keeps_maps_in_units_of_its_held_out_seeds(
    tmp_path: Path, method: str, overrides: tuple[str, ...], parts: list[str]
) -> None:
    """Also where nothing is known of where the variants are altered, and in a bundle."""
    experiment, reader, detector = fitted(tmp_path / "store", method, *overrides)
    assert detector.heat is not None and [part.name for part in detector.heat.parts] == parts
    cohort = experiment.cohort
    seeds = ScoreTask(np.arange(len(cohort.seeds)), cohort.rows_N.take(cohort.seeds), cohort.fold_N[cohort.seeds])
    maps = held_out(detector, reader, seeds)
    assert maps.mean() == pytest.approx(0, abs=1e-4) and maps.std() == pytest.approx(1, abs=1e-4)
    assert np.percentile(maps, 99) == pytest.approx(detector.heat.low, abs=1e-3)
    assert detector.heat.high >= detector.heat.low + 1
    patches = reader.patches(cohort.rows_T, tuple(CHANNELS))
    save_detector(detector, WEIGHTS, tmp_path / "bundle")
    loaded = load_detector(tmp_path / "bundle")
    np.testing.assert_array_equal(loaded.heatmaps(patches), detector.heatmaps(patches))


def test_maps_point_at_what_the_folds_have_not_seen(tmp_path: Path) -> None:
    """Variants and seeds by models of other folds; the bank alone is blind to so small a change."""
    experiment, reader, detector = fitted(tmp_path / "store")
    task = tasks(experiment, reader)
    scale = heat_scale(reader, task, detector)
    assert [part.name for part in scale.parts] == ["distance", "cells", "evidence"]
    detector = replace(detector, heat=scale)
    peaks_V = held_out(detector, reader, task.variants).reshape(len(task.share_VGG), -1).argmax(axis=1)
    altered_VP = task.share_VGG.reshape(len(peaks_V), -1)
    assert altered_VP.mean() == 0.25
    assert altered_VP[np.arange(len(peaks_V)), peaks_V].mean() > 0.9
    save_detector(detector, WEIGHTS, tmp_path / "bundle")
    patches = reader.patches(task.variants.rows, tuple(CHANNELS))
    np.testing.assert_array_equal(load_detector(tmp_path / "bundle").heatmaps(patches), detector.heatmaps(patches))


def test_no_image_of_a_fold_is_in_its_discriminant(tmp_path: Path) -> None:
    experiment, reader, detector = fitted(tmp_path)
    task = tasks(experiment, reader)
    before = heat_scale(reader, task, detector).cells_KC
    hidden = task.share_VGG.copy()
    hidden[task.variants.fold == 1] = 0.3  # neither altered nor plain
    after = heat_scale(reader, replace(task, share_VGG=hidden), detector).cells_KC
    assert before is not None and after is not None
    assert [np.array_equal(a, b) for a, b in zip(before, after, strict=True)] == [False, True, False]


def test_a_bundle_with_and_without_a_scale_is_the_same_detector(tmp_path: Path) -> None:
    _, _, detector = fitted(tmp_path / "store")
    for name, heat in (("with", detector.heat), ("without", None)):
        save_detector(replace(detector, heat=heat), WEIGHTS, tmp_path / name)
    assert digest_of(tmp_path / "with") == digest_of(tmp_path / "without")
    old = load_detector(tmp_path / "without")
    assert old.heat is None
    with pytest.raises(InputError, match=r"keeps no scale of heatmaps.*run again"):
        old.heatmaps({})
    heat_file = tmp_path / "with" / "heat.npz"
    heat_file.write_bytes(heat_file.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"heat\.npz' is damaged or missing"):
        load_detector(tmp_path / "with")
