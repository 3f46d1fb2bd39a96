"""A cluster that begins without a worker: a sweep asks Ray's autoscaler for one, and it goes again when idle. The nodes
are those of Ray's own provider for tests, on this machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from swag_ray.config import resolved, to_yaml
from swag_ray.config.sweep import SweepConfig
from swag_ray.sweep.sweep import run_sweep
from tests.conftest import tiny_config
from tests.support.command_line import borrowed, figures
from tests.support.ray_head import RAY, Head, head

pytestmark = [pytest.mark.ray, pytest.mark.cluster]

HEAD, WORKER = "ray.head.default", "worker"  # the provider knows the head by this name


def sweep_of(store: Path) -> SweepConfig:
    """Two trials of two actors each, more than the head has room for."""
    base = tiny_config(store, "rounds=1", "controls=[]", "cluster.actors=2")
    return SweepConfig.model_validate(
        {"name": "study", "base": resolved(base), "search": {"gate.budget": [6, 12]}, "random_seeds": [0]}
    )


def metrics(directory: Path) -> list[dict[str, Any]]:
    return [figures(json.loads(file.read_text())) for file in sorted((directory / "trials").glob("*/metrics.json"))]


@pytest.fixture(scope="module")
def alone(local_ray: None, session_store: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return metrics(run_sweep(sweep_of(session_store), tmp_path_factory.mktemp("alone") / "out").directory)


@pytest.fixture
def scaling(alone: None, tmp_path: Path) -> Iterator[Head]:
    """A head without a core; workers of two cores, gone after six idle seconds."""
    types = {
        HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        WORKER: {
            "resources": {"CPU": 2, "object_store_memory": 200 * 2**20}, "node_config": {},
            "min_workers": 0, "max_workers": 1,
        },
    }  # fmt: skip
    provider = {
        "type": "fake_multinode", "use_node_id_as_ip": True, "disable_node_updaters": True,
        "disable_launch_config_check": True,
    }  # fmt: skip
    lists = ["initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands"]
    lists += ["head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude"]
    config = {
        "cluster_name": "fake", "max_workers": 1, "idle_timeout_minutes": 0.1, "upscaling_speed": 1.0,
        "provider": provider, "auth": {}, "docker": {}, "file_mounts": {}, "file_mounts_sync_continuously": False,
        "rsync_filter": [], "head_node_type": HEAD, "available_node_types": types, **{name: [] for name in lists},
    }  # fmt: skip
    file = tmp_path / "scaling.yaml"

    def write(address: str) -> str:
        file.write_text(yaml.safe_dump(config | {"provider": provider | {"gcs_address": address}}))
        return f"--autoscaling-config={file}"

    here = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    with head("--num-cpus=0", "--include-dashboard=false", write, environment=here) as running:
        yield running


def test_a_sweep_gets_its_node_from_the_autoscaler(
    scaling: Head, session_store: Path, tmp_path: Path, alone: list[dict[str, Any]]
) -> None:
    (tmp_path / "store").mkdir()
    sweep = sweep_of(borrowed(session_store, tmp_path / "store"))
    run, study = tmp_path / "run.yaml", tmp_path / "study.yaml"
    run.write_text(to_yaml(sweep.trials()[0].config))
    study.write_text(yaml.safe_dump(sweep.model_dump(mode="json")))

    refused = scaling.call("swag-ray", "run", run, "--quiet", "--address", scaling.address, "--out", tmp_path / "run")
    assert refused.returncode == 2, "a run asks for nothing, and says so"
    assert refused.stderr.startswith("swag-ray: cluster: no node of this Ray cluster has a CPU yet; start a worker")
    assert workers(scaling) == 0

    command = ("swag-ray", "sweep", study, "--address", scaling.address, "--out", tmp_path / "out")
    refused = scaling.call(*command, "--quiet")
    assert refused.returncode == 2 and "needs one node with 2 CPUs, and of 1 node none has more than" in refused.stderr
    assert "--wait MINUTES asks for one" in refused.stderr and workers(scaling) == 0

    ended = scaling.call(*command, "--wait", "2", seconds=200)
    assert ended.returncode == 0, ended.stderr
    assert "waiting for a node that holds a trial" in ended.stdout
    assert metrics(tmp_path / "out") == alone
    deadline = time.monotonic() + 60
    while workers(scaling):
        assert time.monotonic() < deadline, "somebody still asks for it"
        time.sleep(1)


def workers(scaling: Head) -> int:
    """Worker nodes that Ray has, or is about to have."""
    said = scaling.call(*RAY, "status", "--address", scaling.address)
    assert HEAD in said.stdout, said.stdout + said.stderr
    return said.stdout.partition("Recent failures")[0].count(f" {WORKER}")
