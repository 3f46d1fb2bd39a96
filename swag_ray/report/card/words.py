"""The sentences of a model card: what a detector is for, what not, and its limits, by the run's own figures."""

from __future__ import annotations

from swag_ray.record.run_metrics import RunMetrics
from swag_ray.report.page.markup import THIN, decimal, percent
from swag_ray.report.page.shortcuts import SHORTCUTS, telling_shortcuts

INTENDED_USE = (
    "Research: to rank grey images by how unlike the trusted ones they are, for somebody who looks at them.",
    "Images of the same kind, device and site as the trusted ones; elsewhere once the threshold was moved there "
    "(swag-ray calibrate) and somebody has looked at what it flags.",
)
OUT_OF_SCOPE = (
    "The care of a patient. This is research software, not a medical device: no diagnosis, no ruling out, no triage "
    "that nobody checks.",
    "Naming a disease: a score says how unlike the trusted images one is, not what it shows.",
    "Images of another organ, view or preparation than the trusted ones: they score high for what they are.",
)
OTHER_SITES = (
    "swag-ray calibrate moves the threshold to another place, from what comes in there or from known normals; "
    "swag-ray score says of 50 images or more whether they score like the trusted ones."
)
LABELS = {
    "folder": "class folders of the test set",
    "unlabelled": "class folders of the test set",
    "manifest": "column label of the manifest, rows of the test set",
    "digit_anatomy": "as the digits were drawn",
}  # by `dataset.kind`
_GROUPS = {
    None: "nothing: each image counts as a patient of its own",
    "folder": "a folder a patient",
    "column": "column group of the manifest",
    "patient_id": "PatientID of DICOM, by a salted digest",
}


def grouping(kind: object, group: object, *, hidden: bool) -> str:
    """Returns by what patients are told apart; a pattern is quoted unless it is to be hidden.

    Args:
        kind, group: `dataset.kind` and `split.group` of the config.
    """
    if kind == "digit_anatomy":
        return "the hand that wrote the digits"
    if group in _GROUPS:
        return _GROUPS[None if group is None else str(group)]
    return "a pattern on the file name" if hidden else f"a pattern on the file name, {group}"


def limits(metrics: RunMetrics) -> list[str]:
    """Returns what a reader must know before he trusts a score, with this run's figures where it has them."""
    found = [
        _threshold(metrics),
        "A wrong image among the trusted ones teaches the detector to pass over others like it. The run's report lists "
        "the trusted images that are least like the others; somebody has to look at them.",
        *_shortcuts(metrics),
        _evaluated(metrics),
        "The gates and the p-values need exchangeable normals: trusted images and pool from one source.",
    ]
    return [text.replace(THIN, " ") for text in found]


def _threshold(metrics: RunMetrics) -> str:
    conformal, text = metrics.incremental.conformal, "The threshold does not travel"
    rate, nominal = percent(conformal.rate_test_normals), percent(conformal.rate_nominal)
    if not metrics.can_flag:
        return f"{text}, and here it flags nothing: no p-value of so few trusted images is as low as {nominal}."
    if not rate or not nominal:
        return f"{text}: on images of another device or site it flags more or fewer normals than it promises."
    span = conformal.rate_interval
    chance = f" (chance alone gives {percent(span[0])} to {percent(span[1])})" if span else ""
    return f"{text}: it promises to flag {nominal} of normals, and flagged {rate} of this run's test normals{chance}."


def _shortcuts(metrics: RunMetrics) -> list[str]:
    if not metrics.shortcuts:
        return []
    telling = telling_shortcuts(metrics)
    if telling:
        named = ", ".join(f"{SHORTCUTS.get(key, key).lower()} {decimal(x)}" for key, x in telling.items())
        return [
            f"Scores that see nothing of the anatomy rank these test images about as well (ROC-AUC: {named}): normal "
            "and anomalous images differ in how they were made, and the figures may show just that."
        ]
    key, best = max(metrics.shortcuts.items(), key=lambda item: item[1])
    return [
        f"Scores that see nothing of the anatomy rank these test images too, the best of them with ROC-AUC "
        f"{decimal(best)} ({SHORTCUTS.get(key, key).lower()}); part of the detector's figure may be of that kind."
    ]


def _evaluated(metrics: RunMetrics) -> str:
    if metrics.incremental.roc_auc is None:
        return "Nothing is known of how well it ranks: that takes labelled test images of both classes."
    return (
        "Its figures are of one split and one test set, and their intervals resample these test images alone; another "
        "split moves them (swag-ray run --repeat), another hospital's images move them more."
    )
