"""What a run's record says of the loop, on made-up features: its controls, its figures and its table of rounds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from swag_ray.experiment.controls import run_controls, supervised_fit
from swag_ray.experiment.evaluate import detector_metrics, evaluate, round_metrics
from swag_ray.experiment.loop import Trajectory, incremental_loop
from swag_ray.experiment.tables import rounds_table, scores_table
from swag_ray.methods.fit import Fit
from tests.support.made_up_experiment import OFF, config, here, made_up_experiment, with_settings

pytestmark = pytest.mark.usefixtures("one_thread")
METHODS = ("contrast", "published")


def test_controls_are_the_same_protocol_with_one_thing_changed(tmp_path: Path) -> None:
    experiment, audit = made_up_experiment(tmp_path, config("rounds=2"))
    loop = incremental_loop(experiment)
    done = run_controls(experiment, audit, loop)
    cohort, normal_N = experiment.cohort, audit.label_N == 0
    assert list(done) == [
        "seed_only", "full_train", "no_admission", "random_admission", "oracle_gate", "supervised",
    ]  # fmt: skip
    assert done["seed_only"] is loop.seed_bank
    everyone = np.concatenate([fold["image"] for fold in done["full_train"].folds])
    assert normal_N[everyone].all() and (~cohort.seed_N[everyone]).any()
    supervised = [task for _, task in here(experiment).fits if "supervised" in task.names]
    assert len(supervised) == cohort.folds
    for task in supervised:
        assert np.array_equal(task.abnormal, audit.anomaly_N[task.image])
        assert np.array_equal(np.sort(task.image), np.flatnonzero(cohort.fold_N != task.fold))
    auc = {name: detector_metrics(experiment, audit, fit).roc_auc for name, fit in done.items()}
    assert auc["supervised"] > 0.9 and all(value > 0.7 for value in auc.values())
    for name, fit in done.items():
        assert fit.s_TK.shape == (len(cohort.id_T), cohort.folds)
        rate = detector_metrics(experiment, audit, fit).conformal.rate_pool_normals
        assert rate is not None and rate < 0.2, f"{name}: no model has seen the pool's normals that it scores"


def test_without_admission_contrast_gives_the_same_scores_for_next_to_nothing(tmp_path: Path) -> None:
    experiment, audit = made_up_experiment(tmp_path, config("rounds=3", "controls=[no_admission]"))
    loop = incremental_loop(experiment)
    assert loop.decision.held.any() and loop.last.head_on, "somebody must be admitted, and a head must score"
    work = here(experiment)
    fits, scored = len(work.fits), len(work.scored)
    done = run_controls(experiment, audit, loop)
    assert (len(work.fits), len(work.scored)) == (fits, scored)
    assert np.array_equal(done["no_admission"].s_TK, loop.last.s_TK)
    gain = evaluate(experiment, audit, loop, done, loop.seed_bank, work.reader).delta_vs_no_admission
    assert gain.same_scores is True and (gain.roc_auc, gain.low, gain.high) == (0, 0, 0)
    absent = evaluate(experiment, audit, loop, {}, loop.seed_bank, work.reader).plain()
    assert "delta_vs_no_admission" not in absent


def test_without_admission_published_trains_on_its_seeds_alone(tmp_path: Path) -> None:
    settings = config("rounds=2", "controls=[no_admission]", method="published")
    experiment, audit = made_up_experiment(tmp_path, settings)
    loop, work = incremental_loop(experiment), here(experiment)
    fits = len(work.fits)
    done = run_controls(experiment, audit, loop)
    cohort, tasks = experiment.cohort, [task for _, task in work.fits[fits:]]
    assert len(tasks) == cohort.folds * 2, "fit 1 is the run's own"
    for task in tasks:
        outside = cohort.seeds[cohort.fold_N[cohort.seeds] != task.fold]
        assert np.array_equal(np.sort(task.image), outside) and task.start is not None
    gain = evaluate(experiment, audit, loop, done, loop.last, work.reader).delta_vs_no_admission
    assert gain.same_scores is False and not np.array_equal(done["no_admission"].s_TK, loop.last.s_TK)


@pytest.mark.parametrize("method", METHODS)
def test_without_admission_there_are_as_many_fits_as_in_the_run(tmp_path: Path, method: str) -> None:
    """A run whose gate is exhausted ends early, and so must what it is held against."""
    strict = config(
        "rounds=5", "controls=[no_admission]", "gate.tau_distance=-9", "gate.tau_relaxed=null", method=method
    )
    experiment, audit = made_up_experiment(tmp_path, strict)
    loop = incremental_loop(experiment)
    assert loop.exhausted and len(loop.rows) == 2
    last = run_controls(experiment, audit, loop)["no_admission"]
    assert np.array_equal(last.s_TK, loop.last.s_TK), "nobody was admitted in either"


def test_supervised_is_absent_where_a_fold_would_learn_from_no_anomaly(tmp_path: Path) -> None:
    experiment, audit = made_up_experiment(tmp_path, config("rounds=1", "controls=[supervised]", *OFF), anomalies=1)
    assert run_controls(experiment, audit, incremental_loop(experiment)) == {}


def test_supervised_learns_from_so_many_of_each_class_at_most(tmp_path: Path) -> None:
    """Its rows are in an actor's memory at once, 30 KB each and more than once."""
    bounded = config("rounds=1", "controls=[supervised]", "outliers.maximum=12")
    experiment, audit = made_up_experiment(tmp_path, bounded)
    fit = supervised_fit(experiment, audit)
    assert fit is not None
    cohort, normal_N = experiment.cohort, ~audit.anomaly_N
    image = np.unique(np.concatenate([task.image for _, task in here(experiment).fits]))
    assert normal_N[image].sum() == audit.anomaly_N[image].sum() == 12
    for _, task in here(experiment).fits:
        assert np.array_equal(task.abnormal, audit.anomaly_N[task.image]) and len(task.seeds) > 12
    assert np.array_equal(np.isfinite(fit.s_N), normal_N) and detector_metrics(experiment, audit, fit).roc_auc > 0.7
    work = len(here(experiment).fits)
    again = supervised_fit(experiment, audit)
    assert again is not None and again.key == fit.key and len(here(experiment).fits) == work
    # Where the bound does not bind, it is no part of the key.
    wide = [
        supervised_fit(with_settings(experiment, config("rounds=1", f"outliers.maximum={most}")), audit)
        for most in (120, 4000)
    ]
    assert wide[0] is not None and wide[1] is not None and wide[0].key == wide[1].key != fit.key
    assert cohort.seed_N.sum() < normal_N.sum() == 120


