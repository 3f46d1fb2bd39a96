"""Every figure of metrics.json, recomputed by plain formulas from what a run leaves: its two tables and the labels.

The anomalies are weak: no area is 1 and no count is 0, so that a wrong sign, class, rate or image shows.
Where the tables do not say it, scores are taken from the fits (seeds, pool scores of the last fit, each fold's scores).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import betabinom, ks_2samp
from sklearn.metrics import average_precision_score, roc_auc_score

from swag_ray.core.fusion import Arm
from swag_ray.core.seeding import numpy_generator
from swag_ray.experiment.controls import run_controls
from swag_ray.experiment.decide import RoundDecision
from swag_ray.experiment.evaluate import evaluate
from swag_ray.experiment.loop import Round, Trajectory, incremental_loop
from swag_ray.experiment.tables import rounds_table, scores_table
from swag_ray.images.audit import Audit
from swag_ray.methods.fit import Experiment, Fit, FittedArm
from swag_ray.methods.method import method_of
from tests.support.made_up_experiment import config, here, made_up_experiment

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
RATE = 0.2  # of 59 seeds: 12 / 60, a p-value that there is, so that < for <= shows
IMAGES = {"normals": 118, "anomalies": 60, "tests": 30, "shift": 0.9}
CHOICES = ("passed_distance", "passed_both", "candidates", "admitted")
KINDS = ("haze", "spot")


@dataclass(frozen=True)
class Evaluated:
    """An experiment's trajectory, what a run writes of it, and the fits behind that."""

    experiment: Experiment
    audit: Audit
    trajectory: Trajectory
    fits: dict[str, Fit]  # the controls, and `incremental`
    bank: Fit
    metrics: dict[str, Any]
    rounds: pd.DataFrame
    scores: pd.DataFrame

    @property
    def drawn(self) -> bool:
        return self.trajectory.last.key == "fit 5"

    @property
    def label(self) -> Mask:
        return self.scores.label.to_numpy(dtype=bool)

    @property
    def pool_label(self) -> Mask:
        return self.rounds[self.rounds["round"] == 0].label.to_numpy(dtype=bool)

    def figures(self, name: str) -> dict[str, Any]:
        detectors: dict[str, dict[str, Any]] = self.metrics["baselines"] | {"incremental": self.metrics["incremental"]}
        return detectors[name]


