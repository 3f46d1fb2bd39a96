"""The memory bank's rows: plain greedy k-center, or merged and reduced where `memory.max_rows` bounds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from swag_ray.core.coreset import k_center
from swag_ray.core.metrics import roc_auc
from swag_ray.core.whitening import whitening
from swag_ray.features.reader import Patches
from swag_ray.methods.bank_fit import bank_fit
from swag_ray.methods.folds import fold_tasks
from swag_ray.models import fold_bank as patch_bank
from swag_ray.models.fold_bank import (
    BankSettings,
    blocks,
    embed,
    fit_bank,
    in_blocks,
    pick_rows,
    raw_rows,
    standardisation,
    trusted_model,
)
from tests.support.made_up_experiment import PLACES, config, here, made_up_experiment

Parts = list[tuple[NDArray[np.float32], Patches, NDArray[np.int64]]]


def settings(max_rows: int | None) -> BankSettings:
    return BankSettings((8,), 0.25, None, 3, 0.1, max_rows)


def parts(sizes: list[int]) -> Parts:
    """Blocks of images on the unit circle, row i of all at its own angle, so that a row tells where it came from."""
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, sum(sizes) * 4)
    rows = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32).reshape(sum(sizes), 4, 2)
    cuts = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    return [(rows[i], {8: rows[i].astype(np.float16)}, i + 100) for i in cuts]


def radius(bank: NDArray[np.float32], rows: NDArray[np.float32]) -> float:
    """How far the worst-covered row is from the bank."""
    return float(np.linalg.norm(rows[:, None] - bank[None], axis=2).min(axis=1).max())


def test_one_part_is_greedy_k_center_over_all_rows() -> None:
    (part,) = parts([30])
    picked = pick_rows([part], 120, settings(None))
    picks = k_center(part[0].reshape(120, 2), 30)
    assert np.array_equal((picked["image"] - 100) * 4 + picked["patch"], picks)
    assert np.array_equal(picked["raw.8"], part[1][8].reshape(120, 2)[picks])


def test_merged_parts_keep_as_many_rows_with_their_origins_and_cover_all() -> None:
    cut = parts([25, 25, 25, 25])
    rows = np.concatenate([p[0].reshape(-1, 2) for p in cut])
    picked = pick_rows(cut, 400, settings(20))
    where = (picked["image"] - 100) * 4 + picked["patch"]
    assert len(np.unique(where)) == 20
    assert np.array_equal(picked["raw.8"], rows[where].astype(np.float16))
    assert np.bincount(where // 100).tolist() == [5] * 4, "each part its share"
    # Five rows of a circle cover it within a fifth of a turn; greedy's twenty within a twentieth.
    assert radius(rows[where], rows) <= 5 * radius(rows[k_center(rows, 20)], rows)
    first = k_center(cut[0][0].reshape(-1, 2), 5)
    assert np.array_equal(where[:5], first), "each part by greedy k-center"


def test_parts_smaller_than_the_bank_are_kept_whole() -> None:
    picked = pick_rows(parts([2, 2]), 16, BankSettings((8,), 1.0, None, 3, 0.1, 10))
    assert len(picked["image"]) == 10


@pytest.mark.parametrize(("max_rows", "expected"), [(None, 1), (400, 1), (399, 4)])
def test_blocks_only_where_the_bound_binds(
    max_rows: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patch_bank, "BLOCK", 100)
    cut = blocks(400, 4, settings(max_rows))
    assert len(cut) == expected
    assert np.array_equal(np.concatenate([np.arange(400)[c] for c in cut]), np.arange(400))


@pytest.mark.parametrize("method", ["contrast", "published"])
def test_a_bound_that_does_not_bind_changes_no_figure_and_one_that_does_holds(tmp_path: Path, method: str) -> None:
    plain = config(method=method)
    experiment, audit = made_up_experiment(tmp_path, plain)
    fit = bank_fit(experiment, experiment.cohort.seeds)
    rows = len(fit.folds[0]["image"])
    loose, _ = made_up_experiment(tmp_path, config(f"memory.max_rows={rows + 9}", method=method))
    assert np.array_equal(bank_fit(loose, loose.cohort.seeds).s_N, fit.s_N)
    tight, _ = made_up_experiment(tmp_path, config("memory.max_rows=20", method=method))
    bounded = bank_fit(tight, tight.cohort.seeds)
    assert [len(fold["image"]) for fold in bounded.folds] == [20] * 3
    assert set(bounded.folds[0]["image"]) <= set(experiment.cohort.seeds)
    assert roc_auc(audit.anomaly_T, bounded.s_T) > roc_auc(audit.anomaly_T, fit.s_T) - 0.05


def test_a_bounded_bank_reads_its_images_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_bank, "BLOCK", 10)
    experiment, _ = made_up_experiment(tmp_path, config())
    here(experiment)  # attached: its reader is the actors'
    reader, seen = here(experiment).reader, []
    plain = reader.patches
    monkeypatch.setattr(reader, "patches", lambda rows, strides: seen.append(len(rows)) or plain(rows, strides))
    (task, *_) = fold_tasks(experiment.cohort, experiment.cohort.seeds, ("bank",))
    bank = BankSettings((8, 16), 0.5, None, 3, 0.1, 50)
    fold = fit_bank(reader, task, bank)
    assert max(seen) == 10 and sum(seen) == len(task.seeds) + len(task.train), "also those that standardise"
    rows = embed(raw_rows(fold, (8, 16)), fold)
    everything = embed(plain(task.train, (8, 16)), fold).reshape(-1, rows.shape[-1])
    index = np.searchsorted(task.image, fold["image"]) * PLACES + fold["patch"]
    assert np.allclose(rows, everything[index])


def test_a_channel_that_seeds_hold_constant_does_not_decide_a_distance() -> None:
    """Divided by a spread of almost nothing, one rounding step of one channel outweighs all the others."""
    rng = np.random.default_rng(0)
    seeds = rng.normal(0, 1, (40, 4, 6)).astype(np.float16)
    seeds[..., 5] = 3
    model = standardisation({8: seeds})
    plain = seeds[:1, :1]
    stirred = plain.copy()
    stirred[..., 5] = np.nextafter(np.float16(3), np.float16(4))  # the smallest step there is
    moved = np.linalg.norm(embed({8: stirred}, model) - embed({8: plain}, model))
    assert 0 < moved < 0.4, "of vectors of length 1"


def test_a_bounded_bank_standardises_by_blocks_as_by_all_its_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, _ = made_up_experiment(tmp_path, config())
    reader, seeds = here(experiment).reader, experiment.cohort.rows_N.take(experiment.cohort.seeds)
    whole, places = trusted_model(reader, seeds, BankSettings((8, 16), 0.5, 0.1, 3, 0.1, 50))
    monkeypatch.setattr(patch_bank, "BLOCK", 7)
    assert in_blocks(len(seeds), settings(50)) and not in_blocks(len(seeds), settings(None))
    cut, same = trusted_model(reader, seeds, BankSettings((8, 16), 0.5, 0.1, 3, 0.1, 50))
    assert cut.keys() == whole.keys() and same == places == PLACES
    for name, array in whole.items():
        assert cut[name].dtype == np.float32
        np.testing.assert_allclose(cut[name], array, rtol=1e-5, atol=1e-6)


def test_a_bank_is_standardised_and_whitened_by_its_seeds_alone(tmp_path: Path) -> None:
    """Strong anomalies have joined the seeds: whoever takes them for seeds is seen."""
    experiment, audit = made_up_experiment(tmp_path, config(), shift=4)
    cohort, reader = experiment.cohort, here(experiment).reader
    task, *_ = fold_tasks(cohort, np.union1d(cohort.seeds, np.flatnonzero(audit.anomaly_N)), ("bank",))
    fold = fit_bank(reader, task, BankSettings((8, 16), 0.1, 0.1, 3, 0.1))
    for stride in (8, 16):
        x = {rows: reader.patches(getattr(task, rows), (8, 16))[stride] for rows in ("seeds", "train")}
        seeds, everyone = (rows.reshape(-1, rows.shape[-1]).astype(np.float64) for rows in x.values())
        np.testing.assert_allclose(fold[f"mean.{stride}"], seeds.mean(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(fold[f"sd.{stride}"], seeds.std(axis=0), rtol=1e-4)
        own, other = (whitening((x - seeds.mean(axis=0)) / seeds.std(axis=0), 0.1) for x in (seeds, everyone))
        np.testing.assert_allclose(fold[f"whiten.{stride}"], own, atol=1e-3)
        assert np.abs(own - other).max() > 0.05, "they must differ"
