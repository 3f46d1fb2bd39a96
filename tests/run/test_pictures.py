"""The pictures of the report: whose they are, and what made them. Made-up features, real files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from swag_ray.errors import InputError
from swag_ray.experiment.loop import incremental_loop
from swag_ray.experiment.pipeline import ExperimentResult
from swag_ray.features.spec import FeatureSpec
from swag_ray.features.variants import NO_VARIANTS, plan_variants
from swag_ray.images.decode import AS_STORED, picture
from swag_ray.methods.method import method_of
from swag_ray.record.run_metrics import RunMetrics
from swag_ray.run.pictures import report_pictures
from swag_ray.run.results import detector_of
from swag_ray.store.stages import Arrays
from tests.support.images import write
from tests.support.made_up_experiment import CHANNELS, GRID, config, here, made_up_experiment

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE = 64
SPEC = FeatureSpec("-", "-", "-", SIDE, tuple(CHANNELS), GRID)
KINDS = ("foreign_patch", "opacities")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> ExperimentResult:
    """A run of one round whose image files are there; a hundred seeds, of which the set's listing knows the paths."""
    root = tmp_path_factory.mktemp("pictures")
    experiment, audit = made_up_experiment(root / "store", config("rounds=1"), variants=True)
    cohort, loop = experiment.cohort, incremental_loop(experiment)
    names = [*cohort.id_N.to_pylist(), *cohort.id_T.to_pylist()]
    for name in names:
        write(root / "images" / f"{name}.png", int(name.removeprefix("image")), side=SIDE)
    seeds = [f"{cohort.id_N[int(i)]}.png" for i in cohort.seeds]
    files = [(str(root / "images" / path), path) for path in seeds]
    plan = plan_variants(files, cohort.fold_N[cohort.seeds], KINDS, per_seed=2, random_seed=0)
    prepared: Any = SimpleNamespace(
        experiment=experiment, audit=audit, spec=SPEC, typical=None, root=root / "images",
        seed_paths=pa.chunked_array([seeds]), variants=plan,
    )  # fmt: skip
    bank = method_of(experiment).final_bank(experiment, loop.decision.training, loop.last)
    return ExperimentResult(prepared, loop, {}, bank, RunMetrics())


@pytest.fixture(scope="module")
def pictures(finished: ExperimentResult) -> Arrays:
    return report_pictures(finished, detector_of(finished))


def file_of(finished: ExperimentResult, name: str) -> Path:
    return Path(finished.prepared.root / f"{name}.png")


def test_the_seeds_that_score_highest_are_shown_the_highest_first(finished: ExperimentResult, pictures: Arrays) -> None:
    cohort, last = finished.prepared.experiment.cohort, finished.trajectory.last
    score = dict(zip([cohort.id_N[int(i)].as_py() for i in cohort.seeds], last.s_N[cohort.seeds], strict=True))
    assert pictures["seed.id"].tolist() == sorted(score, key=lambda name: -score[name])[:8]
    for name, image in zip(pictures["seed.id"], pictures["seed.image"], strict=True):
        assert np.array_equal(image, picture(file_of(finished, name).read_bytes(), SIDE)), name


def test_their_maps_are_by_models_that_have_not_seen_them(finished: ExperimentResult, pictures: Arrays) -> None:
    """Evidence of the own fold's heads sums to what they add to the seed's cross-fitted score, a constant apart."""
    cohort, last = finished.prepared.experiment.cohort, finished.trajectory.last
    ids = cohort.id_N.to_pylist()
    rows = np.array([ids.index(name) for name in pictures["seed.id"]])
    fold_n = cohort.fold_N[rows]
    assert len(np.unique(fold_n)) > 1, "else nothing is told apart"
    detector = detector_of(finished)
    patches = here(finished.prepared.experiment).reader.patches(cohort.rows_N.take(rows), tuple(CHANNELS))
    distance = detector.held_out_distances(patches, fold_n).reshape(-1, GRID, GRID)
    assert np.array_equal(pictures["seed.distance"], distance)
    assert not np.allclose(pictures["seed.distance"], detector.distance_maps(patches))
    heads = [part.arm for part in last.arms if part.arm.name != "bank"]
    added = sum(arm.part(arm.s_N[rows]) for arm in heads)
    constant = pictures["seed.evidence"].sum(axis=(1, 2)) - added
    for fold in np.unique(fold_n):
        np.testing.assert_allclose(constant[fold_n == fold], constant[fold_n == fold].mean(), atol=1e-3)


def test_a_few_seeds_stand_beside_what_every_kind_made_of_them(finished: ExperimentResult, pictures: Arrays) -> None:
    plan, cohort = finished.prepared.variants, finished.prepared.experiment.cohort
    names, kinds = pictures["variant.id"].tolist(), pictures["variant.kind"].tolist()
    assert kinds == ["foreign_patch"] * 4 + ["opacities"] * 4
    assert names[:4] == names[4:] and len(set(names[:4])) == 4, "the same seeds for every kind, each once"
    embedded = {
        (recipe.kind, cohort.id_N[int(cohort.seeds[host])].as_py()): recipe
        for recipe, host in zip(plan.recipes, plan.host_V, strict=True)
        if recipe.draw == 0
    }
    for i, pair in enumerate(zip(kinds, names, strict=True)):
        files = embedded[pair].files(lambda path, sha256: Path(path).read_bytes())
        image = np.asarray(embedded[pair].decode(files, SIDE, AS_STORED).image_1HW[0])
        assert np.abs(pictures["variant.image"][i].astype(int) - image).max() <= 1, "what was embedded"
        assert np.array_equal(pictures["variant.host"][i], picture(files[0], SIDE))
        assert (pictures["variant.image"][i] != pictures["variant.host"][i]).any()


def test_test_images_are_the_extremes(finished: ExperimentResult, pictures: Arrays) -> None:
    s_T, ids = finished.trajectory.last.s_T, finished.prepared.experiment.cohort.id_T.to_pylist()
    order = np.argsort(-s_T)
    assert pictures["id"].tolist() == [ids[i] for i in [*order[:6], *order[-6:]]]
    assert len(pictures["distance"]) == len(pictures["evidence"]) == len(pictures["image"]) == 12


def changed(finished: ExperimentResult, **changes: Any) -> ExperimentResult:
    return replace(finished, prepared=SimpleNamespace(**(vars(finished.prepared) | changes)))


def test_without_variants_there_are_no_pictures_of_them(finished: ExperimentResult) -> None:
    found = report_pictures(changed(finished, variants=NO_VARIANTS), detector_of(finished))
    assert "seed.image" in found and not [name for name in found if name.startswith("variant")]


@pytest.mark.parametrize("part", ["seed", "variant"])
@pytest.mark.parametrize("gone", [True, False], ids=["gone", "damaged"])
def test_a_file_that_changed_is_one_line(
    finished: ExperimentResult, pictures: Arrays, tmp_path: Path, part: str, gone: bool
) -> None:
    name = pictures[f"{part}.id"][0]
    path, data = file_of(finished, name), file_of(finished, name).read_bytes()
    try:
        path.unlink() if gone else path.write_bytes(b"no image")
        with pytest.raises(InputError, match=rf"{name}\.png' changed after it was listed") as caught:
            report_pictures(finished, detector_of(finished))
        assert "\n" not in str(caught.value)
    finally:
        path.write_bytes(data)
