"""The loop, on made-up features and with its real stages and tasks: what must hold in every round of either method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swag_ray.errors import InputError
from swag_ray.experiment.decide import NO_ADMISSION, AdmissionRule
from swag_ray.experiment.evaluate import delta, detector_metrics, evaluate, totals
from swag_ray.experiment.loop import Round, incremental_loop
from swag_ray.experiment.tables import rounds_table
from swag_ray.features.reader import Rows
from swag_ray.methods.bank_fit import bank_fit
from swag_ray.methods.fit import TrainingSet
from swag_ray.methods.method import method_of
from swag_ray.record.run_metrics import Difference
from tests.support.made_up_experiment import OFF, config, here, made_up_experiment, with_settings

pytestmark = pytest.mark.usefixtures("one_thread")
METHODS = ("contrast", "published")
ROUNDS = 3


SETTINGS: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "contrast": ("contrast", ["gate.budget=20"], {}),
    "contrast, patience and random rank": ("contrast", ["gate.patience=2", "gate.rank=random", "gate.budget=5"], {}),
    "contrast, weak anomalies": ("contrast", ["outliers.probability=0.2", "gate.tau_distance=1"], {"shift": 0.9}),
    "contrast, variants": ("contrast", ["gate.budget=20"], {"variants": True}),
    "contrast, relaxed": ("contrast", ["gate.tau_distance=-2", "gate.tau_relaxed=1", "gate.budget=60"], {}),
    "published": ("published", [], {}),
    "published, strict": ("published", ["gate.tau_distance=-1.5", "gate.tau_relaxed=1", "gate.rank=uncertainty"], {}),
}


RULES = ("swag_gate", "random_admission", "oracle_gate", "no_admission")
CASES = [(name, rule) for name in SETTINGS for rule in RULES if rule == RULES[0] or name in ("contrast", "published")]


@pytest.mark.parametrize(("name", "rule"), CASES)
def test_invariants_of_every_round(store: Path, name: str, rule: str) -> None:
    method, overrides, images = SETTINGS[name]
    experiment, audit = made_up_experiment(store, config(*overrides, method=method), **images)
    cohort, gate = experiment.cohort, experiment.config.gate
    allowed = {"swag_gate": None, "random_admission": ~cohort.seed_N, "oracle_gate": ~cohort.seed_N & ~audit.anomaly_N}
    chosen = NO_ADMISSION if rule == "no_admission" else AdmissionRule(rule, allowed[rule])
    loop = incremental_loop(experiment, chosen)

    assert [row.n for row in loop.rows] == list(range(len(loop.rows))) and len(loop.rows) <= ROUNDS + 1
    assert len(loop.rows) == ROUNDS + 1 or loop.exhausted
    first = loop.rows[0].decision.arrays
    assert not any(first[kind].any() for kind in ("candidate", "admitted", "evicted", "held", "ever"))
    assert np.isnan(first["u"]).all()
    assert np.isnan(loop.rows[0].fit.u_N).all() != ("variants" in images), (
        "the auxiliary head has samples, the bank none"
    )
    gone = np.zeros(len(cohort.id_N), np.bool_)
    for before, row in zip(loop.rows, loop.rows[1:], strict=False):
        was, a = before.decision.arrays, row.decision.arrays
        assert not (a["held"] & a["rejected"]).any(), "nobody is trusted and rejected at once"
        assert not (a["admitted"] & was["ever"]).any(), "nobody is admitted twice"
        assert not (a["admitted"] & cohort.seed_N).any() and not (a["rejected"] & cohort.seed_N).any()
        assert a["admitted"].sum() <= gate.budget
        assert not (a["admitted"] & ~a["candidate"]).any() and not (a["candidate"] & ~a["passed_both"]).any()
        assert not (a["passed_both"] & ~a["passed_distance"]).any() and not (a["passed_distance"] & was["ever"]).any()
        assert np.array_equal(a["evicted"], was["held"] & a["rejected"])
        assert np.array_equal(a["held"], (was["held"] | a["admitted"]) & ~a["evicted"])
        assert np.array_equal(a["ever"], was["ever"] | a["admitted"])
        gone |= a["evicted"]
        assert not (gone & a["held"]).any(), "who was evicted never comes back"
        if row.decision.exhausted:
            assert not a["admitted"].any() and row is loop.rows[-1]
        if rule == "swag_gate" and not row.decision.relaxed:
            assert (row.fit.z_N[a["passed_distance"]] <= gate.tau_distance).all()
        if rule == "no_admission":
            assert not any(a[kind].any() for kind in ("candidate", "admitted", "evicted", "held", "ever", "streak"))
            assert np.isnan(a["u"]).all() and not row.decision.exhausted, "its rounds go on"
        if rule == "oracle_gate":
            assert not (a["admitted"] & audit.anomaly_N).any()
    assert totals(audit, loop).admitted == loop.decision.arrays["held"].sum()
    if (name, rule) == ("contrast", "random_admission"):
        assert gone.any(), "somebody must be evicted, or this says nothing of it"


@pytest.mark.parametrize(("method", "variants"), [("contrast", False), ("contrast", True), ("published", False)])
def test_no_model_sees_its_own_fold_nor_a_stranger(tmp_path: Path, method: str, variants: bool) -> None:
    """From what was really given to the tasks: fold, members, rejects, standardisation, where training went on from.

    Whom a round admits teaches `published`; heads learn from seeds, rejects and variants alone.
    """
    experiment, audit = made_up_experiment(tmp_path, config("gate.budget=20", method=method), variants=variants)
    cohort = experiment.cohort
    # A random draw, for its evictions: it must matter who is held when.
    loop = incremental_loop(experiment, AdmissionRule("random_admission", ~cohort.seed_N))
    if method == "contrast":
        assert totals(audit, loop).evicted > 0, "this test needs evictions"
    number = {
        (int(s), int(r)): i for i, (s, r) in enumerate(zip(cohort.rows_N.shard_N, cohort.rows_N.row_N, strict=True))
    }

    def images(rows: Rows) -> np.ndarray[Any, Any]:
        return np.array([number[int(s), int(r)] for s, r in zip(rows.shard_N, rows.row_N, strict=True)])

    fits = [fit for fit in here(experiment).fits if fit[0] != "fit_bank" and "auxiliary" not in fit[1].names]
    assert len(fits) == cohort.folds * (ROUNDS + 1)
    for i, (_, task) in enumerate(fits):
        n, k = i // cohort.folds + 1, i % cohort.folds
        decision = loop.rows[n - 1].decision
        assert task.fold == k and np.array_equal(images(task.train), task.image)
        assert not (cohort.fold_N[task.image] == k).any()
        seeds = cohort.seeds[cohort.fold_N[cohort.seeds] != k]
        assert np.array_equal(np.sort(images(task.seeds)), seeds), "standardisation: the seeds outside the fold, always"
        trusted = np.union1d(seeds, decision.held[cohort.fold_N[decision.held] != k])
        if method == "contrast":
            rejects = decision.rejects[cohort.fold_N[decision.rejects] != k]
            assert np.array_equal(np.sort(task.image[task.abnormal]), rejects)
            assert np.array_equal(np.sort(task.image[~task.abnormal]), seeds)
            weight_N = np.where(cohort.seed_N, 1, decision.arrays["reject_weight"])
            assert np.array_equal(task.weight, weight_N[task.image]) and (weight_N[rejects] >= 0.5).all()
        else:
            assert np.array_equal(np.sort(task.image), trusted)
            assert (task.start is None) == (n == 1)
    for fit in (loop.seed_bank, loop.last):
        for k, fold in enumerate(fit.folds):
            for image in fold.get("image", ()):  # a head keeps no rows
                assert cohort.fold_N[image] != k
                assert cohort.seed_N[image] or image in loop.decision.held


def test_relaxing_asks_for_those_it_adds(tmp_path: Path) -> None:
    settings = config("rounds=2", "gate.tau_distance=-9", "gate.tau_relaxed=1", method="published")
    experiment, _ = made_up_experiment(tmp_path, settings)
    loop = incremental_loop(experiment)
    one, two = loop.rows[1].decision, loop.rows[2].decision
    assert one.relaxed and one.arrays["admitted"].any() and not one.exhausted
    assert np.array_equal(~np.isnan(one.arrays["u"]), one.arrays["passed_distance"])
    assert not two.relaxed and two.exhausted, "once for the whole run"
    assert len(loop.rows) == 3


@pytest.mark.parametrize("method", METHODS)
def test_fault_4_thresholds_are_refreshed_every_round(store: Path, method: str) -> None:
    """The published script keeps the thresholds of its first calibration whatever the adapter does."""
    overrides = ["adapter.learning_rate=0.01"] if method == "published" else []
    experiment, audit = made_up_experiment(store, config(*overrides, method=method))
    loop, cohort = incremental_loop(experiment), experiment.cohort
    table = rounds_table(experiment, audit, loop).to_pandas()
    reference = set()
    stale = 0
    for row in loop.rows[1:]:
        seeds = row.fit.s_N[cohort.seeds]
        reference.add((seeds.mean(), seeds.std()))
        z = (row.fit.s_N - seeds.mean()) / seeds.std(ddof=1)
        np.testing.assert_allclose(table[table["round"] == row.n].z_s, z[cohort.pool])
        a, ever = row.decision.arrays, loop.rows[row.n - 1].decision.arrays["ever"]
        expected = (z <= experiment.config.gate.tau_distance) & ~ever & ~cohort.seed_N
        assert np.array_equal(a["passed_distance"], expected)
        first = loop.rows[0].fit.s_N[cohort.seeds]
        old = (row.fit.s_N - first.mean()) / first.std(ddof=1) <= experiment.config.gate.tau_distance
        stale += int((old & ~ever & ~cohort.seed_N != expected).sum())
    assert len(reference) == ROUNDS and stale > 0, "this test needs scores whose scale changes"


def test_without_a_likely_anomaly_there_is_no_head_and_the_seed_only_figures(tmp_path: Path) -> None:
    experiment, audit = made_up_experiment(tmp_path, config(*OFF))
    loop = incremental_loop(experiment)
    for row in [*loop.rows, Round(ROUNDS + 1, loop.last, loop.decision)]:
        assert row.fit.score_used == "seed_bank" and not row.fit.head_on
        assert np.array_equal(row.fit.s_N, loop.seed_bank.s_N) and np.array_equal(row.fit.s_TK, loop.seed_bank.s_TK)
        assert np.isnan(row.fit.u_N).all()
        assert row.fit.reason == ("no head: no pool image is likely abnormal" if row.n else "")
        if 0 < row.n <= ROUNDS:
            assert row.decision.arrays["admitted"].sum() == experiment.config.gate.budget, (
                "admission by distance goes on"
            )
            assert np.isnan(row.decision.arrays["z_u"]).all()
    assert detector_metrics(experiment, audit, loop.last) == detector_metrics(experiment, audit, loop.seed_bank)
    assert delta(experiment, audit, loop.last, loop.seed_bank) == Difference(roc_auc=0.0, low=0.0, high=0.0)
    table = rounds_table(experiment, audit, loop).to_pandas()
    assert table.u.isna().all() and table.z_u.isna().all() and table.p.notna().all()
    assert {name for name, _ in here(experiment).fits} == {"fit_bank"}
    grown = bank_fit(
        experiment, np.union1d(experiment.cohort.seeds, loop.decision.held), loop.decision.key, score_pool=False
    )
    assert here(experiment).published[-1] == (grown.key, loop.decision.key), "the actor checks who is admitted"
    metrics = evaluate(experiment, audit, loop, {}, grown, here(experiment).reader)
    assert metrics.incremental.score_used == "seed_bank"
    assert metrics.arms["bank"].weight == 1 and metrics.arms["bank"].roc_auc == metrics.arms["fused"].roc_auc


def test_rejects_of_one_fold_teach_no_head(tmp_path: Path) -> None:
    """The fold that holds them all would have none to learn from."""
    experiment, _ = made_up_experiment(tmp_path, config())
    cohort, method = experiment.cohort, method_of(experiment)
    first = method.first_fit(experiment, bank_fit(experiment, cohort.seeds))
    weight_N = np.where(~cohort.seed_N & (cohort.fold_N == 1), 0.9, 0.0)
    fit = method.fit(experiment, 1, TrainingSet("decision", np.empty(0, np.int64), weight_N), first, first)
    assert fit.reason == "no head: all rejects that it would learn from are in one fold"
    assert np.array_equal(fit.s_N, first.s_N) and not fit.head_on and fit.key != first.key
    assert {name for name, _ in here(experiment).fits} == {"fit_bank"}


def test_nothing_left_to_admit_ends_the_loop(tmp_path: Path) -> None:
    experiment, audit = made_up_experiment(tmp_path, config(*OFF, "gate.budget=100", "rounds=6"))
    loop = incremental_loop(experiment)
    assert loop.exhausted and totals(audit, loop).exhausted is True
    *rows, last = loop.rows
    assert len(rows) == 2 and last.n == 2 and not last.decision.arrays["admitted"].any()
    assert len(rounds_table(experiment, audit, loop)) == 3 * len(experiment.cohort.pool), "its row stands"
    work = len(here(experiment).scored) + len(here(experiment).fits)
    longer = incremental_loop(with_settings(experiment, config(*OFF, "gate.budget=100", "rounds=9")))
    assert longer.last.key == loop.last.key and len(here(experiment).scored) + len(here(experiment).fits) == work


def test_images_waiting_for_patience_are_not_exhaustion(tmp_path: Path) -> None:
    experiment, _ = made_up_experiment(tmp_path, config(*OFF, "gate.patience=3", "rounds=4"))
    loop = incremental_loop(experiment)
    assert [int(row.decision.arrays["admitted"].sum()) for row in loop.rows] == [0, 0, 0, 8, 8]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("every", [40, 10_000])
def test_a_fit_without_posterior_is_refused_before_anything_is_fitted(tmp_path: Path, method: str, every: int) -> None:
    experiment, _ = made_up_experiment(tmp_path, config(f"swag.collect_every={every}", method=method))
    with pytest.raises(InputError, match=r"swag\.collect_every"):
        incremental_loop(experiment)
    assert not here(experiment).fits and not here(experiment).scored


def test_the_check_counts_the_patches_of_the_smallest_fit(tmp_path: Path) -> None:
    """Outside the fold with the most seeds: 40 images of 16 patches are one batch of 1,024."""
    settings = config("swag.collect_every=1", "adapter.round_epochs=1", "rounds=1", method="published")
    experiment, _ = made_up_experiment(tmp_path, settings)
    with pytest.raises(InputError, match="1 step"):
        incremental_loop(experiment)
