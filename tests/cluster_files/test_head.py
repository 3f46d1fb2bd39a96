"""What clusters/README.md does on a head, done: a run joins it, a job is submitted to it, and it asks for a token."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swag_ray.config import to_yaml
from tests.conftest import tiny_config
from tests.support.command_line import borrowed, figures
from tests.support.ray_head import RAY, Head, head

pytest.importorskip("ray.dashboard.optional_deps", reason="submitting jobs needs ray[default]")
pytestmark = [pytest.mark.ray, pytest.mark.cluster]

OVERRIDES = ("rounds=1", "controls=[]")


@pytest.fixture(scope="module")
def alone(local_ray: None, session_store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The figures of a run on a local Ray."""
    from swag_ray.run.run import run_experiment

    folder = tmp_path_factory.mktemp("alone")
    return figures(run_experiment(tiny_config(session_store, *OVERRIDES), folder / "run").metrics)


@pytest.fixture(scope="module")
def there(alone: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head with a dashboard and a token."""
    token = tmp_path_factory.mktemp("token") / "auth_token"
    token.write_text(secrets.token_hex(32))
    shown = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    with head("--num-cpus=2", "--dashboard-host=127.0.0.1", environment=shown) as running:
        yield running


@pytest.fixture
def configs(session_store: Path, tmp_path: Path) -> Path:
    """A folder with `tiny.yaml`, whose store holds nothing but the images and their features."""
    (folder := tmp_path / "configs").mkdir()
    (tmp_path / "store").mkdir()
    config = tiny_config(borrowed(session_store, tmp_path / "store"), *OVERRIDES)
    (folder / "tiny.yaml").write_text(to_yaml(config))
    return folder


def submit(there: Head, configs: Path, *command: object, options: tuple[str, ...] = ()) -> Any:
    address = ("--address", there.dashboard, "--working-dir", configs)
    return there.call(*RAY, "job", "submit", *address, *options, "--", *command)


def metrics(run: Path) -> dict[str, Any]:
    return figures(json.loads((run / "metrics.json").read_text()))


def test_a_run_joins_the_head_of_this_machine(
    there: Head, configs: Path, tmp_path: Path, alone: dict[str, Any]
) -> None:
    ended = there.call("swag-ray", "run", configs / "tiny.yaml", "--address", "auto", "--out", tmp_path / "run")
    assert ended.returncode == 0, ended.stderr
    assert metrics(tmp_path / "run") == alone


def test_a_job_that_was_stopped_goes_on_when_it_is_submitted_again(
    there: Head, configs: Path, tmp_path: Path, alone: dict[str, Any]
) -> None:
    command = ("swag-ray", "run", "tiny.yaml", "--address", "auto", "--out", tmp_path / "run")
    begun = submit(there, configs, *command, options=("--no-wait", "--submission-id=first"))
    assert begun.returncode == 0, begun.stderr
    deadline = time.monotonic() + 60
    while "features of" not in said(there, "logs"):
        assert time.monotonic() < deadline, said(there, "logs")
        time.sleep(0.2)
    there.call(*RAY, "job", "stop", "--address", there.dashboard, "first")
    assert "was stopped" in said(there, "status")
    assert "swag-ray: interrupted; the same command goes on from the last complete stage" in said(there, "logs")
    assert not (tmp_path / "run" / "metrics.json").exists()
    ended = submit(there, configs, *command)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert metrics(tmp_path / "run") == alone


def said(there: Head, about: str) -> str:
    return there.call(*RAY, "job", about, "--address", there.dashboard, "first").stdout


def test_a_jobs_bad_input_is_its_last_line(there: Head, configs: Path) -> None:
    ended = submit(there, configs, "swag-ray", "run", "tiny.yaml", "--address", "auto", "--set", "rounds=-1")
    assert ended.returncode == 1, "Ray's own code for a job that failed"
    assert "failed with exit code 2" in ended.stdout
    assert "\nswag-ray: tiny.yaml: rounds: -1 must be at least 1\n" in ended.stdout


@pytest.mark.parametrize(
    "shown",
    [
        {"RAY_AUTH_TOKEN": "another"},
        {"RAY_AUTH_TOKEN_PATH": "", "HOME": "/nowhere"},
        {"RAY_AUTH_TOKEN_PATH": "", "HOME": "/nowhere", "RAY_AUTH_MODE": ""},
        {"RAY_AUTH_TOKEN_PATH": "/nowhere/auth_token"},
        {"RAY_AUTH_MODE": "disabled"},
    ],
    ids=["wrong", "none", "none and no mode", "no file", "not shown"],
)
def test_without_its_token_nobody_joins(there: Head, configs: Path, tmp_path: Path, shown: dict[str, str]) -> None:
    """`ray.init` alone takes 20 seconds to say so, or ends in a stack."""
    command = ("swag-ray", "run", configs / "tiny.yaml", "--quiet", "--address", there.address)
    ended = there.call(*command, "--out", tmp_path / "run", environment=shown, seconds=15)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"swag-ray: --address: the Ray cluster at '{there.address}' cannot be joined (")
    assert "RAY_AUTH_TOKEN" in line and not (tmp_path / "run").exists()
