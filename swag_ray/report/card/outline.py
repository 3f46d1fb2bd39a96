"""What a card says, in order: the same words for Markdown, terminal and page. Figures that it lacks leave no trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from swag_ray.record.run_metrics import ArmMetrics, OperatingPoint
from swag_ray.report.card.record import ModelCard
from swag_ray.report.page.document import DISCLAIMER
from swag_ray.report.page.markup import decimal, p_value, percent, whole
from swag_ray.report.page.shortcuts import SHORTCUTS

COUNTS = {
    "seed": "trusted images (seeds)", "pool": "images of the pool", "pool_normals": "normals among them",
    "pool_anomalies": "anomalies among them", "unused": "images not used", "test": "test images",
    "seed_groups": "groups (patients) among the seeds", "train_groups": "groups (patients) in train",
    "test_groups": "groups (patients) in test",
}  # fmt: skip
PLACES = {"root": "folder", "seed_root": "folder of trusted images", "pool_root": "folder of the pool",
          "test_root": "folder of test images", "manifest": "manifest"}  # fmt: skip
POINTS = {
    "sensitivity_at_specificity_90": "anomalies found where 90 % of normals are not flagged",
    "sensitivity_at_specificity_95": "anomalies found where 95 % of normals are not flagged",
    "normals_set_aside_at_sensitivity_95": "normals set aside where 95 % of anomalies are found",
    "normals_set_aside_at_sensitivity_99": "normals set aside where 99 % of anomalies are found",
}


@dataclass(frozen=True)
class Part:
    """A titled part of a card: sentences, then facts as (name, value)."""

    title: str
    sentences: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


def outline(card: ModelCard) -> list[Part]:
    """Returns the parts that hold anything."""
    parts = [
        Part("Intended use", (DISCLAIMER, *card.intended_use)),
        Part("Out of scope", tuple(card.out_of_scope)),
        Part("Limits", tuple(card.limits)),
        _trained_on(card),
        _contamination(card),
        _calibration(card),
        _shifts(card),
        _score(card),
        _evaluation(card),
        _operating_points(card),
        _facts("Shortcuts (ROC-AUC of scores that see nothing of the anatomy)",
               {SHORTCUTS.get(key, key): decimal(x) for key, x in card.shortcuts.items()}),
        Part("Warnings of the run", tuple(card.warnings)),
        _backbone(card),
        _facts("Versions", card.versions),
        _digests(card),
    ]  # fmt: skip
    return [part for part in parts if part.sentences or part.facts]


def _facts(title: str, found: Mapping[str, str | None], *sentences: str) -> Part:
    return Part(title, sentences, tuple((name, text) for name, text in found.items() if text))


def _trained_on(card: ModelCard) -> Part:
    held = card.trained_on
    counts = {COUNTS.get(key, key.replace("_", " ")): whole(count) for key, count in held.counts.items()}
    return _facts("Trained on", {
        "dataset": held.dataset,
        **{PLACES.get(key, key): place for key, place in held.places.items()},
        "normal class": held.normal,
        "anomalous classes": ", ".join(held.anomaly),
        "images that could be read": whole(held.images),
        "images that could not": whole(held.unreadable),
        **counts,
        "groups are told apart by": held.groups,
        "folds": whole(held.folds),
        "image size": f"{held.image_size} x {held.image_size} pixels, grey" if held.image_size else None,
        **{f"reading, {key}": text for key, text in held.reading.items()},
        **{f"16-bit images, {key}": whole(count) for key, count in held.grey_range.items()},
    })  # fmt: skip


def _contamination(card: ModelCard) -> Part:
    found = card.contamination
    return _facts("Anomalies in the pool", {
        "estimate, without a label": percent(found.estimate),
        "by the shape of the low scores": percent(found.fitted),
        "no less than (95 %)": percent(found.low),
        "no more than (95 %)": percent(found.high),
        "by the pool's labels": percent(found.true),
    })  # fmt: skip


def _calibration(card: ModelCard) -> Part:
    held = card.calibration
    chance = " to ".join(text for x in held.rate_interval if (text := percent(x)))
    return _facts("Calibration", {
        "share of normals to flag": percent(held.rate),
        "smallest p-value that the seeds give": decimal(held.smallest_p, 4),
        "share of the pool's normals flagged": percent(held.rate_pool_normals),
        "share of test normals flagged": percent(held.rate_test_normals),
        "what chance alone gives": chance,
        "share of test anomalies found": percent(held.recall),
        "share of test normals flagged, threshold moved there": percent(held.aligned.rate_test_normals),
        "share of test anomalies found, threshold moved there": percent(held.aligned.recall),
    })  # fmt: skip


def _shifts(card: ModelCard) -> Part:
    held = card.shifts
    shift = decimal(held.test_images, 2, signed=True)
    return _facts("Sites and shifts", {
        "seeds against the pool's normals, last round (p)": p_value(held.pool_normals_p),
        "test images against the seeds": f"{shift} sd of the seeds' scores" if shift else None,
        "in doubt": held.doubt,
        "other sites": held.other_sites,
    })  # fmt: skip


def _score(card: ModelCard) -> Part:
    held = card.score
    return _facts("Score", {
        "method": held.method,
        "score used": held.score_used,
        **{f"arm {name}": _arm(arm) for name, arm in held.arms.items()},
        "rounds": whole(held.rounds),
        "pool images admitted": whole(held.admitted),
        "anomalies among them": whole(held.admitted_anomalies),
        "labels used": whole(held.labels_used),
    })  # fmt: skip


def _arm(arm: ArmMetrics) -> str:
    weight, alone = decimal(arm.weight), decimal(arm.roc_auc)
    parts = [f"weight {weight}" if weight else "", f"ROC-AUC alone {alone}" if alone else "", arm.reason or ""]
    return "; ".join(part for part in parts if part)


def _evaluation(card: ModelCard) -> Part:
    held, gain = card.evaluation, card.evaluation.delta_vs_seed_only
    amount, low, high = (decimal(x, signed=True) for x in (gain.roc_auc, gain.low, gain.high))
    return _facts("Evaluation on the test set", {
        "labels": held.labels,
        "test normals": whole(held.normals),
        "test anomalies": whole(held.anomalies),
        "ROC-AUC": decimal(held.roc_auc),
        "ROC-AUC of the seeds' bank alone": decimal(held.seed_only_roc_auc),
        "difference (95 %)": f"{amount} ({low} to {high})" if amount and low and high else amount,
        "PR-AUC": decimal(held.pr_auc),
        **{f"ROC-AUC, {kind}": decimal(x) for kind, x in held.roc_auc_by_kind.items()},
    })  # fmt: skip


def _operating_points(card: ModelCard) -> Part:
    held = card.operating_points
    found = {words: _share(getattr(held, name)) for name, words in POINTS.items()}
    return _facts("Operating points (thresholds picked on the test labels)", found)


def _share(point: OperatingPoint) -> str | None:
    value, low, high = (percent(x) for x in (point.value, point.low, point.high))
    return f"{value} ({low} to {high})" if value and low and high else value


def _backbone(card: ModelCard) -> Part:
    held = card.backbone
    return _facts("Backbone", {
        "model": held.name,
        "weights": held.weights,
        "licence of the weights": held.licence,
        "as stated by": held.licence_from,
        "strides": ", ".join(map(str, held.strides)),
        "grid": whole(held.grid),
    })  # fmt: skip


def _digests(card: ModelCard) -> Part:
    held = card.digests
    return _facts("Digests", {
        "detector": held.detector,
        "weights": held.weights,
        **{f"SHA-256 of {name}": text for name, text in held.files.items()},
        "features": held.features,
    })  # fmt: skip
