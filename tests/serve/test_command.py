"""`swag-ray serve` with what cannot be served: one line, before Ray starts."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import Command

pytestmark = pytest.mark.ray  # the run whose detector it is


@pytest.fixture(autouse=True)
def no_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("swag_ray.cluster.serving.ray_session", refuse)
    monkeypatch.delenv("SWAG_RAY_TOKEN", raising=False)


def test_what_cannot_be_served_is_one_line(command: Command, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "site.json").write_text("{}")
    (tmp_path / "token").write_text("short\n")
    for options, told in (
        (("--host", "0.0.0.0"), "SWAG_RAY_TOKEN"), (("--host", "no.such.invalid"), "--host"),
        (("--host", "a..b"), "--host: 'a..b' is no name"), (("--host", "x" * 64), "is no name"),
        (("--host", "192.0.2.1"), "cannot listen"), (("--port", 65536), "--port"), (("--rate", 1), "--rate"),
        (("--replicas", 0), "--replicas"), (("--max-mb", 0), "--max-mb"), (("--max-mb", "nan"), "--max-mb"),
        (("--site", tmp_path / "absent.json"), "--site"), (("--site", tmp_path / "site.json"), "is no site"),
        (("--token-file", tmp_path / "absent"), "--token-file"), (("--token-file", tmp_path / "token"), "no token"),
    ):  # fmt: skip
        found = command("serve", finished, "--port", 0, *options).complaint
        assert told in found and "short" not in found, options


def test_no_run_and_a_damaged_bundle_are_one_line(command: Command, finished: Path, tmp_path: Path) -> None:
    assert "detector.json" in command("serve", tmp_path, "--port", 0).complaint
    bundle = shutil.copytree(finished / "detector", tmp_path / "bundle")
    weights = bundle / "backbone.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "backbone.safetensors' is damaged" in command("serve", bundle, "--port", 0).complaint
    record = json.loads((bundle / "detector.json").read_text())
    (bundle / "detector.json").write_text(json.dumps(record | {"format": 99}))
    assert "format 99" in command("serve", bundle, "--port", 0).complaint


def test_a_port_in_use_is_one_line(command: Command, finished: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"cannot listen at 127.0.0.1, port {port}" in command("serve", finished, "--port", port).complaint


def test_without_the_extra_it_says_how_to_install_it(
    command: Command, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swag_ray.serve.serve.PACKAGES", ("no_such_package",))
    assert "pip install 'swag-ray[serve]'" in command("serve", finished).complaint


def test_the_token_is_no_option(command: Command) -> None:
    shown = command("serve", "--help").out
    assert "--token-file" in shown and "--token " not in shown
