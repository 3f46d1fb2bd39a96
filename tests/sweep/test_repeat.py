"""`run --repeat N`: several splits through a sweep's machinery, and what is said of them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from swag_ray.cli.repeat_screen import show_repeats
from swag_ray.config import Config, to_yaml
from swag_ray.sweep.repeat import Repeats, repeated
from tests.support.command_line import Command


def found(low: float, high: float) -> Repeats:
    seed_only, own = np.array([0.85, 0.87, 0.89]), np.array([0.95, 0.96, 0.97])
    return Repeats((4, 5, 6), seed_only, own, (low + high) / 2, low, high)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.05, 0.12, "over 3 splits the incremental detector beats its seed-only bank by 0.0850 ROC-AUC (95 % interval "
         "+0.0500 to +0.1200, splits and test images resampled)"),
        (-0.12, -0.05, "falls behind its seed-only bank by 0.0850 ROC-AUC"),
        (0.0, 0.12, "shows no difference to its seed-only bank that these splits and this test set could tell"),
    ],
)  # fmt: skip
def test_beats_is_said_only_where_the_interval_excludes_zero(low: float, high: float, said: str) -> None:
    assert said in found(low, high).sentence


def test_mean_and_spread_are_shown() -> None:
    written = io.StringIO()
    show_repeats(Console(file=written, width=100), found(0.05, 0.12))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in written.getvalue().splitlines()]
    assert ["seed_only", "0.8700", "0.0200", "0.8500", "0.8900"] in rows
    assert ["difference", "+0.0900", "0.0100", "+0.0800", "+0.1000"] in rows


def test_a_repetition_is_a_sweep_that_searches_nothing(tiny: Callable[..., Config]) -> None:
    config = tiny("random_seed=7")
    sweep = repeated(config, 3)
    assert sweep.random_seeds == (7, 8, 9) and not sweep.search and not sweep.datasets
    first, *_ = sweep.trials()
    assert first.config == config.model_copy(update={"name": first.config.name}), "its first trial is the run itself"


@pytest.mark.ray
@pytest.mark.cluster
def test_two_splits(command: Command, local_ray: None, tiny: Callable[..., Config], tmp_path: Path) -> None:
    """The same command again computes nothing and says the same."""
    (tmp_path / "config.yaml").write_text(to_yaml(tiny(rounds=1, controls=["seed_only"])))
    call = ["run", tmp_path / "config.yaml", "--repeat", "2", "--out", tmp_path / "out"]
    done = command(*call, "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    for number in (0, 1):
        metrics = json.loads((tmp_path / "out" / "trials" / f"000{number}" / "metrics.json").read_text())
        assert said["roc_auc"]["incremental"][number] == pytest.approx(metrics["incremental"]["roc_auc"])
        assert said["roc_auc"]["seed_only"][number] == pytest.approx(metrics["baselines"]["seed_only"]["roc_auc"])
    delta = said["delta_vs_seed_only"]
    assert delta["low"] <= delta["roc_auc"] <= delta["high"]
    assert (tmp_path / "out" / "sweep.html").is_file()
    again = command(*call)
    assert "over 2 splits the incremental detector" in again.out and "2 done of 2 trials" in again.out
    assert f"{delta['roc_auc']:+.4f}".lstrip("+-") in again.out
