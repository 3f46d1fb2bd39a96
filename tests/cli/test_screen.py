"""What `run` shows: a line per row of the loop, what the score is made of, each warning once."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from swag_ray.cli.bars import TerminalProgress
from swag_ray.cli.screen import RunScreen
from swag_ray.record.changes import ChangedImage, Changes
from swag_ray.record.run_metrics import RoundMetrics
from swag_ray.run.finished import Run

ROW = {"admitted": 25, "candidates": 30, "roc_auc": 0.91}


def screen() -> tuple[RunScreen, io.StringIO]:
    """A screen that prints to a text, and the text."""
    out = io.StringIO()
    found = RunScreen(quiet=False)
    found.console = Console(file=out, soft_wrap=True, width=200)
    found.progress = TerminalProgress(found.console)
    return found, out


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"round": 0, "rejects": 350, "rejects_purity": 0.937, "head_on": False, "head_weight": 0.0},
         "  row 0   · rejects 350, purity 0.937 · test ROC-AUC 0.9100\n"),
        ({"round": 2, "rejects": 12, "head_on": True, "head_weight": 0.856, "admitted_anomalies": 9},
         "  round 2 · admitted 25 (9 anomalies) of 30 candidates · rejects 12 · head 0.86 · test ROC-AUC 0.9100\n"),
        ({"round": 1, "rejects": 0, "head_on": False, "head_weight": 0.0},
         "  round 1 · admitted 25 of 30 candidates · rejects 0 · head off · test ROC-AUC 0.9100\n"),
        ({"round": 3}, "  round 3 · admitted 25 of 30 candidates · test ROC-AUC 0.9100\n"),
    ],
    ids=["row 0 has no head to speak of", "a head", "no head", "method published"],
)  # fmt: skip
def test_a_row_tells_its_rejects_and_the_weight_of_its_head(row: dict[str, Any], said: str) -> None:
    found, out = screen()
    found.round(RoundMetrics.read(ROW | row))
    assert out.getvalue() == said


@pytest.mark.parametrize(
    ("used", "arms", "said"),
    [
        ("fused", {"bank": 0.103, "auxiliary": 0.0, "head": 0.856, "fused": None},
         "score used: fused (bank 0.10, head 0.86) ·"),
        ("seed_bank", {"bank": 1.0, "auxiliary": 0.0, "fused": None}, "score used: seed_bank ·"),
        ("bank", {"bank": None}, "score used: bank ·"),
    ],
)  # fmt: skip
def test_the_summary_tells_what_the_score_is_made_of(used: str, arms: dict[str, float | None], said: str) -> None:
    conformal = {"recall": 0.6, "fp": 1, "rate_test_normals": 0.02, "rate_nominal": 0.05}
    metrics = {
        "incremental": {"roc_auc": 0.9, "pr_auc": 0.9, "conformal": conformal, "score_used": used},
        "arms": {name: {"roc_auc": 0.9, "weight": weight} for name, weight in arms.items()},
        "delta_vs_seed_only": {"roc_auc": 0.1, "low": 0.0, "high": 0.2}, "totals": {"ever_admitted": 3},
        "timing": {"total": 4.0},
    }  # fmt: skip
    found, out = screen()
    found.summary(Run(Path("runs/x"), metrics, "runs/x"))
    assert said in out.getvalue()


def test_without_labels_nothing_is_told_that_needs_one() -> None:
    found, out = screen()
    found.round(RoundMetrics.read({"round": 1, "rejects": 2, "head_on": False, "admitted": 3, "candidates": 9}))
    assert out.getvalue() == "  round 1 · admitted 3 of 9 candidates · rejects 2 · head off\n"
    metrics: dict[str, Any] = {
        "incremental": {"conformal": {"rate_nominal": 0.05}, "score_used": "bank"}, "baselines": {"seed_only": {}},
        "totals": {"ever_admitted": 3}, "timing": {"total": 4.0}, "dataset": {"split": {"seed": 50, "pool": 1200}},
        "contamination": {"estimate": 0.25, "low": 0.2},
    }  # fmt: skip
    found.summary(Run(Path("runs/x"), metrics, "runs/x[1]"))
    said = out.getvalue()
    assert "score used: bank · 3 images admitted\n" in said
    assert said.splitlines()[-4:] == [
        "",
        "About 300 of the 1,200 pool images look abnormal (25.0 %), in all likelihood no fewer than 240.",
        "ranked, the most suspicious first: runs/x[1]/pool.csv",
        "the report, with heatmaps of them:  runs/x[1]/report.html",
    ]
    assert "ROC-AUC" not in said and "None" not in said and "seed_only" not in said
    assert "run before" not in said
    moved = (ChangedImage("film[1].png", 9, 2),)
    found.summary(Run(Path("runs/x"), metrics, "runs/x", Changes(1197, 3, 0, 1, 2, 0, moved, moved)))
    assert (
        "Since the run before in this folder, 3 pool images are new (1 of them stands out).\n"
        "Of the 1,197 in both, 2 stand out that did not, the largest move is from rank 9 to 2 (film[1].png).\n"
    ) in out.getvalue()
    metrics["incremental"]["conformal"] |= {"threshold": 0.05, "fp": 1, "tn": 9, "rate_test_normals": 0.1}
    found.summary(Run(Path("runs/x"), metrics, "runs/x"))
    assert "incremental │       - │      - │      - │               1 │  0.100 (0.05)" in out.getvalue()


def test_a_warning_is_printed_once() -> None:
    """The summary goes through all warnings again, those that came while the run went on among them."""
    out = io.StringIO()
    progress = TerminalProgress(Console(file=out, soft_wrap=True))
    for text in ("the seeds are few", "no head", "the seeds are few"):
        progress.warning(text)
    assert out.getvalue().splitlines() == ["warning: the seeds are few", "warning: no head"]
