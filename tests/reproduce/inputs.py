"""A plan of seconds: two blocks on generated digits, one of a folder that is not there, one that is never run."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import TINY

DIGITS, WITHOUT, AWAY, NEVER = "contrast/digits", "ablation/rejects", "contrast/away", "paper/never"


def plan(**changed: Any) -> dict[str, Any]:
    base = copy.deepcopy(TINY) | {"rounds": 1}
    shared = {"base": base, "random_seeds": [0, 1], "seconds": 4}
    pools = {"dataset.contamination": [0.1, None]}
    return {
        "groups": {
            "contrast": {"title": "contrast", "text": "On digits."},
            "ablation": {"title": "Parts", "text": "One removed."},
            "paper": {"title": "Paper", "text": "As it is."},
        },
        "looked_at": "Never; these digits were drawn for the test.",
        "earlier": {"name": "the version before", "source": "nowhere", "roc_auc": {0.1: 0.6, 0.5: 0.7}},
        "figure": {DIGITS: "contrast"},
        "blocks": [
            shared | {
                "name": DIGITS, "title": "digits", "search": pools, "fixed": {"controls": ["seed_only", "full_train"]},
            },
            shared | {
                "name": AWAY, "title": "away", "data": "away",
                "base": {"name": "away", "dataset": {"normal": "NORMAL", "anomaly": "X", "root": "data/away"}},
            },
            shared | {
                "name": WITHOUT, "title": "no rejects", "against": DIGITS, "search": {"dataset.contamination": [None]},
                "fixed": {"controls": ["seed_only"], "outliers.probability": 1.0},
            },
            shared | {"name": NEVER, "title": "never", "not_run": "its weights cannot be had"},
        ],
    } | changed  # fmt: skip


def write_plan(folder: Path, **changed: Any) -> Path:
    """The plan as a file; returns its path."""
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(plan(**changed), sort_keys=False), encoding="utf-8")
    return path
