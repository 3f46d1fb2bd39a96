"""What is in a stage's key, and so what is computed again: what the stage reads, and no label."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from swag_ray.experiment.decide import AdmissionRule
from swag_ray.experiment.evaluate import round_metrics
from swag_ray.experiment.loop import Trajectory, incremental_loop
from swag_ray.features.cohort import build_cohort
from swag_ray.features.reader import Rows
from swag_ray.images.folders import list_folder
from swag_ray.images.split import make_split
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
        "outliers.fdr=0.3": "decide 0",
        "outliers.ceiling=0.1": "decide 0", "outliers.minimum=6": "fit 1",
        "outliers.maximum=50": "fit 1", "head.weight_decay=0.1": "fit 1", "head.learning_rate=0.1": "fit 1",
        "head.grid=2": "fit 1", "head.swag_epochs=6": "fit 1", "swag.samples=3": "fit 1", "swag.max_columns=3": "fit 1",
        "swag.collect_every=2": "fit 1", "gate.tau_distance=0.1": "decide 1", "gate.tau_uncertainty=0.9": "decide 1",
        "gate.tau_relaxed=3": "decide 1", "gate.budget=9": "decide 1", "gate.rank=boundary": "decide 1",
        "gate.patience=2": "decide 1", "calibration.false_positive_rate=0.1": None, "controls=[]": None,
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


@pytest.mark.parametrize("method", METHODS)
def test_no_key_holds_a_label(tmp_path: Path, method: str) -> None:
    """Labels of pool and test dealt anew: everything but the audit stays, to the last key."""
    settings = config("rounds=1", method=method)
    experiment, audit = made_up_experiment(tmp_path, settings)
    plain = incremental_loop(experiment)
    work, generator = len(here(experiment).fits), np.random.default_rng(1)
    pool = experiment.cohort.pool
    label_N = audit.label_N.copy()
    label_N[pool] = generator.permutation(label_N[pool])
    assert not np.array_equal(label_N, audit.label_N)
    other = dataclasses.replace(audit, label_N=label_N, label_T=generator.permutation(audit.label_T))
    again = incremental_loop(experiment)
    assert keys(again) == keys(plain) and len(here(experiment).fits) == work
    assert round_metrics(experiment, other, again.rows[1]) != round_metrics(experiment, audit, again.rows[1])
    assert {f.name for f in dataclasses.fields(experiment.cohort)} == {
        "key", "id_N", "seed_N", "fold_N", "rows_N", "id_T", "rows_T", "folds",
    }, "a field of the cohort that holds labels would reach the method"  # fmt: skip


def test_cohort_key_holds_neither_labels_nor_names(tmp_path: Path) -> None:
    root = small_set(tmp_path / "data", normals=12, anomalies=6)

    def cohort(table: pa.Table) -> str:
        split = make_split(table, seed_fraction=0.5, folds=2, contamination=None, random_seed=0)
        rows = Rows(np.zeros(len(table), np.int32), np.arange(len(table), dtype=np.int32))
        return build_cohort(table, split, rows, 2, "f").key

    listing = list_folder(root, normal="NORMAL", anomaly=("PNEUMONIA",), group=None)
    plain = cohort(listing.table)
    moved = root / "test" / "NORMAL" / next((root / "test" / "NORMAL").iterdir()).name
    moved.rename(root / "test" / "PNEUMONIA" / moved.name)
    assert cohort(list_folder(root, normal="NORMAL", anomaly=("PNEUMONIA",), group=None).table) == plain
    gone = next((root / "test" / "PNEUMONIA").iterdir())
    gone.unlink()
    assert cohort(list_folder(root, normal="NORMAL", anomaly=("PNEUMONIA",), group=None).table) != plain
