"""A sweep on several nodes: workers, actors and nodes are killed and come back, and no figure knows of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from swag_ray.config import Config, resolved
from swag_ray.config.sweep import SweepConfig
from swag_ray.sweep.sweep import run_sweep
from tests.support.command_line import borrowed, figures
from tests.support.processes import descendants
from tests.support.ray_nodes import Nodes

pytestmark = [pytest.mark.ray, pytest.mark.cluster]
TRIALS = 4


def sweep_of(config: Config, **changed: Any) -> SweepConfig:
    search = {"rounds": [3], "gate.budget": [6, 12]}
    return SweepConfig.model_validate(
        {"name": "study", "base": resolved(config), "search": search, "random_seeds": [0, 1]} | changed
    )


def metrics(directory: Path) -> list[dict[str, Any]]:
    files = sorted((directory / "trials").glob("*/metrics.json"))
    return [figures(json.loads(file.read_text())) for file in files]


@pytest.fixture(scope="module")
def features(local_ray: None, session_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from swag_ray.run.run import run_experiment
    from tests.conftest import tiny_config

    run_experiment(tiny_config(session_store, "rounds=1", "controls=[]"), tmp_path_factory.mktemp("first") / "run")
    return session_store


def config(store: Path, *overrides: str) -> Config:
    from tests.conftest import tiny_config

    return tiny_config(store, "controls=[seed_only]", *overrides)


@pytest.fixture(scope="module")
def undisturbed(features: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    return metrics(run_sweep(sweep_of(config(borrowed(features, folder / "store"))), folder / "out").directory)


class Call:
    """`swag-ray sweep` as a process on a cluster."""

    def __init__(self, sweep: SweepConfig, folder: Path, address: str, *options: str) -> None:
        self.out, path = folder / "out", folder / "study.yaml"
        path.write_text(yaml.safe_dump(sweep.model_dump(mode="json")))
        command = [
            sys.executable,
            "-m",
            "swag_ray.cli",
            "sweep",
            str(path),
            "--out",
            str(self.out),
            "--address",
            address,
        ]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)

    def trials(self) -> list[dict[str, Any]]:
        return [json.loads(file.read_text()) for file in sorted((self.out / "trials").glob("*/trial.json"))]

    def end(self) -> int:
        return self.process.wait(timeout=240)


@pytest.fixture
def call(features: Path, tmp_path: Path) -> Iterator[Callable[..., Call]]:
    calls: list[Call] = []

    def start(address: str, *options: str, overrides: tuple[str, ...] = (), **changed: Any) -> Call:
        sweep = sweep_of(config(borrowed(features, tmp_path / "store"), *overrides), **changed)
        calls.append(Call(sweep, tmp_path, address, *options))
        return calls[-1]

    yield start
    for one in calls:
        if one.process.poll() is None:
            one.process.kill()


def wait_for(condition: Callable[[], Any], seconds: float = 150) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come so far"
        time.sleep(0.1)
    return found


def test_killed_actors_and_trials_change_no_result(
    call: Callable[..., Call], undisturbed: list[dict[str, Any]]
) -> None:
    with Nodes(1, 1) as nodes:
        sweep = call(nodes.address)
        for title in ("ray::SampleActor.run", "ray::MemoryBank", "ray::ImplicitFunc", "ray::Leases"):

            def victims(title: str = title) -> list[int]:
                return [pid for pid, name in descendants(nodes.process.pid).items() if name.startswith(title)]

            pid = wait_for(victims)[0]
            os.kill(pid, signal.SIGKILL)
        assert sweep.end() == 0
    assert [trial["status"] for trial in sweep.trials()] == ["done"] * TRIALS
    assert metrics(sweep.out) == undisturbed


def test_a_sweep_waits_for_room_and_survives_the_loss_of_a_node(
    call: Callable[..., Call], undisturbed: list[dict[str, Any]]
) -> None:
    """Two actors a trial, and no node that holds them, until one comes; then it goes, and another comes."""
    with Nodes(1) as nodes:
        sweep = call(nodes.address, "--wait", "3", overrides=("cluster.actors=2",))
        time.sleep(8)
        assert sweep.process.poll() is None and not sweep.trials(), "it waits"
        nodes.tell("add 2")
        wait_for(sweep.trials)
        nodes.tell("remove 0")
        nodes.tell("add 2")
        assert sweep.end() == 0
    assert [trial["status"] for trial in sweep.trials()] == ["done"] * TRIALS
    assert metrics(sweep.out) == undisturbed