def drawn_trajectory(experiment: Experiment, audit: Audit) -> tuple[Trajectory, dict[str, Fit], Fit]:
    """A loop of scores and choices that were drawn: anomalies are admitted, rejected and evicted in every round."""
    rng, cohort, gate = np.random.default_rng(5), experiment.cohort, experiment.config.gate
    train, picks_rejects = len(cohort.id_N), method_of(experiment).picks_rejects

    def arm(name: str, weight: float) -> Arm:
        s_TK = rng.normal(0, 1, (len(cohort.id_T), cohort.folds)) + 0.5 * audit.anomaly_T[:, None]
        drawn = Arm.of(name, rng.normal(3, 2, train), s_TK, cohort.seeds, f"why {name}" if name != "bank" else "")
        return dataclasses.replace(drawn, weight=weight)

    def fit(n: int, *, pool: bool = True) -> Fit:
        s_N = rng.normal(3, 2, train) + 1.5 * audit.anomaly_N
        normal = np.flatnonzero(~cohort.seed_N & ~audit.anomaly_N)[0]
        s_N[normal] = np.sort(s_N[cohort.seed_N])[-11]  # 11 seeds score so high: its p is the rate itself
        s_N[~cohort.seed_N & (not pool)] = np.nan
        s_TK = rng.normal(3, 2, (len(cohort.id_T), 1)) + rng.normal(0, 1, (len(cohort.id_T), cohort.folds))
        u_N = rng.gamma(2, 1, train) if n else np.full(train, np.nan)
        used = "fused" if picks_rejects and n else "bank"
        s_TK += 1.2 * audit.anomaly_T[:, None]
        parts = ("bank", "auxiliary", "head") if picks_rejects and n else ()
        arms = tuple(FittedArm(arm(name, weight), ()) for name, weight in zip(parts, (0.5, 0.0, 0.3), strict=False))
        return Fit(f"fit {n}", cohort, s_N, u_N, s_TK, (), used, head_on=picks_rejects and n > 0, arms=arms)

    held, ever = np.zeros(train, np.bool_), np.zeros(train, np.bool_)
    rows = []
    for n in range(5):
        made, relaxed = fit(n), n == 3
        tau_s, tau_u = (gate.tau_relaxed,) * 2 if relaxed else (gate.tau_distance, gate.tau_uncertainty)
        distance = ~cohort.seed_N & ~ever & (made.z_N <= tau_s) & (n > 0)
        both = distance & ~(made.z_u(made.u_N) > tau_u)
        rejected = ~cohort.seed_N & (made.p_N <= 0.45) & picks_rejects
        candidate = both & ~rejected
        admitted = candidate & (rng.random(train) < 0.3)
        evicted = held & rejected
        held, ever = (held & ~evicted) | admitted, ever | admitted
        arrays = {
            "rejected": rejected, "candidate": candidate, "passed_distance": distance, "passed_both": both,
            "admitted": admitted, "evicted": evicted, "held": held, "ever": ever, "u": made.u_N,
            "z_u": made.z_u(made.u_N), "streak": both.astype(np.int64),
        }  # fmt: skip
        rows.append(Round(n, made, RoundDecision(f"decide {n}", arrays, relaxed, n >= 3, n == 4)))
    trajectory = Trajectory(fit(0), tuple(rows), fit(5))
    controls = {"seed_only": trajectory.seed_bank, "full_train": fit(0, pool=False), "supervised": fit(9, pool=False)}
    controls["no_admission"] = rows[3].fit
    return trajectory, controls, fit(0, pool=False) if picks_rejects else trajectory.last


def run_trajectory(experiment: Experiment, audit: Audit) -> tuple[Trajectory, dict[str, Fit], Fit]:
    """The real loop and controls."""
    trajectory = incremental_loop(experiment)
    bank = method_of(experiment).final_bank(experiment, trajectory.decision.training, trajectory.last)
    return trajectory, run_controls(experiment, audit, trajectory), bank


Source = Callable[[Experiment, Audit], tuple[Trajectory, dict[str, Fit], Fit]]
SOURCES: dict[str, tuple[str, Source]] = {
    "contrast, drawn": ("contrast", drawn_trajectory), "published, drawn": ("published", drawn_trajectory),
    "contrast, run": ("contrast", run_trajectory), "published, run": ("published", run_trajectory),
}  # fmt: skip


@pytest.fixture(scope="module", params=SOURCES)
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    import torch

    torch.set_num_threads(1)
    method, source = SOURCES[request.param]
    settings = config(
        f"calibration.false_positive_rate={RATE}", "controls=[seed_only, full_train, no_admission, supervised]",
        "gate.budget=7",
        "gate.tau_distance=0.4", "gate.tau_uncertainty=0.5", "gate.tau_relaxed=1.1", "random_seed=3", "rounds=2",
        method=method,
    )  # fmt: skip
    images = IMAGES | ({"shift": 0.75} if request.param == "contrast, run" else {})  # its head finds weaker ones
    experiment, audit = made_up_experiment(tmp_path_factory.mktemp("figures"), settings, **images)  # type: ignore[arg-type]
    kind_T = np.where(audit.anomaly_T, np.resize(KINDS, len(audit.label_T)), "")
    audit = dataclasses.replace(audit, kind_T=kind_T)
    trajectory, controls, bank = source(experiment, audit)
    metrics = evaluate(experiment, audit, trajectory, controls, bank, here(experiment).reader).plain()
    return Evaluated(
        experiment, audit, trajectory, {**controls, "incremental": trajectory.last}, bank, metrics,
        rounds_table(experiment, audit, trajectory).to_pandas(),
        scores_table(experiment, audit, trajectory.last, controls).to_pandas(),
    )  # fmt: skip


