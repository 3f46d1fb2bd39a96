"""What is in a stage's key, and so what is computed again: what the stage reads, and no label."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from swag_ray.experiment.controls import run_controls
from swag_ray.experiment.decide import NO_ADMISSION, AdmissionRule
from swag_ray.experiment.evaluate import round_metrics
from swag_ray.experiment.loop import Trajectory, incremental_loop
from swag_ray.features.cohort import Cohort, Variants, build_cohort
from swag_ray.features.reader import Rows
from swag_ray.images.folders import list_folder
from swag_ray.images.split import POOL, SEED, TEST, Split, make_split
from tests.support.images import small_set
from tests.support.made_up_experiment import config, here, made_up_experiment, with_settings

pytestmark = pytest.mark.usefixtures("one_thread")
METHODS = ("contrast", "published")


@pytest.mark.parametrize("method", METHODS)
def test_more_rounds_compute_the_new_ones_alone(tmp_path: Path, method: str) -> None:
    short = config("rounds=2", method=method)
    experiment, _ = made_up_experiment(tmp_path, short)
    two, work = incremental_loop(experiment), here(experiment)
    fits, admitted = len(work.fits), list(work.admitted)
    again = incremental_loop(experiment)
    assert len(work.fits) == fits and work.admitted == admitted and again.last.key == two.last.key
    three = incremental_loop(with_settings(experiment, config("rounds=3", method=method)))
    assert three.rows[3].fit.key == two.last.key, "the last fit of two rounds is the third round's"
    assert len(work.fits) == fits + experiment.cohort.folds and len(work.admitted) == len(admitted) + 1
    fewer = incremental_loop(with_settings(experiment, config("rounds=1", method=method)))
    assert fewer.last.key == two.rows[2].fit.key and len(work.fits) == fits + experiment.cohort.folds


def keys(loop: Trajectory) -> list[str]:
    return [key for row in loop.rows for key in (row.fit.key, row.decision.key)] + [loop.last.key]


# What a field changes first: the key of the bank, decide 0, fit 1 or decide 1; None: no key at all.
FIRST_CHANGED: dict[str, dict[str, str | None]] = {
    "contrast": {
        "memory.coreset_ratio=0.2": "bank", "score.neighbours=2": "bank", "score.top_fraction=0.2": "bank",
        "memory.strides=[8]": "bank", "memory.whitening=0.5": "bank", "memory.max_rows=9": "bank",
        "outliers.probability=0.6": "decide 0", "auxiliary.weight=0.5": None, "auxiliary.kind=[]": None,
        "outliers.maximum=50": "fit 1", "head.weight_decay=0.1": "fit 1", "head.learning_rate=0.1": "fit 1",
        "head.grid=2": "fit 1", "head.swag_epochs=6": "fit 1", "swag.samples=3": "fit 1", "swag.max_columns=3": "fit 1",
        "swag.collect_every=2": "fit 1", "gate.tau_distance=0.1": "decide 1", "gate.tau_uncertainty=0.9": "decide 1",
        "gate.tau_relaxed=3": "decide 1", "gate.budget=9": "decide 1", "gate.rank=boundary": "decide 1",
        "gate.patience=2": "decide 1", "outliers.weights=equal": "decide 0",
        "calibration.false_positive_rate=0.1": None, "controls=[]": None,
        "report.images=false": None, "cluster.actors=1": None, "cluster.cpus=3": None, "name=other": None,
    },
    "published": {
        "adapter.dim=12": "fit 1", "adapter.learning_rate=0.01": "fit 1", "swag.samples=3": "fit 1",
        "memory.coreset_ratio=0.2": "bank", "gate.tau_uncertainty=-1": "decide 1", "name=other": None,
    },
}  # fmt: skip
FIELDS = [(method, field) for method, fields in FIRST_CHANGED.items() for field in fields]


@pytest.mark.parametrize(("method", "field"), FIELDS)
def test_a_key_holds_the_fields_that_its_stage_reads_and_no_other(store: Path, method: str, field: str) -> None:
    base = config("rounds=2", method=method)
    experiment, _ = made_up_experiment(store, base)
    plain = keys(incremental_loop(experiment))
    stubbed = dataclasses.replace(experiment, config=config("rounds=2", field, method=method))
    other = keys(incremental_loop(stubbed))
    names = ["bank", "decide 0", "fit 1", "decide 1"]
    changed = next((name for name, a, b in zip(names, plain, other, strict=False) if a != b), None)
    assert changed == FIRST_CHANGED[method][field]
    if changed is None:
        assert plain == other


# With variants the key of row 0 is that of the fused score.
WITH_VARIANTS: dict[str, str | None] = {
    "memory.coreset_ratio=0.2": "row 0", "auxiliary.weight=0.5": "row 0", "head.weight_decay=0.1": "row 0",
    "swag.samples=3": "row 0", "auxiliary.quality=eap": "row 0", "outliers.probability=0.6": "decide 0",
    "outliers.maximum=50": "fit 1", "outliers.weights=equal": "decide 0", "swag.samples=0": "row 0",
    "gate.budget=9": "decide 1", "auxiliary.per_seed=2": None, "name=other": None,
}  # fmt: skip


@pytest.mark.parametrize("field", WITH_VARIANTS)
def test_what_is_decided_on_variants_goes_by_their_settings(store: Path, field: str) -> None:
    """Which variants there are is in the cohort; how much their head counts moves every choice on the fused score."""
    experiment, _ = made_up_experiment(store, config("rounds=2"), variants=True)
    plain = keys(incremental_loop(experiment))
    other = keys(incremental_loop(with_settings(experiment, config("rounds=2", field))))
    names = ["row 0", "decide 0", "fit 1", "decide 1"]
    changed = next((name for name, a, b in zip(names, plain, other, strict=False) if a != b), None)
    assert changed == WITH_VARIANTS[field] and (changed is not None or plain == other)


def test_other_variants_move_every_key(tmp_path: Path) -> None:
    loops = [
        incremental_loop(made_up_experiment(tmp_path, config("rounds=1"), variants=True, variant_shift=shift)[0])
        for shift in (1.5, 1.0)
    ]
    assert all(a != b for a, b in zip(*map(keys, loops), strict=True))
    assert loops[0].seed_bank.key == loops[1].seed_bank.key, "but that of the bank"


@pytest.mark.parametrize("method", METHODS)
def test_a_control_that_draws_reads_the_budget_and_no_gate(store: Path, method: str) -> None:
    """So another tau computes no control anew."""
    experiment, audit = made_up_experiment(store, config("rounds=2", method=method))
    pool_N = ~experiment.cohort.seed_N
    for name, allowed_N in {"random_admission": pool_N, "oracle_gate": pool_N & ~audit.anomaly_N}.items():
        rule = AdmissionRule(name, allowed_N)
        plain = keys(incremental_loop(experiment, rule))
        for field in ("tau_distance=0.1", "tau_uncertainty=0.9", "tau_relaxed=3", "rank=boundary", "patience=2"):
            other = config("rounds=2", f"gate.{field}", method=method)
            assert keys(incremental_loop(with_settings(experiment, other), rule)) == plain, field
        larger = with_settings(experiment, config("rounds=2", "gate.budget=9", method=method))
        assert keys(incremental_loop(larger, rule)) != plain


@pytest.mark.parametrize("method", METHODS)
def test_a_control_that_admits_nobody_reads_no_gate(store: Path, method: str) -> None:
    """So a sweep over gates and budgets computes it once."""
    experiment, _ = made_up_experiment(store, config("rounds=2", method=method))
    plain = keys(incremental_loop(experiment, NO_ADMISSION))
    for field in (
        "tau_distance=0.1",
        "tau_uncertainty=0.9",
        "tau_relaxed=3",
        "rank=boundary",
        "patience=2",
        "budget=9",
    ):
        other = with_settings(experiment, config("rounds=2", f"gate.{field}", method=method))
        assert keys(incremental_loop(other, NO_ADMISSION)) == plain, field
    gated = keys(incremental_loop(experiment))
    assert gated[:3] == plain[:3] and gated[3] != plain[3], "row 0 and fit 1 are shared, decide 1 is not"


def test_heads_are_shared_by_all_who_reject_the_same(tmp_path: Path) -> None:
    """Whom a gate or a draw admits teaches no head of `contrast`."""
    experiment, audit = made_up_experiment(tmp_path, config("rounds=2"))
    incremental_loop(experiment)
    fits = len(here(experiment).fits)
    normal_N = ~experiment.cohort.seed_N & ~audit.anomaly_N
    drawn = incremental_loop(experiment, AdmissionRule("oracle_gate", normal_N))
    strict = incremental_loop(with_settings(experiment, config("rounds=2", "gate.budget=3")))
    assert len(here(experiment).fits) == fits and drawn.last.key == strict.last.key
    assert drawn.decision.key != strict.decision.key


def test_published_fit_1_is_shared_over_gates(tmp_path: Path) -> None:
    experiment, _ = made_up_experiment(tmp_path, config("rounds=1", method="published"))
    incremental_loop(experiment)
    fits = len(here(experiment).fits)
    incremental_loop(
        with_settings(experiment, config("rounds=1", "gate.tau_distance=0", "gate.budget=3", method="published"))
    )
    assert len(here(experiment).fits) == fits + experiment.cohort.folds, (
        "only the last fit, on whom the other gate admitted"
    )


def split(table: pa.Table) -> Split:
    return make_split(table, seed_fraction=0.5, folds=3, contamination=None, random_seed=0)


def with_labels(table: pa.Table, label: NDArray[np.bool_]) -> pa.Table:
    named = {"label": pa.array(label), "class_name": pa.array(label.astype(str))}
    for name, column in named.items():
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def dealt_anew(table: pa.Table) -> pa.Table:
    """Labels swapped within the pool, wherever that moves no image to another role or fold, and shuffled in test."""
    before, label = split(table), table.column("label").to_numpy()
    pool, test = np.flatnonzero(before.role_N == POOL), np.flatnonzero(before.role_N == TEST)
    for anomaly, normal in zip(pool[label[pool]], pool[~label[pool]], strict=False):
        swapped = label.copy()
        swapped[[anomaly, normal]] = False, True
        after = split(with_labels(table, swapped))
        if np.array_equal(after.role_N, before.role_N) and np.array_equal(after.fold_N, before.fold_N):
            label = swapped
    label = label.copy()
    label[test] = np.random.default_rng(1).permutation(label[test])
    return with_labels(table, label)


@pytest.mark.parametrize(("method", "variants"), [("contrast", False), ("contrast", True), ("published", False)])
def test_no_key_holds_a_label(tmp_path: Path, method: str, variants: bool) -> None:
    """The same images listed with other labels in pool and test, computed anew: every key, score and choice stays.

    What reads labels by its name, controls and audit, moves.
    """
    settings = config("rounds=1", method=method)
    experiment, audit = made_up_experiment(tmp_path / "true", settings, variants=variants)
    other, other_audit = made_up_experiment(tmp_path / "other", settings, listed=dealt_anew, variants=variants)
    assert (audit.label_N != other_audit.label_N).sum() > 20 and (audit.label_T != other_audit.label_T).sum() > 9
    plain, again = incremental_loop(experiment), incremental_loop(other)
    assert keys(again) == keys(plain) and here(other).fits, "fitted, and not read"
    for row, twin in zip(plain.rows, again.rows, strict=True):
        assert np.array_equal(row.fit.s_N, twin.fit.s_N) and np.array_equal(row.fit.s_TK, twin.fit.s_TK)
        for name, array in row.decision.arrays.items():
            np.testing.assert_array_equal(array, twin.decision.arrays[name], name)
    assert round_metrics(other, other_audit, again.rows[1]) != round_metrics(experiment, audit, plain.rows[1])
    if method == "contrast":
        true, told = run_controls(experiment, audit, plain), run_controls(other, other_audit, again)
        moved = {name for name in true if true[name].key != told[name].key}
        assert moved == {"full_train", "supervised"} and len(true) == 6  # whom an oracle admits teaches no head


@pytest.mark.parametrize("method", METHODS)
def test_a_label_that_moves_the_split_moves_every_key(tmp_path: Path, method: str) -> None:
    """Whether keys are compared at all: a seed that is listed as an anomaly is no seed."""

    def one_seed_less(table: pa.Table) -> pa.Table:
        label = table.column("label").to_numpy().copy()
        label[np.flatnonzero(split(table).role_N == SEED)[0]] = True
        return with_labels(table, label)

    settings = config("rounds=1", method=method)
    loops = [
        incremental_loop(made_up_experiment(tmp_path / str(i), settings, listed=listed)[0])
        for i, listed in enumerate([lambda table: table, one_seed_less])
    ]
    assert all(a != b for a, b in zip(*map(keys, loops), strict=True))


def test_the_cohort_has_no_place_for_a_label() -> None:
    assert {f.name for f in dataclasses.fields(Cohort)} == {
        "key", "test_key", "group_N", "id_N", "seed_N", "fold_N", "rows_N", "id_T", "rows_T", "folds", "variants",
    }, "a field that holds labels would reach the method"  # fmt: skip
    # Recipes name files, of trusted images alone: hosts and donors are seeds.
    assert {f.name for f in dataclasses.fields(Variants)} == {"key", "host_V", "kind_V", "rows_V", "recipes"}


def test_cohort_keys_hold_neither_labels_nor_names_and_each_its_own_images(tmp_path: Path) -> None:
    root = small_set(tmp_path / "data", normals=12, anomalies=6)

    def keys_of() -> tuple[str, str]:
        table = list_folder(root, normal="NORMAL", anomaly=("PNEUMONIA",), group=None).table
        cut = make_split(table, seed_fraction=0.5, folds=2, contamination=None, random_seed=0)
        rows = Rows(np.zeros(len(table), np.int32), np.arange(len(table), dtype=np.int32))
        cohort = build_cohort(table, cut, rows, 2, "f")
        return cohort.key, cohort.test_key

    train, test = keys_of()
    assert train != test
    moved = root / "test" / "NORMAL" / next((root / "test" / "NORMAL").iterdir()).name
    moved.rename(root / "test" / "PNEUMONIA" / moved.name)
    assert keys_of() == (train, test)
    next((root / "test" / "PNEUMONIA").iterdir()).unlink()
    fewer = keys_of()
    assert fewer[0] == train and fewer[1] != test
    next((root / "train" / "PNEUMONIA").iterdir()).unlink()
    assert keys_of()[0] != train and keys_of()[1] == fewer[1]
