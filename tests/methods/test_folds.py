"""Training tasks of one fold each, and where the scores that come back belong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from swag_ray.features.reader import FeatureReader, Rows
from swag_ray.methods.fit import Experiment
from swag_ray.methods.folds import Scorer, fold_tasks, score_images, score_test, score_train
from swag_ray.models.tasks import ALL_FOLDS, TASK, ScoreTask, by_fold, score_tasks
from tests.support.made_up_experiment import config, here, made_up_experiment


@pytest.fixture(scope="module")
def experiment(store: Path) -> Experiment:
    return made_up_experiment(store, config())[0]


def places(rows: Rows) -> list[tuple[int, int]]:
    return list(zip(rows.shard_N.tolist(), rows.row_N.tolist(), strict=True))


def test_a_task_has_the_members_outside_its_fold_and_all_seeds_outside_it(experiment: Experiment) -> None:
    cohort = experiment.cohort
    members = np.concatenate([cohort.pool[::3], cohort.seeds[5:]])  # not all seeds, and in an order of their own
    abnormal = cohort.pool[::6]
    weights = np.linspace(0.1, 1, len(members))
    starts = tuple({"iterate.weight.8": np.array([k])} for k in range(cohort.folds))
    tasks = fold_tasks(cohort, members, (0, "name"), abnormal=abnormal, weights=weights, start=starts)
    assert [task.fold for task in tasks] == [0, 1, 2]
    for k, task in enumerate(tasks):
        outside = [i for i in members if cohort.fold_N[i] != k]
        assert task.image.tolist() == outside and places(task.train) == places(cohort.rows_N.take(np.array(outside)))
        seeds = [i for i in cohort.seeds if cohort.fold_N[i] != k]
        assert places(task.seeds) == places(cohort.rows_N.take(np.array(seeds)))
        assert task.abnormal is not None and task.abnormal.tolist() == [i in abnormal for i in outside]
        assert task.abnormal.any() and not task.abnormal.all()
        assert task.weight is not None and task.weight.tolist() == [
            w for i, w in zip(members, weights, strict=True) if cohort.fold_N[i] != k
        ]
        assert task.names == (0, "name", k) and task.start is starts[k]
    plain = fold_tasks(cohort, members, ("bank",))
    assert all(task.abnormal is None and task.weight is None and task.start is None for task in plain)


def names(
    reader: FeatureReader, task: ScoreTask, folds: tuple[int, ...], settings: int, extra: int = 0
) -> NDArray[np.float32]:
    """Scores that tell which image was scored by which fold and sample: image + 1000 fold + 10,000 sample."""
    image = 48 * task.rows.shard_N + task.rows.row_N  # of shards of 48

    def score(k: int, index: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.stack([image[index] + 1000 * folds[k] + 10_000 * (s + extra) for s in range(settings)], axis=1)

    return by_fold(task, len(folds), settings, score)


def test_every_score_comes_back_to_its_image_fold_and_sample(experiment: Experiment) -> None:
    cohort = experiment.cohort
    rows = np.arange(len(cohort.id_N))[1::2]
    folds: tuple[Any, ...] = (0, 1, 2)
    raw_NS = score_images(experiment, Scorer(names, 2, samples=2), folds, rows, "key")
    own = 48 * cohort.rows_N.shard_N + cohort.rows_N.row_N + 1000 * cohort.fold_N.astype(int)
    expected = np.full((len(own), 2), np.nan)
    expected[rows] = np.stack([own, own + 10_000], axis=1)[rows]
    np.testing.assert_array_equal(raw_NS, expected)
    test = (48 * cohort.rows_T.shard_N + cohort.rows_T.row_N)[:, None] + np.array([0, 1000, 2000])
    work = len(here(experiment).scored)
    np.testing.assert_array_equal(score_test(experiment, Scorer(names, 2, samples=2), folds, "key"), test + 5000)
    assert len(here(experiment).scored) == work, "scored with the train images"
    np.testing.assert_array_equal(score_test(experiment, Scorer(names, 2, 2, (1,)), folds, "other"), test + 15_000)
    shifted = score_train(experiment, Scorer(names, 2, 2, (1,)), folds, rows)
    np.testing.assert_array_equal(shifted, expected + 10_000)


def test_where_tasks_are_cut_does_not_depend_on_where_features_lie() -> None:
    rng, count = np.random.default_rng(0), 2 * TASK + 9
    row = np.arange(count, dtype=np.int32)
    layouts = [row // 64, rng.integers(0, 30, count)]  # filled in one go, and later ones added
    for shard in layouts:
        rows = Rows(shard.astype(np.int32), row)
        tasks = score_tasks(rows, (row % 3).astype(np.int8), 5 + np.arange(count))
        assert [task.position.tolist() for task in tasks] == [
            list(range(5, 5 + TASK)), list(range(5 + TASK, 5 + 2 * TASK)), list(range(5 + 2 * TASK, 5 + count)),
        ]  # fmt: skip
        for task in tasks:
            own = task.position - 5
            assert np.array_equal(task.rows.shard_N, shard[own]) and np.array_equal(task.fold, row[own] % 3)


def test_long_tasks_come_first(experiment: Experiment) -> None:
    seen = here(experiment).scored
    seen.clear()
    score_images(experiment, Scorer(names, 1), (0, 1, 2), np.arange(9), "in order")
    assert len(seen) > 1 and [(task.fold == ALL_FOLDS).all() for _, task in seen] == sorted(
        ((task.fold == ALL_FOLDS).all() for _, task in seen), reverse=True
    )
