"""`swag-ray doctor` as a user types it: what it shows and how it ends, without and with Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from swag_ray.config import Config, resolved, to_yaml
from swag_ray.doctor import examine
from tests.support.command_line import Command
from tests.support.ray_nodes import emulated

Folder = Callable[..., Config]
PROGRAM = [sys.executable, "-m", "swag_ray.cli", "doctor"]


def environment() -> dict[str, str]:
    token = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")  # of the local Ray of these tests
    return {k: v for k, v in os.environ.items() if not k.startswith("RAY_") or k in token}


def test_it_ends_well_and_starts_no_ray(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("ray.init", refuse)
    ended = command("doctor")
    assert (ended.code, ended.err) == (0, "")
    lines = [line.split() for line in ended.out.splitlines()]
    assert {words[0] for words in lines} <= {"ok", "note"}
    assert {"packages", "cores", "memory", "store", "weights", "torch", "faiss"} <= {words[1] for words in lines}
    as_json = json.loads(command("doctor", "--json").out)
    assert as_json["problems"] == 0 and {f["topic"] for f in as_json["findings"]} >= {"packages", "faiss"}


def test_a_config_that_does_not_fit_is_bad_input(command: Command, folder: Folder, tmp_path: Path) -> None:
    path = tmp_path / "[b]config.yaml"
    path.write_text(to_yaml(folder()))
    assert command("doctor", path, "--set", "cluster.cpus=2").code == 0
    asked = ["doctor", path, "--set", "cluster.cpus=2", "--set", "cluster.actors=8"]
    ended = command(*asked)
    assert ended.complaint == (
        "doctor: cluster.actors: 8 actors of 1 CPU each do not fit: a local Ray has 2 CPUs; set cluster.actors to 2 at "
        "most or raise cluster.cpus"
    )
    assert "problem  actors" in ended.out and "ok       dataset" in ended.out and "\x1b" not in ended.out
    as_json = command(*asked, "--set", "dataset.root=/no/where", "--json")
    assert "(and 1 more)" in as_json.complaint
    found = json.loads(as_json.out)
    assert found["problems"] == 2
    assert [f["topic"] for f in found["findings"] if f["state"] == "problem"] == ["dataset", "actors"]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--set", "rounds=2"], "doctor: --set changes a CONFIG; give one"),
        (["no.yaml"], "no.yaml: cannot read the config"),
        (["--address", "127.0.0.1:1"], "doctor: --address: no Ray cluster could be joined at '127.0.0.1:1'"),
        (["--address", "a..b:1"], "doctor: --address: no Ray cluster could be joined at 'a..b:1' (that is no name"),
        (["--address", "nonsense"], "doctor: --address: 'nonsense' is no address of a Ray cluster"),
    ],
)
def test_bad_input_is_one_line(command: Command, arguments: list[str], wanted: str) -> None:
    assert command("doctor", *arguments).complaint.startswith(wanted)


def test_a_broken_installation_is_a_failure(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swag_ray.doctor.software.PACKAGES", ("numpy", "a-package-that-is-not-there"))
    ended = command("doctor")
    assert ended.code == 1
    assert ended.err == (
        "swag-ray: doctor: not installed: a-package-that-is-not-there; install the project again, or "
        "`pip install a-package-that-is-not-there`\n"
    )
    assert [f.topic for f in examine()] == ["packages", "packages", "cores", "memory", "temporary files"]


def test_a_sweep_is_checked_on_each_of_its_datasets(command: Command, folder: Folder, tmp_path: Path) -> None:
    root = folder().dataset.root
    datasets = {"here": {"root": root}, "gone": {"root": "/no/where"}}
    path = tmp_path / "sweep.yaml"
    base = resolved(folder()) | {"cluster": {}}
    path.write_text(yaml.safe_dump({"name": "s", "base": base, "datasets": datasets, "search": {"rounds": [1, 2]}}))
    ended = command("doctor", path, "--json")
    found = json.loads(ended.out)["findings"]
    assert ended.code == 2 and [f["topic"] for f in found if f["state"] == "problem"] == ["dataset"]
    assert [f["text"][:4] for f in found if f["topic"] == "dataset" and f["state"] == "ok"] == ["76 i"]
    assert all(f["text"].startswith("1 of 1 CPU") for f in found if f["topic"] == "actors")


@pytest.mark.ray
def test_a_running_cluster_is_looked_at_and_left_as_it_was(local_ray: None, folder: Folder, tmp_path: Path) -> None:
    import ray

    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(folder("cluster.actors=3")))
    address = ray.get_runtime_context().gcs_address
    done = subprocess.run(
        [*PROGRAM, str(path), "--address", address, "--json"], capture_output=True, text=True, timeout=120,
        env=environment(),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.endswith("has 2 CPUs on 1 node; set cluster.actors to 2 at most or add nodes\n"), done.stderr
    found = {f["topic"]: f for f in json.loads(done.stdout)["findings"]}
    (only,) = found["cluster"]["nodes"]
    assert only["head"] and only["cpus"] == 2 and only["object_store"] == 200 * 2**20
    assert "local Ray" not in found
    assert ray.cluster_resources()["CPU"] == 2


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.cluster
def test_two_nodes_are_a_table(local_ray: None) -> None:
    with emulated(3, 3) as cluster:
        command = [*PROGRAM, "--address", cluster.address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment())
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "2 nodes, 6 CPUs, 0 GPUs" in done.stdout and done.stdout.count("(head)") == 1
    token_file = Path.home() / ".ray" / "auth_token"
    assert not token_file.is_file() or token_file.read_text().strip() not in done.stdout
