"""The trusted images nearest to a new one: found among the seeds, kept in a bundle, without names where asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from swag_ray.core.moments import floored_sd
from swag_ray.core.pooling import pool_features
from swag_ray.detector import trusted as of_detector
from swag_ray.detector.bundle import digest_of, load_detector, save_detector
from swag_ray.detector.detector import Detector
from swag_ray.detector.trusted import Trusted, embed_seeds, trusted_arrays, trusted_of
from swag_ray.errors import InputError
from swag_ray.experiment.loop import incremental_loop
from swag_ray.experiment.pipeline import ExperimentResult
from swag_ray.features.reader import Patches
from swag_ray.features.spec import FeatureSpec
from swag_ray.images.places import Place, locate
from swag_ray.methods.fit import Experiment
from swag_ray.models.tasks import ScoreTask
from swag_ray.record.run_metrics import RunMetrics
from swag_ray.run.results import detector_of, trusted_images
from tests.support.made_up_experiment import CHANNELS, GRID, OFF, config, here, made_up_experiment

pytestmark = pytest.mark.usefixtures("one_thread")
SPEC = FeatureSpec("-", "-", "-", 256, tuple(CHANNELS), GRID)
BANK = (8, 16)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    settings = config("rounds=1", *OFF, "auxiliary.weight=0")
    return made_up_experiment(tmp_path_factory.mktemp("store"), settings)[0]


def prepared_of(experiment: Experiment, root: Place, *names: str) -> Any:
    """What `trusted_images` asks of a run whose first seeds are called so."""
    usual = [f"train/{i}.png" for i in range(len(names), len(experiment.cohort.seeds))]
    paths = pa.chunked_array([[*names, *usual]])
    return SimpleNamespace(experiment=experiment, spec=SPEC, typical=None, root=root, seed_paths=paths)


@pytest.fixture(scope="module")
def trusted(experiment: Experiment) -> Trusted:
    return trusted_images(prepared_of(experiment, locate("s3://bucket/films?region=R")))


@pytest.fixture(scope="module")
def seeds(experiment: Experiment) -> Patches:
    return here(experiment).reader.patches(experiment.cohort.rows_N.take(experiment.cohort.seeds), tuple(CHANNELS))


def task_of(experiment: Experiment) -> ScoreTask:
    cohort = experiment.cohort
    return ScoreTask(np.arange(len(cohort.seeds)), cohort.rows_N.take(cohort.seeds), cohort.fold_N[cohort.seeds])


def test_a_copy_of_a_seed_and_one_altered_a_little_have_it_nearest(trusted: Trusted, seeds: Patches) -> None:
    generator = np.random.default_rng(0)
    altered = {s: (x + generator.normal(0, 0.3, x.shape)).astype(np.float16) for s, x in seeds.items()}
    for patches, most in ((seeds, 2e-3), (altered, 0.5)):
        found = trusted.nearest(patches, 3)
        assert [three[0].id for three in found] == trusted.id_n.tolist()
        assert max(three[0].distance for three in found) < most < min(three[1].distance for three in found)
    assert trusted.path_n is not None
    assert [three[0].path for three in trusted.nearest(seeds, 1)] == trusted.path_n.tolist()
    assert trusted.path_n[0] == "s3://bucket/films/train/0.png?region=R"


def test_all_seeds_come_in_the_order_of_their_distance(trusted: Trusted, seeds: Patches) -> None:
    """Seeds fewer than channels lie in the directions that are kept: the distances are those of all channels."""
    x_nD = pool_features({s: seeds[s] for s in BANK}, 2).astype(np.float64)
    z_nD = x_nD / floored_sd(x_nD.std(axis=0))
    n = len(z_nD)
    assert n < z_nD.shape[1]
    distance_nn = np.sqrt(((z_nD[:, None] - z_nD[None]) ** 2).mean(axis=2))
    for i, found in enumerate(trusted.nearest(seeds, n + 5)):
        assert sorted(one.id for one in found) == sorted(trusted.id_n.tolist())
        order = [trusted.id_n.tolist().index(one.id) for one in found]
        told = np.array([one.distance for one in found])
        assert (np.diff(told) >= 0).all()
        np.testing.assert_allclose(told, distance_nn[i][order], atol=3e-3)


def test_what_is_far_out_is_far_and_still_finite(trusted: Trusted, seeds: Patches) -> None:
    far = {s: np.full_like(x[:1], 6e4) for s, x in seeds.items()}
    assert all(1e3 < one.distance < np.inf for one in trusted.nearest(far, 3)[0])


def test_seeds_are_read_a_few_at_a_time_and_many_are_learnt_from_evenly(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, task = here(experiment).reader, task_of(experiment)
    whole, whole_nR = embed_seeds(reader, task, SPEC, BANK)
    read: list[int] = []
    patches = reader.patches
    monkeypatch.setattr(reader, "patches", lambda rows, strides: (read.append(len(rows)), patches(rows, strides))[1])
    monkeypatch.setattr(of_detector, "AT_A_TIME", 25)
    again, again_nR = embed_seeds(reader, task, SPEC, BANK)
    assert read == [25, 25, 10] * 2
    np.testing.assert_allclose(np.abs(again_nR.astype(float)), np.abs(whole_nR.astype(float)), atol=5e-2)
    monkeypatch.setattr(of_detector, "LEARNT_FROM", 12)
    some, some_nR = embed_seeds(reader, task, SPEC, BANK)
    assert some_nR.shape == (60, 12) and not np.allclose(some.mean_D, whole.mean_D)
    odd, _ = embed_seeds(reader, task, replace(SPEC, grid=7), BANK)
    assert (again.grid, len(again.mean_D)) == (2, 4 * 16) and (odd.grid, len(odd.mean_D)) == (1, 16)


def test_a_bundle_keeps_them_and_is_the_same_detector_without(
    experiment: Experiment, trusted: Trusted, seeds: Patches, tmp_path: Path
) -> None:
    detector = made_detector(experiment)
    named = trusted_images(prepared_of(experiment, tmp_path, "ä b.png", "sub/ö.dcm#frame=7"))
    for name, one in (("with", named), ("without", None)):
        save_detector(replace(detector, trusted=one), {"weight": np.zeros(1, np.float32)}, tmp_path / name)
    assert digest_of(tmp_path / "with") == digest_of(tmp_path / "without")
    assert load_detector(tmp_path / "without").trusted is None
    loaded = load_detector(tmp_path / "with").trusted
    assert loaded is not None and loaded.pictures and loaded.path_n is not None
    assert loaded.nearest(seeds, 3) == named.nearest(seeds, 3)
    assert loaded.path_n[:2].tolist() == [str(tmp_path / "ä b.png"), str(tmp_path / "sub/ö.dcm#frame=7")]
    assert (tmp_path / "with" / "trusted.npz").stat().st_size < 40_000


def test_an_anonymous_run_tells_ids_alone(experiment: Experiment, seeds: Patches, tmp_path: Path) -> None:
    quiet = replace(experiment, config=config("rounds=1", *OFF, "report.anonymous=true", "report.images=false"))
    trusted = trusted_images(prepared_of(quiet, tmp_path))
    assert not trusted.pictures and "path" not in trusted_arrays(trusted)
    assert {one.path for one in trusted.nearest(seeds, 1)[0]} == {None}
    assert trusted_of(trusted_arrays(trusted)).path_n is None


@pytest.mark.parametrize("broken", ["id", "path", "embedding", "mean", "axes", "strides", "pictures"])
def test_arrays_that_do_not_belong_together_are_a_damaged_bundle(
    experiment: Experiment, trusted: Trusted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    arrays = trusted_arrays(trusted)
    arrays[broken] = arrays[broken][:-1] if arrays[broken].ndim and broken != "strides" else np.zeros((2, 2))
    monkeypatch.setattr("swag_ray.detector.bundle.trusted_arrays", lambda one: arrays)
    detector = made_detector(experiment)
    save_detector(replace(detector, trusted=trusted), {"weight": np.zeros(1, np.float32)}, tmp_path / "bundle")
    with pytest.raises(InputError, match=r"trusted\.npz' is damaged"):
        load_detector(tmp_path / "bundle")


def made_detector(experiment: Experiment) -> Detector:
    loop = incremental_loop(experiment)
    prepared = prepared_of(experiment, Path())
    return detector_of(ExperimentResult(prepared, loop, {}, loop.seed_bank, RunMetrics()))


def test_the_usual_distance_is_that_of_a_seed_to_another(trusted: Trusted, seeds: Patches) -> None:
    second = [near[1].distance for near in trusted.nearest(seeds, 2)]
    assert trusted.usual_distance == pytest.approx(np.median(second), rel=1e-2)
    one = replace(trusted, id_n=trusted.id_n[:1], embedding_nR=trusted.embedding_nR[:1])
    assert one.usual_distance is None
