"""Closed streams, locales that are not UTF-8, a working folder or a home that is gone: each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from swag_ray.config.text import dump_yaml, read_yaml
from tests.conftest import REPOSITORY, TINY

PROGRAM = [sys.executable, "-m", "swag_ray.cli"]
NO_UTF8 = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def environment(**changes: str | None) -> dict[str, str]:
    paths = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    changed: dict[str, str | None] = {**os.environ, "PYTHONPATH": paths, **changes}
    return {name: value for name, value in changed.items() if value is not None}


def shell(text: str, *arguments: object, **changes: str | None) -> subprocess.CompletedProcess[bytes]:
    """Runs the program at the end of a line of shell."""
    command = ["sh", "-c", text, "sh", *PROGRAM, *map(str, arguments)]
    return subprocess.run(command, env=environment(**changes), capture_output=True, timeout=120)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml(TINY | {"store": "/tmp/größe"}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "changes",
    [{"LC_ALL": "C"}, {"LC_ALL": "C", **NO_UTF8}, {"LC_ALL": "POSIX", **NO_UTF8}, {"PYTHONIOENCODING": "latin-1"}],
)
def test_a_shown_config_is_one_whatever_the_locale(config: Path, changes: dict[str, str]) -> None:
    ended = shell('exec "$@"', "config", "show", config, **changes)
    assert (ended.returncode, ended.stderr) == (0, b"")
    shown = config.with_name("shown.yaml")
    shown.write_bytes(ended.stdout)
    assert read_yaml(shown)["store"] == "/tmp/größe"


def test_the_terminal_replaces_what_it_cannot_show(config: Path) -> None:
    ended = shell('exec "$@"', "run", config, "--set", "name=größe", LC_ALL="C", **NO_UTF8)
    assert ended.returncode == 2 and ended.stderr.startswith(b"swag-ray: ") and b"'gr??e' must be" in ended.stderr


def test_closed_streams_lead_nowhere(config: Path) -> None:
    ended = shell('exec "$@" <&- >&-', "config", "show", config)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    ended = shell('exec "$@" <&- >&- 2>&-', "run", config.with_name("none.yaml"))
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, b"", b"")


def test_a_working_folder_that_is_gone_is_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    ended = shell(f'mkdir {gone}; cd {gone}; rmdir {gone}; exec "$@"', "config", "schema")
    assert ended.returncode == 2
    assert ended.stderr == (
        b"swag-ray: the working folder is gone or cannot be read (No such file or directory); change to another folder "
        b"first\n"
    )


def test_a_home_that_does_not_exist_is_no_folder_called_tilde(config: Path, tmp_path: Path) -> None:
    no_account = "unshare --user --map-user=54321 --map-group=54321"
    if subprocess.run([*no_account.split(), "true"], capture_output=True).returncode:
        pytest.skip("no account cannot be had here")
    for arguments, start in (
        (("run", config, "--set", "store=~/store"), "store: '~/store' lies in a home folder, and there is none"),
        (("store", "list"), "store: '~/.cache/swag-ray' lies in a home folder, and there is none"),
        (("datasets", "check", "~/films"), "a path with ~ lies in a home folder, and there is none"),
    ):
        ended = shell(f'cd {tmp_path}; exec {no_account} "$@"', *arguments, HOME=None)
        assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1
        assert start in ended.stderr.decode(), ended.stderr
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "TkAgg", "nonsense"])
def test_a_figure_is_drawn_whatever_backend_the_environment_names(backend: str) -> None:
    code = (
        "import io, os\n"
        "from swag_ray.report.page.figure import figure\n"
        "with figure(2.0) as (drawing, axes):\n"
        "    axes[0].plot([1, 2]); drawing.savefig(io.StringIO(), format='svg')\n"
        "print(os.environ['MPLBACKEND'])"
    )
    program = [sys.executable, "-c", code]
    ended = subprocess.run(program, env=environment(MPLBACKEND=backend), capture_output=True, text=True, check=True)
    assert ended.stdout == f"{backend}\n"
