"""The terminal's side of `run --repeat`: the sweep's screen, then the figures over all splits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from swag_ray.cli.exit import interruptible
from swag_ray.cli.screen import run_screen
from swag_ray.cli.sweep_screen import SweepScreen
from swag_ray.config import Config

if TYPE_CHECKING:
    from swag_ray.sweep.repeat import Repeats


def run_repeated(
    config: Config, splits: int, out: str | None, *, address: str | None, quiet: bool, as_json: bool
) -> bool:
    """Runs a config on so many splits and shows what came out.

    Returns:
        Whether all splits are through.
    """
    with run_screen(quiet=quiet or as_json) as screen, interruptible(screen.progress):
        from swag_ray.sweep.repeat import compare_splits, repeated
        from swag_ray.sweep.sweep import run_sweep

        sweep = repeated(config, splits)
        with SweepScreen(screen.console, sweep) as live:
            done = run_sweep(sweep, out, address=address, progress=live.progress, on_report=live.report)
        found = compare_splits(sweep, done, address=address)
        if found is not None:
            show_repeats(screen.console, found)
        live.summary(done)
    if as_json:
        print(json.dumps({"directory": str(done.directory)} | (found.plain() if found is not None else {})))
    return done.count("done") == splits


def show_repeats(console: Console, found: Repeats) -> None:
    """Prints mean and spread of the ROC-AUC over the splits, and what came out in a sentence."""
    table = Table(header_style="bold")
    for column in ("test ROC-AUC", "mean", "sd", "lowest", "highest"):
        table.add_column(column, justify="right" if column != "test ROC-AUC" else "left")
    rows = {
        "seed_only": found.seed_only,
        "incremental": found.incremental,
        "difference": found.incremental - found.seed_only,
    }
    for name, values in rows.items():
        sign = "+" if name == "difference" else ""
        figures = [f"{value:{sign}.4f}" for value in (values.mean(), values.min(), values.max())]
        table.add_row(name, figures[0], f"{np.std(values, ddof=1):.4f}", *figures[1:])
    console.print(table)
    console.print(found.sentence, highlight=False)
