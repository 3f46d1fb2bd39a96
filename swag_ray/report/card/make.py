"""A model card from what a finished run says of itself: config.yaml, metrics.json, manifest.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from swag_ray.masking import without_secrets
from swag_ray.record.run_metrics import DetectorMetrics, RunMetrics, Table
from swag_ray.report.card import words
from swag_ray.report.card.record import (  # fmt: skip
    Backbone,
    Calibration,
    Digests,
    Evaluation,
    ModelCard,
    Score,
    Shifts,
    TrainedOn,
)
from swag_ray.report.page.markup import number
from swag_ray.report.page.settings import is_anonymous

FORMAT = 1
PLACES = ("root", "seed_root", "pool_root", "test_root", "manifest")  # fields of `dataset` that say where images lie

T = TypeVar("T", bound=Table)


def model_card(config: Mapping[str, Any], metrics: RunMetrics, manifest: Mapping[str, Any]) -> ModelCard:
    """Returns the card of a run. What the three do not hold is absent from it."""
    return _known(
        ModelCard,
        format=FORMAT,
        name=_text(config.get("name")),
        intended_use=list(words.INTENDED_USE),
        out_of_scope=list(words.OUT_OF_SCOPE),
        limits=words.limits(metrics),
        trained_on=_trained_on(config, metrics),
        contamination=metrics.contamination,
        calibration=_calibration(config, metrics),
        shifts=_shifts(metrics),
        score=_score(config, metrics),
        evaluation=_evaluation(config, metrics),
        operating_points=metrics.incremental.operating_points,
        shortcuts=metrics.shortcuts,
        warnings=[without_names(text) for text in metrics.warnings],
        backbone=_backbone(config, manifest),
        versions=_texts(manifest.get("versions")),
        digests=_digests(manifest),
    )


def without_names(warning: str) -> str:
    """Returns a warning without the files that it names, which stand in brackets or behind "skipped"."""
    text = re.sub(r"\s*\(.*\)", "", warning, flags=re.DOTALL)
    return re.sub(r"( skipped): .*", r"\1", text, flags=re.DOTALL)


def _known(kind: type[T], **fields: Any) -> T:
    """A table of the fields that hold anything."""
    return kind(**{name: value for name, value in fields.items() if _holds(value)})


def _holds(value: object) -> bool:
    return bool(value) if isinstance(value, str | list | dict | Table) else value is not None


def _trained_on(config: Mapping[str, Any], metrics: RunMetrics) -> TrainedOn:
    dataset, split = _section(config, "dataset"), _section(config, "split")
    facts, hidden = metrics.dataset, is_anonymous(config)
    labelled = dataset.get("kind") in ("folder", "manifest") or dataset.get("test_root") is not None
    classes = labelled and not hidden
    counts = {**facts.split, **{key: facts.listing[key] for key in ("test_groups",) if key in facts.listing}}
    return _known(
        TrainedOn,
        dataset=_text(dataset.get("kind")),
        places={} if hidden else _texts(without_secrets({key: dataset.get(key) for key in PLACES})),
        normal=_text(dataset.get("normal")) if classes else None,
        anomaly=_names(dataset.get("anomaly")) if classes else [],
        images=facts.images,
        counts=counts,
        groups=words.grouping(dataset.get("kind"), split.get("group"), hidden=hidden) if counts else None,
        folds=_count(split.get("folds")),
        image_size=_count(_section(config, "backbone").get("image_size")),
        reading=_texts({key: dataset.get(key) for key in ("range", "frames")}),
        grey_range=facts.grey_range,
        unreadable=len(facts.skipped) or None,
    )


def _calibration(config: Mapping[str, Any], metrics: RunMetrics) -> Calibration:
    conformal, seeds = metrics.incremental.conformal, metrics.dataset.split.get("seed")
    rate = conformal.rate_nominal
    if rate is None:
        rate = number(_section(config, "calibration").get("false_positive_rate"))
    return _known(
        Calibration,
        rate=rate,
        smallest_p=None if seeds is None else 1 / (seeds + 1),
        rate_pool_normals=conformal.rate_pool_normals,
        rate_test_normals=conformal.rate_test_normals,
        rate_interval=conformal.rate_interval or [],
        recall=conformal.recall,
        aligned=conformal.aligned,
    )


def _shifts(metrics: RunMetrics) -> Shifts:
    tested = [x for row in metrics.rounds if (x := row.ks_seed_vs_pool_normals) is not None]
    aligned = metrics.incremental.conformal.aligned
    return _known(
        Shifts,
        pool_normals_p=tested[-1] if tested else None,
        test_images=aligned.shift,
        doubt=aligned.doubt,
        other_sites=words.OTHER_SITES,
    )


def _score(config: Mapping[str, Any], metrics: RunMetrics) -> Score:
    totals = metrics.totals
    return _known(
        Score,
        method=_text(config.get("method")),
        score_used=metrics.incremental.score_used,
        arms=metrics.arms,
        rounds=len([row for row in metrics.rounds if row.round]) if metrics.rounds else None,
        admitted=totals.admitted,
        admitted_anomalies=totals.admitted_anomalies,
        labels_used=totals.labels_used,
    )


def _evaluation(config: Mapping[str, Any], metrics: RunMetrics) -> Evaluation:
    own, decided = metrics.incremental, metrics.incremental.conformal
    normals, anomalies = _sum(decided.tn, decided.fp), _sum(decided.fn, decided.tp)
    if normals is None and anomalies is None:
        return Evaluation()
    return _known(
        Evaluation,
        labels=words.LABELS.get(str(_section(config, "dataset").get("kind"))),
        normals=normals,
        anomalies=anomalies,
        roc_auc=own.roc_auc,
        pr_auc=own.pr_auc,
        seed_only_roc_auc=metrics.baselines.get("seed_only", DetectorMetrics()).roc_auc,
        delta_vs_seed_only=metrics.delta_vs_seed_only,
        roc_auc_by_kind=metrics.roc_auc_by_kind,
    )


def _backbone(config: Mapping[str, Any], manifest: Mapping[str, Any]) -> Backbone:
    backbone, recorded = _section(config, "backbone"), _section(manifest, "backbone")
    weights, strides = _text(backbone.get("weights")), backbone.get("strides")
    return _known(
        Backbone,
        name=_text(backbone.get("name")),
        weights=weights if weights in (None, "bundled", "hub") else "a file",
        strides=[n for n in strides if _count(n) is not None] if isinstance(strides, list) else [],
        grid=_count(backbone.get("grid")),
        licence=_text(recorded.get("licence")),
        licence_from=_text(recorded.get("licence_from")),
    )


def _digests(manifest: Mapping[str, Any]) -> Digests:
    detector = _section(manifest, "detector")
    return _known(
        Digests,
        detector=_text(detector.get("digest")),
        weights=_text(_section(manifest, "backbone").get("weights_digest")),
        files=_texts(detector.get("sha256")),
        features=_text(manifest.get("fingerprint")),
    )


def _section(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key)
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(table: object) -> dict[str, str]:
    if not isinstance(table, Mapping):
        return {}
    return {str(key): value for key, value in table.items() if isinstance(value, str) and value}


def _names(value: object) -> list[str]:
    found = value if isinstance(value, list) else [value]
    return [name for name in found if isinstance(name, str) and name]


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b
