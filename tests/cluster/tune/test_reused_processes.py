"""A trial's process that goes between two trials: Ray Tune takes its end for two of the next one's."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from swag_ray.config import Config, resolved
from swag_ray.config.sweep import SweepConfig
from swag_ray.sweep import sweep as sweeps
from swag_ray.sweep.sweep import run_sweep, run_trial

pytestmark = [pytest.mark.ray, pytest.mark.cluster]


def dies_before_the_next(*arguments: Any, deaths: Path, times: int, **options: Any) -> Any:
    """A trial whose process ends when it is given another, so many times."""
    from ray.train._internal.session import get_session

    def die(timeout: float | None = None) -> None:
        with deaths.open("a") as file:
            file.write("died\n")
        os._exit(1)

    if len(deaths.read_text().split()) < times:
        get_session().finish = die  # what Tune calls first to give the process another trial
    return run_trial(*arguments, **options)


@pytest.mark.parametrize("times", [1, 3])
def test_a_process_that_dies_between_two_trials_costs_none(
    tiny: Callable[..., Config],
    session_store: Path,
    local_ray: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    times: int,
) -> None:
    base = tiny("controls=[]", "rounds=1", store=session_store)
    search = {"gate.budget": [3, 4, 5, 6, 7]}
    sweep = SweepConfig.model_validate({"name": "study", "base": resolved(base), "search": search, "concurrent": 1})
    deaths = tmp_path / "deaths"
    deaths.touch()
    monkeypatch.setattr(sweeps, "run_trial", partial(dies_before_the_next, deaths=deaths, times=times))
    told: list[dict[str, Any]] = []
    done = run_sweep(sweep, tmp_path / "sweep", on_report=told.append)
    assert len(deaths.read_text().split()) == times
    assert done.count("done") == 5, done.table.column("error").to_pylist()
    assert sorted(report["trial"] for report in told if report["status"] != "running") == [0, 1, 2, 3, 4]
