"""Nodes that come and go, as spot machines do: those that join while features are extracted take their share of the
shards that are left; one that is lost for good ends the run with a line instead of a wait.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from swag_ray.cluster import attempts, extraction
from swag_ray.cluster.sample_actors import SamplePool
from swag_ray.cluster.session import ray_session
from swag_ray.features.recipe import Recipe
from swag_ray.features.spec import FeatureSpec
from swag_ray.features.weights import weights_digest
from swag_ray.store.store import Store
from tests.support.images import blocks, encoded
from tests.support.ray_nodes import emulated

pytestmark = [pytest.mark.ray, pytest.mark.cluster]
SHARDS = 90


class SlowExtractor(extraction.CountedExtractor):
    """Takes a second per shard."""

    def _extract(self, shards: list[extraction.Shard], seconds: list[float]) -> None:
        time.sleep(1)
        super()._extract(shards, seconds)


@pytest.mark.timeout(600)
def test_a_node_that_comes_later_extracts_too(tmp_path: Path) -> None:
    """In a process of its own: this one may be connected elsewhere."""
    code = f"from tests.cluster.test_later_nodes import one_node_later; one_node_later({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, timeout=580)
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(600)
def test_a_node_that_is_lost_for_good_is_told(tmp_path: Path) -> None:
    code = f"from tests.cluster.test_later_nodes import one_node_less; one_node_less({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, timeout=580)
    assert done.returncode == 1 and "InputError: cluster: a node was lost, and 1 actor found no room" in done.stderr, (
        done.stderr
    )


def slow(reader: Any, task: int) -> int:
    """A task of a tenth of a second."""
    time.sleep(0.1)
    return task


def one_node_less(folder: str) -> None:
    attempts.LOST_SECONDS = 6.0
    with emulated(1) as cluster:
        other = cluster.add_node(num_cpus=1, object_store_memory=200 * 2**20)
        cluster.wait_for_nodes()
        with ray_session(address=cluster.address) as session, SamplePool(session, folder, "f", []) as pool:
            assert session.actors == 2
            pool.map(slow, range(20))
            cluster.remove_node(other, allow_graceful=False)
            pool.map(slow, range(40))


def one_node_later(folder: str) -> None:
    missing = []
    for i in range(SHARDS):
        data = encoded(blocks(i, 48))
        path = Path(folder) / f"{i}.png"
        path.write_bytes(data)
        missing.append(Recipe(str(path), hashlib.sha256(data).hexdigest()))
    name = "tf_efficientnet_lite0"
    spec = FeatureSpec(name, "bundled", weights_digest(name, "bundled"), 64, (8,), 8)
    extraction.CountedExtractor = SlowExtractor  # type: ignore[misc]
    actors: dict[int, int] = {}
    with emulated(1) as cluster, ray_session(address=cluster.address) as session:
        assert session.elastic and session.extractors == 1
        shards: Any = extraction.extract_shards(Store(f"{folder}/store"), spec, missing, 1, session)
        for number, (actor, count, _) in enumerate(shards):
            if number == 0:
                cluster.add_node(num_cpus=1, object_store_memory=200 * 2**20)
            actors[actor] = actors.get(actor, 0) + count
    assert sum(actors.values()) == SHARDS and len(actors) == 2, actors