def test_what_needs_labels_is_absent_without_them(tmp_path: Path) -> None:
    experiment, audit = made_up_experiment(tmp_path, config("rounds=1"))
    label_N = np.where(experiment.cohort.seed_N, audit.label_N, np.nan)
    blind = dataclasses.replace(audit, label_N=label_N)
    loop = incremental_loop(experiment)
    assert list(run_controls(experiment, blind, loop)) == ["seed_only", "no_admission", "random_admission"]
    metrics = evaluate(experiment, blind, loop, {}, loop.seed_bank, here(experiment).reader).plain()
    absent = {
        "admitted_anomalies", "rejects_purity", "purity_without_second_gate", "ks_seed_vs_pool_normals", "pool_roc_auc",
    }  # fmt: skip
    known = evaluate(experiment, audit, loop, {}, loop.seed_bank, here(experiment).reader).plain()
    for blind_row, row in zip(metrics["rounds"], known["rounds"], strict=True):
        assert row.keys() - blind_row.keys() == absent & row.keys() and not absent & blind_row.keys()
        assert all(row[key] == value for key, value in blind_row.items())
    assert known["totals"].keys() - metrics["totals"].keys() == {
        "admitted_anomalies",
        "ever_admitted_anomalies",
        "purity",
    }
    assert known["contamination"].keys() - metrics["contamination"].keys() == {"true"}
    assert "rate_pool_normals" not in metrics["incremental"]["conformal"]
    assert rounds_table(experiment, blind, loop).to_pandas().label.isna().all()
    # One image without a label is enough: what counts all of them would not be known.
    label_N = audit.label_N.copy()
    label_N[experiment.cohort.pool[0]] = np.nan
    partly = dataclasses.replace(audit, label_N=label_N)
    some = evaluate(experiment, partly, loop, {}, loop.seed_bank, here(experiment).reader).plain()
    assert some["rounds"] == metrics["rounds"] and some["totals"] == metrics["totals"]
    assert "true" not in some["contamination"] and "rate_pool_normals" in some["incremental"]["conformal"]


