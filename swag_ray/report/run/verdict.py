"""The run in one sentence, and the warnings: the words of the page that depend on its figures."""

from __future__ import annotations

from swag_ray.record.run_metrics import DetectorMetrics
from swag_ray.report.page.markup import decimal, percent, whole
from swag_ray.report.page.shortcuts import SHORTCUTS, telling_shortcuts
from swag_ray.report.run.read import RunRecord
from swag_ray.wording import clause, plural


def verdict(run: RunRecord) -> str:
    """Difference to seed-only with its interval, then what was admitted, as one sentence."""
    admitted = admissions(run)
    return f"{_ranking(run)}{f'; {admitted}' if admitted else ''}."


def _ranking(run: RunRecord) -> str:
    own, seed_only = run.metrics.incremental, run.metrics.baselines.get("seed_only", DetectorMetrics())
    before, after = decimal(seed_only.roc_auc), decimal(own.roc_auc)
    delta = run.metrics.delta_vs_seed_only
    low, high, gain = delta.low, delta.high, delta.roc_auc
    count = len([row for row in run.metrics.rounds if row.round])
    detector = "the incremental detector"
    when = f"After {plural(count, 'round')} " if count else ""
    subject = f"{when}{detector}" if when else detector.capitalize()
    if after is None:
        return (
            f"{when}no ranking of a labelled test set is known"
            if when
            else "No ranking of a labelled test set is known"
        )
    if own.score_used == "seed_bank":
        why = "as no other arm has a weight"
        return f"{subject} scores with its seed-only bank, {why} (ROC-AUC {after} on the test set)"
    if low is None or high is None or gain is None:
        return f"{subject} reaches ROC-AUC {after} on the test set; no interval of its difference to seed-only is known"
    change = f"ROC-AUC {before} to {after}; " if before else f"ROC-AUC {after}; "
    span = f"({change}95 % interval of the difference {decimal(low, signed=True)} to {decimal(high, signed=True)})"
    if low > 0:
        return f"{subject} beats its seed-only bank on the test set by {decimal(gain)} on this split {span}"
    if high < 0:
        return f"{subject} falls behind its seed-only bank on the test set by {decimal(-gain)} on this split {span}"
    amount = decimal(gain, signed=True)
    return (
        f"{subject} shows no difference to its seed-only bank on this split that this test set could tell from zero: "
        f"{amount} {span}"
    )


def admissions(run: RunRecord) -> str:
    """Returns what was admitted, as a clause; empty where that is not known."""
    totals = run.metrics.totals
    admitted, wrong = totals.ever_admitted, totals.ever_admitted_anomalies
    if admitted is None:
        admitted, wrong = totals.admitted, totals.admitted_anomalies
    if admitted is None:
        return ""
    if admitted == 0:
        return "no pool image was admitted"
    if wrong is None:
        return f"{clause(admitted, 'pool image', 'was', 'were')} admitted, how many of them anomalies is not known"
    if admitted == 1:
        return f"the one pool image admitted was {'an anomaly' if wrong else 'a normal'}"
    if wrong == 0:
        return f"none of the {whole(admitted)} pool images admitted was an anomaly"
    verb = "was an anomaly" if wrong == 1 else "were anomalies"
    return f"{whole(wrong)} of the {whole(admitted)} pool images admitted {verb} ({percent(wrong / admitted, 2)})"


def admission(run: RunRecord) -> str:
    """What admission added to the ranking, as one sentence; "" where the control without it was not run."""
    gain = run.metrics.delta_vs_no_admission
    if gain.same_scores:
        return "Admission changed no score: the same rounds with nobody admitted end in the same detector."
    if gain.roc_auc is None or gain.low is None or gain.high is None:
        return ""
    span = f"(95 % interval {decimal(gain.low, signed=True)} to {decimal(gain.high, signed=True)})"
    amount = decimal(gain.roc_auc, signed=True)
    told = "" if gain.low > 0 or gain.high < 0 else ", which this test set cannot tell from zero"
    return f"Against the same rounds with nobody admitted, admission changed ROC-AUC by {amount} {span}{told}."


def warnings(run: RunRecord) -> list[str]:
    """The run's own warnings, then those that its figures give."""
    return run.metrics.warnings + _shortcut_warnings(run) + _rate_warnings(run) + _published_warnings(run)


def _shortcut_warnings(run: RunRecord) -> list[str]:
    found = []
    method = run.metrics.incremental.roc_auc
    for key, score in telling_shortcuts(run.metrics).items():
        found.append(
            f"{SHORTCUTS.get(key, key)} alone ranks the test set with ROC-AUC {decimal(score)}, about as high as "
            f"the method ({decimal(method)}): the figures may show how the images were made, not what they show."
        )
    if run.published_set == "covid":
        found.append(
            "In the published covid set class and source coincide (children's films from one hospital against adult "
            "films from many): where these films come from there, a near-perfect figure shows the source as much as "
            "the disease. Read the shortcuts beside it."
        )
    return found


def _published_warnings(run: RunRecord) -> list[str]:
    if not run.unlike_published:
        return []
    return [
        f"The figures published for {run.published_set} are left out, as this is not the published test set: "
        f"{run.unlike_published}."
    ]


def _rate_warnings(run: RunRecord) -> list[str]:
    conformal = run.metrics.incremental.conformal
    nominal, measured, span = conformal.rate_nominal, conformal.rate_test_normals, conformal.rate_interval
    if nominal is None or measured is None or span is None or measured <= span[1]:
        return []
    high = span[1]
    digits = next((d for d in range(1, 9) if percent(measured, d) != percent(high, d)), 1)  # they differ, and show it
    return [
        f"The threshold promises to flag {percent(nominal)} of normals and flags {percent(measured, digits)} of the "
        f"test set's (chance allows {percent(span[0])} to {percent(high, digits)}): the test images differ from the "
        "seeds."
    ]
