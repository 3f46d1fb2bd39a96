"""A config by its name: the working folder's own comes first, then those of the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from swag_ray.config import load_config
from swag_ray.config.shipped import find_config, shipped_configs
from swag_ray.config.sweep import load_sweep
from swag_ray.errors import InputError
from tests.support.command_line import Command


def test_a_name_is_a_file_here_before_it_is_a_shipped_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = find_config("demo")
    assert shipped == shipped_configs()["demo"] and load_config("demo").name == "demo"
    (tmp_path / "demo").mkdir()
    assert find_config("demo") == shipped, "a folder is no config"
    (tmp_path / "demo.yaml").write_text("name: mine\ndataset: {root: films, anomaly: A}\n")
    assert load_config("demo").name == load_config("demo.yaml").name == "mine"
    (tmp_path / "other.yml").write_text("name: other\ndataset: {root: films, anomaly: A}\n")
    assert load_config("other").name == "other"
    (tmp_path / "plain").write_text("name: plain\ndataset: {root: films, anomaly: A}\n")
    assert load_config("plain").name == "plain"


def test_a_path_is_never_taken_for_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("./demo", "demo.yaml", Path("demo"), str(tmp_path / "demo")):
        with pytest.raises(InputError, match="cannot read the config: No such file"):
            load_config(path)


def test_a_shipped_sweep_finds_its_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pneumonia.yaml").write_text("name: mine\n")
    assert load_sweep("ablation_small").base["name"] == "pneumonia", "beside it, not the one that happens to be here"


@pytest.mark.parametrize("words", [("run",), ("sweep",), ("doctor",), ("config", "show")])
def test_an_unknown_name_lists_those_there_are(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    complaint = command(*words, "dmeo").complaint
    assert complaint.startswith("'dmeo': no file dmeo.yaml or dmeo.yml is here, and no config of that name comes with")
    assert "demo, pneumonia" in complaint