def test_unlabelled_test_images_count_neither_as_normals_nor_as_anomalies(tmp_path: Path) -> None:
    """Every figure is that of the labelled images alone; the table of scores holds all, without a label."""
    experiment, audit = made_up_experiment(tmp_path, config("rounds=1"))
    loop, reader = incremental_loop(experiment), here(experiment).reader
    known = np.flatnonzero(np.arange(len(audit.label_T)) % 3 > 0)
    kind_T = np.where(np.arange(len(audit.label_T)) % 2 > 0, "odd", "even")
    label_T = np.full(len(audit.label_T), np.nan)
    label_T[known] = audit.label_T[known]
    blind = dataclasses.replace(audit, label_T=label_T, kind_T=kind_T)
    less = dataclasses.replace(
        audit, **{name: getattr(blind, name)[known] for name in ("label_T", "kind_T", "path_T", "bytes_T")}
    )

    def cut(fit: Fit) -> Fit:
        arms = tuple(
            dataclasses.replace(part, arm=dataclasses.replace(part.arm, s_TK=part.arm.s_TK[known])) for part in fit.arms
        )
        return dataclasses.replace(fit, s_TK=fit.s_TK[known], arms=arms)

    few = dataclasses.replace(experiment.cohort, rows_T=experiment.cohort.rows_T.take(known))
    rows = tuple(dataclasses.replace(row, fit=cut(row.fit)) for row in loop.rows)
    expected = evaluate(
        dataclasses.replace(experiment, cohort=few), less, Trajectory(cut(loop.seed_bank), rows, cut(loop.last)),
        {"seed_only": cut(loop.seed_bank)}, cut(loop.seed_bank), reader,
    )  # fmt: skip
    found = evaluate(experiment, blind, loop, {"seed_only": loop.seed_bank}, loop.seed_bank, reader)
    assert found == expected and found.roc_auc_by_kind.keys() == {"odd", "even"}
    assert found != evaluate(experiment, audit, loop, {"seed_only": loop.seed_bank}, loop.seed_bank, reader)
    table = scores_table(experiment, blind, loop.last, {}).to_pandas()
    assert np.array_equal(np.flatnonzero(table.label.notna()), known) and table.incremental.notna().all()
    assert np.array_equal(table.label[known].astype(bool), audit.anomaly_T[known])


@pytest.mark.parametrize("method", METHODS)
def test_rounds_table_is_the_record(store: Path, method: str) -> None:
    experiment, audit = made_up_experiment(store, config(method=method))
    loop = incremental_loop(experiment)
    table = rounds_table(experiment, audit, loop)
    cohort = experiment.cohort
    assert table.column_names == [
        "round", "id", "fold", "s", "u", "z_s", "z_u", "p", "rejected", "candidate", "admitted", "label",
    ]  # fmt: skip
    frame = table.to_pandas()
    assert len(frame) == len(cohort.pool) * len(loop.rows)
    for row in loop.rows:
        part, found = frame[frame["round"] == row.n], round_metrics(experiment, audit, row).plain()
        assert part.id.tolist() == cohort.id_N.take(pa.array(cohort.pool)).to_pylist()
        assert part.admitted.sum() == found["admitted"] and part.candidate.sum() == found["candidates"]
        assert (part.admitted & part.label).sum() == found["admitted_anomalies"]
        np.testing.assert_allclose(part.p, row.fit.p_N[cohort.pool])
        if method == "contrast":
            assert part.rejected.sum() == found["rejects"]
            assert part.u.notna().all() == row.fit.head_on
        else:
            assert part.rejected.isna().all() and not {"rejects", "rejects_purity", "head_on"} & found.keys()
