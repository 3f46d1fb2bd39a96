"""What a bundle keeps of the seeds is computed once: read from the store it is the same, byte for byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from swag_ray.detector.bundle import save_detector
from swag_ray.detector.detector import Detector
from swag_ray.experiment.loop import incremental_loop
from swag_ray.experiment.pipeline import ExperimentResult
from swag_ray.features.spec import FeatureSpec
from swag_ray.methods.fit import Experiment
from swag_ray.record.run_metrics import RunMetrics
from swag_ray.run.results import detector_of, trusted_images
from tests.support.made_up_experiment import CHANNELS, GRID, OFF, config, made_up_experiment

pytestmark = pytest.mark.usefixtures("one_thread")
SPEC = FeatureSpec("-", "-", "-", 256, tuple(CHANNELS), GRID)
KEPT = ["domain", "heat", "trusted"]


def finished(root: Path, *overrides: str) -> tuple[Experiment, Detector]:
    """A run that needs what its store does not hold."""
    experiment, _ = made_up_experiment(root, config("rounds=1", *overrides), variants=True)
    loop = incremental_loop(experiment)
    paths = pa.chunked_array([[f"{i}.png" for i in range(len(experiment.cohort.seeds))]])
    prepared: Any = SimpleNamespace(experiment=experiment, spec=SPEC, typical=None, root=Path("/films"))
    prepared.seed_paths = paths
    detector = detector_of(ExperimentResult(prepared, loop, {}, loop.seed_bank, RunMetrics()))
    return experiment, replace(detector, trusted=trusted_images(prepared))


def computed(experiment: Experiment) -> list[str]:
    return sorted(name for name, _, _ in experiment.store.computed if name in KEPT)


def bundle(detector: Detector, folder: Path) -> dict[str, bytes]:
    save_detector(detector, {"weight": np.zeros(1, np.float32)}, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_read_again_they_are_the_same_bytes(tmp_path: Path) -> None:
    first, made = finished(tmp_path / "store")
    again, read = finished(tmp_path / "store")
    assert computed(first) == KEPT and not again.store.computed
    files = bundle(made, tmp_path / "first")
    assert {"heat.npz", "trusted.npz"} < files.keys() and bundle(read, tmp_path / "again") == files


@pytest.mark.parametrize(
    ("overrides", "moved"),
    [
        (OFF, ["heat"]),  # another last fit
        (("auxiliary.weight=0",), ["heat"]),
        (("memory.coreset_ratio=0.2",), ["heat"]),
        (("memory.strides=[8]",), ["heat", "trusted"]),
        (("split.seed_fraction=0.4",), KEPT),
        (("rounds=2",), ["heat"]),
        (("report.anonymous=true", "calibration.false_positive_rate=0.2"), []),
    ],
)
def test_what_moves_them_names_them_anew(tmp_path: Path, overrides: tuple[str, ...], moved: list[str]) -> None:
    finished(tmp_path)
    other, detector = finished(tmp_path, *overrides)
    assert computed(other) == moved
    fresh = finished(tmp_path / "fresh", *overrides)[1]
    assert bundle(detector, tmp_path / "a") == bundle(fresh, tmp_path / "b")
