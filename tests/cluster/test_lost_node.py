"""A node is lost in the middle of a shard of variants, and another comes: no feature and no figure knows of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from swag_ray.cluster import extraction
from swag_ray.config import Config
from swag_ray.features.recipe import Recipe
from tests.conftest import tiny_config
from tests.support.command_line import figures
from tests.support.ray_nodes import Nodes

pytestmark = [pytest.mark.ray, pytest.mark.cluster]
SETTINGS = ("rounds=1", "controls=[]", "auxiliary.per_seed=4")  # more shards of variants than one actor is given ahead
BEGUN, HALF_DONE = (
    "begun",
    "half-done",
)  # files beside the store: which shards of variants were begun, which one is held
PATIENCE = 150.0  # seconds


class HeldExtractor(extraction.CountedExtractor):
    """On the cluster's second node, half of a shard of variants is as far as it comes; the head begins none before."""

    def _extract(self, shards: list[extraction.Shard], seconds: list[float]) -> None:
        (shard,) = shards
        self.beside = Path(self.store.root).parent
        self.held = ""
        if all(recipe.kind for recipe in shard.recipes):
            if on_head():
                wait_for((self.beside / HALF_DONE).exists)
            elif not (self.beside / HALF_DONE).exists():
                self.held = shard.name
            with (self.beside / BEGUN).open("a") as file:
                file.write(f"{shard.name} {os.getpid()}\n")
        super()._extract(shards, seconds)

    def _rows(self, recipes: list[Recipe]) -> Generator[dict[str, Any]]:
        for number, row in enumerate(super()._rows(recipes)):
            if self.held and number == len(recipes) // 2:
                (self.beside / HALF_DONE).write_text(self.held)
                time.sleep(PATIENCE)
            yield row


def on_head() -> bool:
    import ray

    here = ray.get_runtime_context().get_node_id()
    return any(node["NodeID"] == here and "node:__internal_head__" in node["Resources"] for node in ray.nodes())


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come so far"
        time.sleep(0.05)


def config(folder: Path) -> Config:
    return tiny_config(folder / "store", *SETTINGS)


def features(folder: Path) -> dict[str, bytes]:
    """Shards by name, as bytes."""
    return {path.name: path.read_bytes() for path in folder.glob("store/features/*/*.parquet")}


def run_on(address: str, folder: str) -> None:
    from swag_ray.run.run import run_experiment

    extraction.CountedExtractor = HeldExtractor  # type: ignore[misc]
    run_experiment(config(Path(folder)), Path(folder) / "run", address=address)


@pytest.mark.timeout(600)
def test_a_node_lost_while_variants_are_extracted_changes_no_figure(local_ray: None, tmp_path: Path) -> None:
    """The other run is in a process of its own, because this one is connected elsewhere."""
    from swag_ray.run.run import run_experiment

    quiet, lost = tmp_path / "quiet", tmp_path / "lost"
    quiet.mkdir()
    lost.mkdir()
    with Nodes(1, 1) as nodes:
        call = f"run_on({nodes.address!r}, {str(lost)!r})"
        command = [sys.executable, "-c", f"from tests.cluster.test_lost_node import run_on; {call}"]
        log = tmp_path / "log"
        with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
            try:
                wait_for(lambda: (lost / HALF_DONE).exists() or process.poll() is not None)
                assert process.poll() is None, log.read_text()
                held = (lost / HALF_DONE).read_text()
                assert held not in features(lost)
                nodes.tell("remove 0")
                nodes.tell("add 1")
                assert process.wait(timeout=300) == 0, log.read_text()
            finally:
                process.kill()
    begun = [line.split() for line in (lost / BEGUN).read_text().splitlines()]
    tries = [pid for name, pid in begun if name == held]
    assert len(tries) == len(set(tries)) == 2, "on the lost node, and again by another process"

    undisturbed = run_experiment(config(quiet), quiet / "run")
    assert features(lost) == features(quiet) and len({name for name, _ in begun}) > 4
    assert (lost / "run/scores.parquet").read_bytes() == (quiet / "run/scores.parquet").read_bytes()
    metrics = json.loads((lost / "run/metrics.json").read_text())
    assert figures(metrics) == figures(undisturbed.metrics) and metrics["arms"]["auxiliary"]["weight"]
