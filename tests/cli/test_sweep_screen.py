"""What `swag-ray sweep` shows while it runs."""

from __future__ import annotations

import io
import json
from typing import Any

from rich.console import Console

from swag_ray.cli.sweep_screen import LATEST, SweepScreen
from swag_ray.config.sweep import SweepConfig

SEARCH = {"rounds": [1, 3], "gate.tau_distance": [-0.5, 0.0]}


def screen(terminal: bool, width: int = 140) -> tuple[SweepScreen, io.StringIO]:
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=width, color_system=None)
    sweep = SweepConfig.model_validate(
        {"name": "study", "base": {"dataset": {"kind": "digit_anatomy"}}, "search": SEARCH}
    )
    return SweepScreen(console, sweep), written


def report(trial: int, status: str, **figures: Any) -> dict[str, Any]:
    point = json.dumps({"rounds": 3, "gate.tau_distance": -0.5})
    return {"trial": trial, "status": status, "dataset": None, "random_seed": 7, "point": point, **figures}


def table(of: SweepScreen) -> list[list[str]]:
    """The cells of the live table's rows."""
    with of.console.capture() as caught:
        of.console.print(of._view())
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in caught.get().splitlines() if "│" in line]


def test_the_table_says_of_every_trial_what_it_is_and_how_far() -> None:
    live, _ = screen(terminal=True)
    live.report(
        report(0, "running", **{"last_round.round": 2, "last_round.pool_roc_auc": 0.91, "last_round.roc_auc": 0.9})
    )
    live.report(report(1, "done", seconds=12.4, **{"incremental.roc_auc": 0.95, "last_round.round": 3}))
    done, running = table(live)
    assert running[:7] == ["0000", "-", "7", "3", "-0.5", "running", "2"] and running[7:9] == ["0.9100", "0.9000"]
    assert done == ["0001", "-", "7", "3", "-0.5", "done", "3", "", "0.9500", "12"]


def test_a_trial_whose_process_died_shows_what_it_was_given() -> None:
    live, written = screen(terminal=False)
    lost = {"trial": 4, "status": "failed", "dataset": "covid", "random_seed": 1, "rounds": 1, "gate.tau_distance": 0.0}
    live.report(lost | {"error": "its process died [6 tries]"})
    assert "trial 0004 · covid · seed 1 · rounds 1, gate.tau_distance 0.0 · failed: its process died [6 tries]" in (
        written.getvalue()
    )
    assert table(live)[0][3:6] == ["1", "0.0", "failed"]


def test_a_long_sweep_keeps_the_table_short() -> None:
    live, _ = screen(terminal=True)
    for trial in range(3 * LATEST):
        live.report(report(trial, "done", seconds=1))
    live.report(report(99, "running"))
    rows = table(live)
    assert len(rows) == LATEST + 1 and rows[-1][0] == "0099" and rows[0][0] == f"{2 * LATEST:04d}"
