"""Test images come and go: what is fitted and decided stays, and they alone are scored."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from swag_ray.experiment.controls import run_controls
from swag_ray.experiment.loop import Trajectory, incremental_loop
from swag_ray.methods.fit import Experiment, Fit, StoredFolds
from swag_ray.methods.method import method_of
from swag_ray.store.pruning import contents, prune
from swag_ray.store.store import Store
from swag_ray.store.use import in_use
from tests.support.made_up_experiment import config, here, made_up_experiment

pytestmark = pytest.mark.usefixtures("one_thread")
METHODS = ("contrast", "published")
DAY = 86400.0


@dataclass
class Done:
    """A finished experiment: its loop, and all fits by name."""

    experiment: Experiment
    loop: Trajectory
    fits: dict[str, Fit]


def run(root: Path, method: str, without: tuple[int, ...] = ()) -> Done:
    """Loop, controls and last bank, without some of the test images."""

    def listed(table: pa.Table) -> pa.Table:
        test = np.flatnonzero(pc.equal(table.column("split"), "test"))
        return table.take(pa.array(np.delete(np.arange(len(table)), test[list(without)])))

    settings = config("rounds=1", method=method)
    experiment, audit = made_up_experiment(root, settings, listed=listed, variants=method == "contrast")
    loop = incremental_loop(experiment)
    fits = {"seed bank": loop.seed_bank, "last": loop.last} | {f"row {row.n}": row.fit for row in loop.rows}
    fits |= {f"control {name}": fit for name, fit in run_controls(experiment, audit, loop).items()}
    fits["final bank"] = method_of(experiment).final_bank(experiment, loop.decision.training, loop.last)
    assert len(fits) == 4 + 6 + 1, "bank, two rows and last; six controls; the last bank"
    return Done(experiment, loop, fits)


def computed(done: Done) -> Counter[str]:
    return Counter(name for name, _, _ in done.experiment.store.computed)


def assert_same_train(done: Done, other: Done) -> None:
    assert done.fits.keys() == other.fits.keys()
    for name, fit in done.fits.items():
        assert fit.key == other.fits[name].key, name
        np.testing.assert_array_equal(fit.s_N, other.fits[name].s_N, name)
        np.testing.assert_array_equal(fit.u_N, other.fits[name].u_N, name)
        weights = [part.arm.weight for part in fit.arms]
        assert weights == [part.arm.weight for part in other.fits[name].arms]
    for row, twin in zip(done.loop.rows, other.loop.rows, strict=True):
        assert row.decision.key == twin.decision.key
        for name, array in row.decision.arrays.items():
            np.testing.assert_array_equal(array, twin.decision.arrays[name], name)


def by_id(done: Done, name: str) -> dict[str, list[float]]:
    return dict(zip(done.experiment.cohort.id_T.to_pylist(), done.fits[name].s_TK.tolist(), strict=True))


LACKS = 7  # the test image that the finished experiments lack


@pytest.fixture(scope="module", params=METHODS)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Done:
    torch.set_num_threads(1)
    return run(tmp_path_factory.mktemp("finished"), request.param, (LACKS,))


@pytest.fixture
def store(finished: Done, tmp_path: Path) -> Path:
    """A copy of what it left."""
    return Path(shutil.copytree(finished.experiment.store.root, tmp_path / "store"))


@pytest.mark.parametrize("without", [(), (LACKS, 20), (20,)], ids=["more", "fewer", "other"])
def test_other_test_images_cost_their_scores_alone(
    finished: Done, store: Path, tmp_path: Path, without: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Counter[tuple[str, str]] = Counter()
    load = Store.load
    monkeypatch.setattr(Store, "load", lambda self, name, key: read.update([(name, key)]) or load(self, name, key))
    other = run(store, finished.experiment.config.method, without)
    work = here(other.experiment)
    assert work.fits == work.published == work.admitted == []
    assert work.scored and all(task.by_all for _, task in work.scored), "no train image"
    assert computed(other).keys() == {"test"} and computed(other)["test"] == computed(finished)["test"]
    assert max(count for (name, _), count in read.items() if name == "bank") == 1, "each bank is read once"
    assert not any(fit.folds.held for fit in other.fits.values() if isinstance(fit.folds, StoredFolds))
    assert_same_train(other, finished)
    for name in finished.fits:
        was, now = by_id(finished, name), by_id(other, name)
        stayed = was.keys() & now.keys()
        assert len(stayed) == 39 - (20 in without) and len(now) == 40 - len(without)
        np.testing.assert_allclose([now[i] for i in stayed], [was[i] for i in stayed], rtol=1e-5, atol=1e-6)
    if not without:
        fresh = run(tmp_path / "fresh", finished.experiment.config.method)
        for name, fit in fresh.fits.items():
            np.testing.assert_allclose(other.fits[name].s_TK, fit.s_TK, rtol=1e-5, atol=1e-6)


def again_without(finished: Done, store: Path, *stages: str) -> Done:
    """The same experiment on a store that has lost these stages."""
    for stage in stages:
        shutil.rmtree(store / "stages" / stage)
    return run(store, finished.experiment.config.method, (LACKS,))


def assert_same_test(done: Done, other: Done) -> None:
    for name, fit in done.fits.items():
        np.testing.assert_array_equal(fit.s_TK, other.fits[name].s_TK, name)


def test_lost_test_scores_are_computed_again_and_nothing_else(finished: Done, store: Path) -> None:
    again = again_without(finished, store, "test")
    assert computed(again) == {"test": computed(finished)["test"]} and here(again.experiment).fits == []
    assert_same_train(again, finished)
    assert_same_test(again, finished)


def test_where_the_models_are_lost_as_well_the_same_are_fitted_again(finished: Done, store: Path) -> None:
    again, work = again_without(finished, store, "test", "bank"), finished.experiment.config.method
    assert computed(again).keys() == {"test"}, "their stage is there again, the train scores always were"
    fitted = Counter(name for name, _ in here(again.experiment).fits)
    assert fitted.keys() == ({"fit_bank"} if work == "contrast" else {"fit_bank", "fit_published"})
    assert fitted.total() == 3 * len(list((store / "stages/bank").iterdir())), "three folds, each once"
    assert_same_train(again, finished)
    assert_same_test(again, finished)
    for name, fit in again.fits.items():
        for fold, kept in zip(fit.folds, finished.fits[name].folds, strict=True):
            assert fold.keys() == kept.keys() and all(np.array_equal(fold[part], kept[part]) for part in kept)


def test_lost_train_scores_are_computed_again_without_the_test_images(finished: Done, store: Path) -> None:
    lost = [stage for stage in ("scores", "fit", "auxiliary") if (store / "stages" / stage).exists()]
    again = again_without(finished, store, *lost)
    assert computed(again).keys() == set(lost)
    assert here(again.experiment).scored and not any(task.by_all for _, task in here(again.experiment).scored)
    assert_same_train(again, finished)


def test_a_run_in_progress_keeps_those_that_it_uses(finished: Done, store: Path) -> None:
    for path in store.glob("stages/test/*/*"):
        os.utime(path, (time.time() - 40 * DAY,) * 2)
    (kept,) = (row for row in contents(Store(store)) if row["kind"] == "test")
    assert kept["entries"] == computed(finished)["test"] and round(kept["newest_days"]) == 40

    def removed() -> int:
        return prune(Store(store), days=30, features=False, remove=True)["entries"]

    with in_use(Store(store)):
        assert computed(again_without(finished, store)) == {}
        assert removed() == 0
    for path in store.glob("stages/test/*/*"):
        os.utime(path, (time.time() - 40 * DAY,) * 2)
    assert removed() == kept["entries"] and not any((store / "stages/test").iterdir())
