"""A store or dataset that not every node sees is refused before anything is computed. All emulated nodes are on this
machine, so one of them runs where another disk lies over part of the tree.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from swag_ray.cluster.visibility import sample_paths
from swag_ray.config import to_yaml
from tests.conftest import tiny_config
from tests.support.processes import descendants, kill, wait_until_gone

pytestmark = [pytest.mark.ray, pytest.mark.cluster]

# In processes of their own: this one may hold a Ray already, and a cluster decides how a process shows its token.
CLUSTER = """
import sys
from tests.support.ray_nodes import emulated
with emulated(1) as cluster:
    print(cluster.address, flush=True)
    sys.stdin.read()
"""
JOIN = """
from swag_ray.cluster.address import use_token
use_token()
from ray.scripts.scripts import main
main()
"""
DRIVER = """
import sys
from swag_ray.cluster.session import ray_session
from swag_ray.cluster.visibility import check_readable, check_visible
from swag_ray.errors import InputError
address, nodes, *asked = sys.argv[1:]
with ray_session(address=address):
    import ray
    assert len(ray.nodes()) == int(nodes), ray.nodes()
    for question in asked:
        root, *images = question.split("|")
        try:
            check_visible(root, images) if root else check_readable(images)
            print("all see it")
        except InputError as error:
            print(error)
"""
MOUNT = 'mount -t tmpfs swag-ray-test "$0" && echo mounted && exec "$@"'


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def ended(process: subprocess.Popen[str]) -> None:
    """End a process that we started, and all below it."""
    below = [process.pid, *descendants(process.pid)]
    process.terminate()
    process.communicate()
    for pid in wait_until_gone(below, 10):
        kill(pid)


@pytest.fixture(scope="module")
def covered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder over which the second node has a disk of its own."""
    return tmp_path_factory.mktemp("covered")


@pytest.fixture(scope="module")
def address(covered: Path) -> Iterator[str]:
    """A cluster of two nodes, one of which does not see what is in `covered`."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare here")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    head = subprocess.Popen([sys.executable, "-c", CLUSTER], env=environment(), **pipes)
    try:
        assert head.stdout is not None
        address = head.stdout.readline().strip()
        join = ["start", f"--address={address}", "--num-cpus=1", "--object-store-memory=100000000", "--block"]
        node = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", MOUNT, str(covered), sys.executable, "-c", JOIN, *join],
            env=environment(), **pipes,
        )  # fmt: skip
        try:
            assert node.stdout is not None
            if node.stdout.readline() != "mounted\n":
                pytest.skip("no disk can be mounted here")
            while "--block" not in (line := node.stdout.readline()):  # says that it joined, and that it now waits
                assert line, "the second node did not join"
            yield address
        finally:
            ended(node)
    finally:
        assert head.stdin is not None
        head.stdin.close()
        head.wait(60)


def test_what_a_node_does_not_see_is_named(address: str, covered: Path, tmp_path: Path) -> None:
    (covered / "image.png").write_bytes(b"pixels")
    (tmp_path / "image.png").write_bytes(b"pixels")
    asked = [
        str(covered / "store"),
        f"{tmp_path}/store|{tmp_path}/image.png|{covered}/image.png",
        f"{tmp_path}/store|{tmp_path}/image.png",
        f"|{tmp_path}/image.png|{covered}/image.png",
        f"|{tmp_path}/image.png|{covered}/gone.png",
    ]
    command = [sys.executable, "-c", DRIVER, address, "2", *asked]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    store, dataset, fine, image, gone = done.stdout.splitlines()
    assert store.startswith("store: node ") and f"does not see '{covered}/store'" in store and "s3://" in store
    assert dataset.startswith("dataset: node ") and f"cannot read '{covered}/image.png' (No such file" in dataset
    assert image.startswith("--address: node ") and f"cannot read '{covered}/image.png' (No such file" in image
    assert fine == gone == "all see it", "what nobody can read is no node's fault"
    for root in (covered, tmp_path):
        assert list((root / "store").rglob("*.*")) == [] == list((root / "store/tmp").iterdir()), "nothing is left"


def test_a_run_is_refused_before_anything_is_computed(address: str, covered: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(to_yaml(tiny_config(covered / "tiny")))
    command = [sys.executable, "-m", "swag_ray.cli", "run", str(config), "--out", str(tmp_path / "run"), "--quiet"]
    done = subprocess.run(
        [*command, "--address", address], env=environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "store: node " in done.stderr and f"does not see '{covered}/tiny'" in done.stderr
    assert not (tmp_path / "run").exists() and not (covered / "tiny" / "features").exists()
    command = [sys.executable, "-m", "swag_ray.cli", "doctor", str(config), "--address", address, "--json"]
    told = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
    (problem,) = [f for f in json.loads(told.stdout)["findings"] if f["state"] == "problem"]
    assert told.returncode == 2 and problem["topic"] == "every node", told.stderr
    assert f"does not see '{covered}/tiny'" in problem["text"]


def test_few_are_the_ends_and_the_middle() -> None:
    assert sample_paths([]) == [] and sample_paths(["a"]) == ["a"] and sample_paths(["a", "b"]) == ["a", "b"]
    assert sample_paths([str(n) for n in range(9)]) == ["0", "4", "8"]