def area(label: Mask, score: Floats) -> float:
    return float(np.mean([(a > n) + 0.5 * (a == n) for a in score[label] for n in score[~label]]))


def counts(label: Mask, flagged: Mask) -> dict[str, float]:
    tp = sum(a and f for a, f in zip(label, flagged, strict=True))
    fp = sum(not a and f for a, f in zip(label, flagged, strict=True))
    fn, tn = sum(label) - tp, sum(~label) - fp
    return {
        "accuracy": (tp + tn) / (tp + tn + fp + fn), "precision": tp / (tp + fp), "recall": tp / (tp + fn),
        "f1": 2 * (tp / (tp + fp)) * (tp / (tp + fn)) / (tp / (tp + fp) + tp / (tp + fn)),
        "tn": tn, "fp": fp, "fn": fn, "tp": tp,
    }  # fmt: skip


def seeds_of(found: Evaluated, fit: Fit) -> Floats:
    return fit.s_N[found.experiment.cohort.seed_N]


def standardised(reference: Floats, values: Floats) -> Floats:
    return (values - reference.mean()) / np.sqrt(((reference - reference.mean()) ** 2).sum() / (len(reference) - 1))


def test_these_anomalies_are_weak(found: Evaluated) -> None:
    """Else a wrong formula could give the right figure."""
    figures = [found.figures(name) for name in found.fits if name != "supervised"]
    assert all(0.5 < f["roc_auc"] < 0.95 and 0.5 < f["pr_auc"] < 0.97 for f in figures)
    for at in [f["youden"] for f in figures] + [f["conformal"] for f in figures]:
        assert all(at[cell] > 0 for cell in ("tn", "fp", "fn", "tp"))
    totals, *_, last = found.metrics["totals"], found.metrics["rounds"][-1]
    assert 0 < totals["admitted_anomalies"] < totals["admitted"] and 0 < totals["purity"] < 1
    assert last["passed_distance"] > 0
    if found.drawn:
        assert totals["exhausted"] and {row["relaxed"] for row in found.metrics["rounds"]} == {True, False}
        if found.experiment.config.method == "contrast":
            assert 0 < totals["evicted"] < totals["ever_admitted"] > totals["admitted"]
            assert totals["ever_admitted_anomalies"] > totals["admitted_anomalies"]
            assert all(0 < row["rejects_purity"] < 1 for row in found.metrics["rounds"])
            chosen = [sum(row[key] for row in found.metrics["rounds"]) for key in CHOICES]
            assert chosen == sorted(set(chosen), reverse=True) and chosen[-1] > 0
        assert all(0 < row["purity_without_second_gate"] < 1 for row in found.metrics["rounds"][1:])


def test_ranking_and_youden(found: Evaluated) -> None:
    for name in found.fits:
        label, score = found.label, found.scores[name].to_numpy()
        figures = found.figures(name)
        assert figures["roc_auc"] == pytest.approx(area(label, score))
        assert figures["pr_auc"] == pytest.approx(average_precision_score(label, score))

        def index(threshold: float, label: Mask = label, score: Floats = score) -> Fraction:
            flagged = score >= threshold
            return Fraction(int(flagged[label].sum()), int(label.sum())) - Fraction(
                int(flagged[~label].sum()), int((~label).sum())
            )

        best = max(index(t) for t in score)
        threshold = max(t for t in score if index(t) == best)
        assert figures["youden"] == pytest.approx({"threshold": threshold, **counts(label, score >= threshold)})


