"""Seeds are scored and mapped by their own fold's models alone, which have not seen them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from swag_ray.detector.detector import score_maps, seed_maps
from swag_ray.experiment.loop import incremental_loop
from swag_ray.experiment.pipeline import ExperimentResult
from swag_ray.features.spec import FeatureSpec
from swag_ray.models.tasks import ScoreTask
from swag_ray.record.run_metrics import RunMetrics
from swag_ray.run.results import detector_of
from tests.support.made_up_experiment import CHANNELS, GRID, OFF, config, here, made_up_experiment

pytestmark = pytest.mark.usefixtures("one_thread")
SPEC = FeatureSpec("-", "-", "-", 256, tuple(CHANNELS), GRID)


@pytest.mark.parametrize(
    ("method", "overrides", "maps"),
    [("contrast", (), {"distance", "evidence"}), ("contrast", ("auxiliary.weight=0", *OFF), {"distance"}),
     ("published", (), {"distance"})],
)  # fmt: skip
def test_a_fold_alone_gives_its_seeds_their_cross_fitted_scores(
    tmp_path: Path, method: str, overrides: tuple[str, ...], maps: set[str]
) -> None:
    settings = config("rounds=1", *overrides, method=method)
    experiment, _ = made_up_experiment(tmp_path, settings, variants=method == "contrast")
    loop, cohort, reader = incremental_loop(experiment), experiment.cohort, here(experiment).reader
    prepared: Any = SimpleNamespace(experiment=experiment, spec=SPEC, typical=None)
    final_bank = loop.last if method == "published" else loop.seed_bank
    detector = detector_of(ExperimentResult(prepared, loop, {}, final_bank, RunMetrics()))
    order = np.random.default_rng(0).permutation(cohort.seeds)  # folds mixed
    task = ScoreTask(np.arange(len(order)), cohort.rows_N.take(order), cohort.fold_N[order])
    found = seed_maps(reader, task, detector)
    assert set(found) == maps and all(len(array) == len(order) for array in found.values())
    for k in range(cohort.folds):
        own, rows = task.fold == k, cohort.rows_N.take(order[task.fold == k])
        alone = detector.of_fold(k)
        score_n1 = alone.scores(reader.patches(rows, tuple(CHANNELS)))
        np.testing.assert_allclose(score_n1[:, 0], loop.last.s_N[order[own]], rtol=1e-5, atol=1e-6)
        for name, expected in score_maps(reader, rows, alone).items():
            assert np.array_equal(found[name][own], expected), name
        by_all = score_maps(reader, rows, detector)
        assert not np.allclose(found["distance"][own], by_all["distance"])
