"""A detector knows what its seeds are like: from what the store holds of them, and through its bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from swag_ray.core.domain import Domain
from swag_ray.detector import domain as of_detector
from swag_ray.detector.bundle import load_detector, save_detector
from swag_ray.detector.detector import Detector
from swag_ray.detector.domain import domain_arrays, domain_of, seed_domain
from swag_ray.errors import InputError
from swag_ray.experiment.loop import incremental_loop
from swag_ray.experiment.pipeline import ExperimentResult
from swag_ray.features.spec import FeatureSpec
from swag_ray.methods.fit import Experiment
from swag_ray.models.tasks import ScoreTask
from swag_ray.record.run_metrics import RunMetrics
from swag_ray.run.results import detector_of
from tests.support.made_up_experiment import CHANNELS, GRID, OFF, config, here, made_up_experiment

pytestmark = pytest.mark.usefixtures("one_thread")
SPEC = FeatureSpec("-", "-", "-", 256, tuple(CHANNELS), GRID)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, Detector]:
    settings = config("rounds=1", *OFF, "auxiliary.weight=0")
    experiment, _ = made_up_experiment(tmp_path_factory.mktemp("store"), settings)
    loop = incremental_loop(experiment)
    prepared: Any = SimpleNamespace(experiment=experiment, spec=SPEC, typical=None)
    return experiment, detector_of(ExperimentResult(prepared, loop, {}, loop.seed_bank, RunMetrics()))


def rows_of(experiment: Experiment) -> list[dict[str, Any]]:
    """The test images as extraction yields them."""
    reader, rows = here(experiment).reader, experiment.cohort.rows_T
    patches = reader.patches(rows, tuple(CHANNELS))
    seen = reader.statistics(rows, np.zeros(len(rows), np.int64))
    return [
        {
            "error": None, "top": None, "features": {stride: x[i] for stride, x in patches.items()},
            "statistics": (seen.thumbnail_NHW[i], seen.grey_NQ[i], seen.border_N[i]),
            "width": seen.size_N2[i, 0], "height": seen.size_N2[i, 1],
        }
        for i in range(len(rows))
    ]  # fmt: skip


def equal(one: Domain, other: Domain) -> bool:
    a, b = domain_arrays(one), domain_arrays(other)
    return a.keys() == b.keys() and all(
        np.array_equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a
    )


def test_rows_get_their_reason_and_a_bundle_keeps_it(made: tuple[Experiment, Detector], tmp_path: Path) -> None:
    experiment, detector = made
    rows = rows_of(experiment)
    rows[1] |= {"width": 2000, "height": 500}
    rows[2] |= {"top": 255}
    rows[3] |= {"error": "it is truncated", "statistics": None, "features": None, "width": 0, "height": 0}
    rows[4] |= {"features": {s: x + np.float16(40) for s, x in rows[4]["features"].items()}}
    save_detector(detector, {"weight": np.zeros(1, np.float32)}, tmp_path / "bundle")
    loaded = load_detector(tmp_path / "bundle")
    assert detector.domain is not None and loaded.domain is not None and equal(detector.domain, loaded.domain)
    found = detector.out_of_domain(rows)
    assert found == loaded.out_of_domain(rows) and len(found) == len(rows)
    assert "2000 x 500 pixels" in str(found[1]) and "8 of 16 bits" in str(found[2])
    assert found[3] is None and "texture" in str(found[4])
    assert sum(reason is not None for reason in [found[0], *found[5:]]) <= 1  # half of them are made-up anomalies
    assert sum(array.nbytes for array in domain_arrays(detector.domain).values()) < 70_000
    assert detector.out_of_domain([]) == []


def test_a_bundle_without_a_domain_loads_and_says_nothing(made: tuple[Experiment, Detector], tmp_path: Path) -> None:
    """As one that was made without."""
    experiment, detector = made
    save_detector(replace(detector, domain=None), {"weight": np.zeros(1, np.float32)}, tmp_path / "bundle")
    loaded = load_detector(tmp_path / "bundle")
    rows = rows_of(experiment)
    assert loaded.domain is None and loaded.out_of_domain(rows) == [None] * len(rows)


def test_a_domain_with_a_part_missing_is_a_damaged_bundle(
    made: tuple[Experiment, Detector], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, detector = made
    assert detector.domain is not None
    arrays = domain_arrays(detector.domain)
    monkeypatch.setattr(
        "swag_ray.detector.bundle.domain_arrays", lambda domain: {n: a for n, a in arrays.items() if n != "view_D"}
    )
    save_detector(detector, {"weight": np.zeros(1, np.float32)}, tmp_path / "bundle")
    with pytest.raises(InputError, match="damaged"):
        load_detector(tmp_path / "bundle")
    assert domain_of({}) is None


def test_the_domain_is_the_seeds_alone_and_of_many_evenly_some(
    made: tuple[Experiment, Detector], monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, detector = made
    cohort, reader = experiment.cohort, here(experiment).reader
    seeds = cohort.seeds
    task = ScoreTask(np.arange(len(seeds)), cohort.rows_N.take(seeds), cohort.fold_N[seeds])
    whole = seed_domain(reader, task, SPEC)
    assert detector.domain is not None and equal(whole, detector.domain)
    monkeypatch.setattr(of_detector, "AT_A_TIME", 7)
    assert equal(seed_domain(reader, task, SPEC), whole)
    monkeypatch.setattr(of_detector, "MOST", 12)
    index = np.unique(np.linspace(0, len(seeds) - 1, 12).astype(int))
    some = ScoreTask(index, task.rows.take(index), task.fold[index])
    read: list[int] = []
    patches = reader.patches
    monkeypatch.setattr(reader, "patches", lambda rows, strides: (read.append(len(rows)), patches(rows, strides))[1])
    few = seed_domain(reader, task, SPEC)
    assert read == [7, 5]
    assert equal(few, seed_domain(reader, some, SPEC)) and not equal(few, whole)