def test_conformal_decisions(found: Evaluated) -> None:
    cohort, label, pool_label = found.experiment.cohort, found.label, found.pool_label
    fold, at_rate = cohort.fold_N[cohort.seed_N], 0
    for name, fit in found.fits.items():
        seeds = seeds_of(found, fit)
        n = len(seeds)
        np.testing.assert_allclose(found.scores[name], fit.s_TK.mean(axis=1))
        p = np.array([(1 + sum(seeds >= own[fold])) / (n + 1) for own in fit.s_TK])
        if name == "incremental":
            np.testing.assert_allclose(found.scores.p, p)
        flagged = p <= RATE
        at_rate += int((p == RATE).sum())
        normals = int((~label).sum())
        low, high = betabinom.ppf([0.025, 0.975], normals, 12, n + 1 - 12) / normals
        expected = {
            "threshold": RATE, **counts(label, flagged), "rate_nominal": RATE,
            "rate_test_normals": flagged[~label].mean(),
        }  # fmt: skip
        figures = dict(found.figures(name)["conformal"])
        assert figures.pop("rate_interval") == pytest.approx([low, high])
        figures.pop("aligned")
        pool_normals = fit.s_N[~cohort.seed_N][~pool_label]  # anomalies may have no score
        if not np.isnan(pool_normals).any():
            p_pool = np.array([(1 + sum(seeds >= s)) / (n + 1) for s in pool_normals])
            expected["rate_pool_normals"] = (p_pool <= RATE).mean()
        assert figures == pytest.approx(expected)
    assert at_rate or not found.drawn, "a p-value at the rate itself, or this says nothing of it"


def aligned_by_search(seeds: Floats, s_TK: Floats) -> tuple[float, float, float]:
    """Residual, share of anomalies and shift, by numpy's quantiles and a plain search."""
    tried, centiles = [], np.linspace(0.03, 0.6, 20)
    for share in np.arange(91) / 100:
        above = np.quantile(s_TK, (1 - share) * centiles) - np.quantile(seeds, centiles)
        tried.append((float(above.std()), float(share), float(above.mean())))
    return min(tried)


def test_aligned_decisions(found: Evaluated) -> None:
    """Of the site score: the arms but the head of rejects."""
    cohort, label = found.experiment.cohort, found.label
    fold = cohort.fold_N[cohort.seed_N]
    for name, fit in found.fits.items():
        seeds, s_TK = seeds_of(found, fit), fit.s_TK
        arms = [part.arm for part in fit.arms]
        if any(arm.name == "head" for arm in arms):
            rest = [arm for arm in arms if arm.name != "head"]
            s_TK = sum(arm.weight * (arm.s_TK - arm.location) / arm.sd for arm in rest)
            seeds = sum(arm.weight * (arm.s_N[cohort.seed_N] - arm.location) / arm.sd for arm in rest)
        residual, share, shift = aligned_by_search(seeds, s_TK)
        p = np.array([(1 + sum(seeds + shift >= own[fold])) / (len(seeds) + 1) for own in s_TK])
        figures = dict(found.figures(name)["conformal"]["aligned"])
        assert ("doubt" in figures) <= (name == "incremental")
        figures.pop("doubt", None)
        sd = seeds.std(ddof=1)
        expected = {"shift": shift / sd, "contamination": share, "residual": residual / sd}
        expected |= {"rate_test_normals": (p <= RATE)[~label].mean(), "recall": (p <= RATE)[label].mean()}
        assert figures == pytest.approx(expected)


