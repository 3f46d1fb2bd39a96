"""Figures published for the same data (arXiv 2511.03912): a single run each, thresholds picked on test labels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from swag_ray.errors import InputError


@dataclass(frozen=True)
class Published:
    """One published row. `test_normals` is the size of its test split's normal class, for the false-positive rate."""

    name: str
    roc_auc: float
    pr_auc: float
    accuracy: float
    precision: float
    recall: float
    f1: float
    fp: int
    test_normals: int


@dataclass(frozen=True)
class OtherMethod:
    name: str
    roc_auc: float


@dataclass(frozen=True)
class TestSet:
    """The images of a test split: which the published figures are of, or which a run was tested on.

    Attributes:
        normals, anomalies: images of each class.
        names: digest of the classes and file names without their suffixes, whatever the folders are called and however
            the images were resized or stored; None where it is not known.
    """

    __test__ = False  # pytest: not a test class

    normals: int
    anomalies: int
    names: str | None

    @classmethod
    def of(cls, paths: Sequence[str | None], labels: Sequence[int]) -> TestSet:
        """Returns the test set of these files (None: not known) and labels (1 anomaly, 0 normal, else unknown)."""
        lines = sorted(f"{label} {PurePosixPath(path or '').stem}" for path, label in zip(paths, labels, strict=True))
        names = hashlib.sha256("\n".join(lines).encode()).hexdigest() if all(paths) else None
        return cls(list(labels).count(0), list(labels).count(1), names)


NOTE = "Published figures: a single run each, thresholds picked on test labels."

FIGURES: dict[str, tuple[Published, ...]] = {
    "pneumonia": (
        Published("Published baseline", 0.6834, 0.7656, 0.6538, 0.7620, 0.6487, 0.7008, 79, 234),
        Published("Published, 5 rounds (first report)", 0.8820, 0.9267, 0.7628, 0.9060, 0.6923, 0.7849, 28, 234),
        Published("Published, 5 rounds (later report)", 0.8960, 0.9366, 0.8045, 0.8829, 0.7923, 0.8351, 41, 234),
    ),
    # The published test split holds 317 normals; the false-positive rates are consistent with its accuracies.
    "covid": (
        Published("Published baseline", 0.9489, 0.8976, 0.8868, 0.7481, 0.8707, 0.8048, 34, 317),
        Published("Published, 5 rounds", 0.9982, 0.9951, 0.9861, 0.9583, 0.9914, 0.9746, 5, 317),
    ),
}

# The covid split's file names are not published: its counts are all there is to know it by.
TEST_SETS = {
    "pneumonia": TestSet(234, 390, "984836f29defdcc948d8602762b4c0416296b5b22d1792a69e69ea3e8d635a52"),
    "covid": TestSet(317, 116, None),
}

OTHERS: dict[str, tuple[OtherMethod, ...]] = {
    "pneumonia": (
        OtherMethod("PANDA", 0.657),
        OtherMethod("CutPaste", 0.739),
        OtherMethod("MemAE", 0.778),
        OtherMethod("SALAD", 0.827),
        OtherMethod("SQUID", 0.876),
        OtherMethod("PPAD (vision-language model trained on films and reports)", 0.967),
    ),
}


def check_published(name: object) -> str | None:
    """Returns `report.published`, the name of a published test set or None.

    Raises:
        InputError: it names no known set.
    """
    if name is None or (isinstance(name, str) and name in FIGURES):
        return name
    raise InputError(f"report.published: {name!r} is not one of {', '.join(FIGURES)} or null", "correct config.yaml")


def note(name: str) -> str:
    """Returns what must be said beside the published figures of a set."""
    if TEST_SETS[name].names is not None:
        return NOTE
    return f"{NOTE} That this is their test set is known by its counts alone."


def difference(name: str, tested: TestSet) -> str:
    """Returns why the published figures cannot stand beside a run: its test images are others. "" where they are those.

    Args:
        name: of the published set.
        tested: what the run was tested on.
    """
    published = TEST_SETS[name]
    if (tested.normals, tested.anomalies) != (published.normals, published.anomalies):
        return (
            f"it holds {published.normals} normals and {published.anomalies} anomalies, this run's "
            f"{tested.normals} and {tested.anomalies}"
        )
    if published.names is None or tested.names == published.names:
        return ""
    return "the file names are others" if tested.names else "the file names, by which it is known, are not recorded"