def resampled(found: Evaluated, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The test images (2000, n) that the generator of that name draws, each class by itself."""
    generator = numpy_generator(found.experiment.config.random_seed, name)
    normal, anomaly = np.flatnonzero(~found.label), np.flatnonzero(found.label)
    drawn = [images[generator.integers(0, len(images), size=(2000, len(images)))] for images in (normal, anomaly)]
    return drawn[0], drawn[1]


@pytest.mark.parametrize("reference", ["seed_only", "no_admission"])
def test_difference_to(found: Evaluated, reference: str) -> None:
    normal, anomaly = resampled(found, "bootstrap")

    def wins(name: str) -> Floats:
        s = found.scores[name].to_numpy()
        return (s[:, None] > s[None, :]) + 0.5 * (s[:, None] == s[None, :])

    gain = wins("incremental") - wins(reference)
    drawn = [gain[np.ix_(a, n)].mean() for a, n in zip(anomaly, normal, strict=True)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    own, other = (area(found.label, found.scores[name].to_numpy()) for name in ("incremental", reference))
    held = dict(found.metrics[f"delta_vs_{reference}"])
    if reference == "no_admission":
        same = bool((found.scores["incremental"] == found.scores[reference]).all())
        assert held.pop("same_scores") is same
    assert held == pytest.approx({"roc_auc": own - other, "low": low, "high": high})


def test_operating_points(found: Evaluated) -> None:
    normal, anomaly = resampled(found, "operating points")
    everyone = np.flatnonzero(~found.label), np.flatnonzero(found.label)

    def points(score: Floats, normal: NDArray[np.int64], anomaly: NDArray[np.int64]) -> list[float]:
        n, a = np.sort(score[normal]), np.sort(score[anomaly])
        above = [np.mean(a > n[int(np.ceil(len(n) * share)) - 1]) for share in (0.9, 0.95)]
        below = [np.mean(n < a[len(a) - int(np.ceil(len(a) * share))]) for share in (0.95, 0.99)]
        return [float(x) for x in above + below]

    for name in found.fits:
        score, figures = found.scores[name].to_numpy(), found.figures(name)["operating_points"]
        drawn = [points(score, *pair) for pair in zip(normal, anomaly, strict=True)]
        ends = np.quantile(drawn, [0.025, 0.975], axis=0)
        assert list(figures) == [
            "sensitivity_at_specificity_90", "sensitivity_at_specificity_95",
            "normals_set_aside_at_sensitivity_95", "normals_set_aside_at_sensitivity_99",
        ]  # fmt: skip
        for figure, value, low, high in zip(figures.values(), points(score, *everyone), *ends, strict=True):
            assert figure == pytest.approx({"value": value, "low": low, "high": high})


def test_rounds(found: Evaluated) -> None:
    settings, pool_label, trajectory = found.experiment.config, found.pool_label, found.trajectory
    pool = len(pool_label)
    held, ever, evicted_ever = (np.zeros(pool, bool) for _ in range(3))
    assert [row["round"] for row in found.metrics["rounds"]] == found.rounds["round"].unique().tolist()
    for row, figures in zip(trajectory.rows, found.metrics["rounds"], strict=True):
        frame = found.rounds[found.rounds["round"] == row.n]
        seeds = seeds_of(found, row.fit)
        z_s = standardised(seeds, frame.s.to_numpy())
        np.testing.assert_allclose(frame.z_s, z_s)
        np.testing.assert_allclose(frame.p, [(1 + sum(seeds >= s)) / (len(seeds) + 1) for s in frame.s])
        # Who passed: the table says z_s, z_u and who was admitted before.
        tau_s, tau_u = settings.gate.tau_distance, settings.gate.tau_uncertainty
        if figures["relaxed"]:
            tau_s = tau_u = settings.gate.tau_relaxed or np.nan
        z_u = frame.z_u.to_numpy(dtype=float)
        distance = (z_s <= tau_s) & ~ever & (row.n > 0)
        both = distance & ~(z_u > tau_u)
        admitted, rejected = frame.admitted.to_numpy(), frame.rejected.fillna(False).to_numpy(dtype=bool)
        assert not (admitted & ~both).any()
        evicted = held & rejected
        held, ever, evicted_ever = (held & ~evicted) | admitted, ever | admitted, evicted_ever | evicted
        expected = {
            "round": row.n, "relaxed": row.decision.relaxed, "candidates": frame.candidate.sum(),
            "passed_distance": distance.sum(), "passed_both": both.sum(), "admitted": admitted.sum(),
            "evicted": evicted.sum(), "admitted_anomalies": (admitted & pool_label).sum(),
            "roc_auc": roc_auc_score(found.label, row.fit.s_TK.mean(axis=1)),
            "pool_roc_auc": area(pool_label, frame.s.to_numpy()),
            "ks_seed_vs_pool_normals": ks_2samp(seeds, frame.s[~pool_label]).pvalue,
        }  # fmt: skip
        if distance.any():
            nearest = np.flatnonzero(distance)[np.argsort(z_s[distance], kind="stable")][: settings.gate.budget]
            expected["purity_without_second_gate"] = np.mean(~pool_label[nearest])
        if settings.method == "contrast":
            weights = {part.arm.name: part.arm.weight for part in row.fit.arms}
            expected |= {"head_on": row.fit.head_on, "rejects": rejected.sum(), "head_weight": weights.get("head", 0)}
            if rejected.any():
                expected["rejects_purity"] = pool_label[rejected].mean()
        assert figures == pytest.approx(expected)

    expected = {
        "admitted": held.sum(), "ever_admitted": ever.sum(), "evicted": evicted_ever.sum(), "labels_used": 0,
        "exhausted": trajectory.rows[-1].decision.exhausted, "admitted_anomalies": (held & pool_label).sum(),
        "ever_admitted_anomalies": (ever & pool_label).sum(), "purity": (held & ~pool_label).sum() / held.sum(),
    }  # fmt: skip
    assert found.metrics["totals"] == pytest.approx(expected)


def test_arms_kinds_and_contamination(found: Evaluated) -> None:
    label, last = found.label, found.trajectory.last
    own, bank = found.scores.incremental.to_numpy(), found.bank.s_TK.mean(axis=1)
    arms: dict[str, dict[str, Any]] = {"bank": {"roc_auc": area(label, bank)}}
    if last.arms:
        arms = {part.arm.name: {"roc_auc": area(label, part.arm.s_TK.mean(axis=1))} for part in last.arms}
        for part in last.arms:
            arms[part.arm.name] |= {"weight": part.arm.weight} | (
                {"reason": part.arm.reason} if part.arm.reason else {}
            )
        arms["fused"] = {"roc_auc": area(label, own)}
        assert (len(arms) > 2) == last.head_on
    assert found.metrics["arms"].keys() == arms.keys()
    for name, arm in found.metrics["arms"].items():
        assert arm.pop("reason", None) == arms[name].pop("reason", None) and arm == pytest.approx(arms[name])
    for kind in KINDS:
        shown = ~label | (found.scores.kind == kind).to_numpy()
        assert found.metrics["roc_auc_by_kind"][kind] == pytest.approx(area(label[shown], own[shown]))
    assert list(found.metrics["roc_auc_by_kind"]) == list(KINDS)
    shares = dict(found.metrics["contamination"])
    assert shares.pop("true") == pytest.approx(found.pool_label.mean())
    seeds, pool = seeds_of(found, last), last.s_N[~found.experiment.cohort.seed_N]
    assert shares.pop("fitted") == aligned_by_search(seeds, pool[:, None])[1]
    p = np.array([(1 + sum(seeds >= s)) / (len(seeds) + 1) for s in pool])
    assert shares.pop("estimate") == pytest.approx(max(0, 1 - (1 + sum(p > 0.5)) / (len(p) * 0.5)), abs=0.02)
    low = shares.pop("low")
    assert not shares and 0 <= low <= min(found.metrics["contamination"][name] for name in ("estimate", "fitted"))
    assert found.metrics["incremental"]["score_used"] == last.score_used


def test_shortcuts(found: Evaluated) -> None:
    cohort, label = found.experiment.cohort, found.label
    reader = here(found.experiment).reader
    test = reader.statistics(cohort.rows_T, found.audit.bytes_T)
    seeds = reader.statistics(cohort.rows_N.take(cohort.seeds), found.audit.bytes_N[cohort.seeds])

    def two_sided(values: Any) -> float:
        return max(area(label, np.asarray(values, float)), 1 - area(label, np.asarray(values, float)))

    seed_rows = seeds.thumbnail_NHW.reshape(len(cohort.seeds), -1).astype(float)
    nearest = [np.linalg.norm(seed_rows - row, axis=1).min() for row in test.thumbnail_NHW.reshape(len(label), -1)]
    width, height = test.size_N2.T.astype(float)
    expected = {
        "thumbnail_1nn": two_sided(nearest), "grey": max(two_sided(column) for column in test.grey_NQ.T),
        "border": two_sided(test.border_N), "image_size": max(map(two_sided, (width, height, width / height))),
        "file_bytes": two_sided(found.audit.bytes_T),
    }  # fmt: skip
    assert found.metrics["shortcuts"] == pytest.approx(expected)
    assert len(set(expected.values())) == 5 and all(0.5 < value < 1 for value in expected.values())
