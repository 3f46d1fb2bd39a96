"""A run in odd surroundings gives the figures of a plain one, or one clear line. Each starts it as users do.

All but the first run find features and fits in the store, and still need Ray for the scores.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from swag_ray.config import to_yaml
from tests.conftest import tiny_config
from tests.support.command_line import figures
from tests.support.images import small_set
from tests.support.small_disk import mount

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
NOWHERE = "http://127.0.0.1:9"
NO_ACCOUNT = ("unshare", "--user", "--map-user=54321", "--map-group=54321")
OTHER_ACCOUNT = 65534
OWN_MOUNTS = ("unshare", "--mount")
LEGACY = {"de_DE.ISO-8859-1": ("de_DE", "ISO-8859-1"), "ja_JP.EUC-JP": ("ja_JP", "EUC-JP")}
NO_UTF8 = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
SMALL = ("rounds=1", "controls=[]", "cluster.cpus=1", "cluster.object_store_mb=100")


@dataclass(frozen=True)
class Case:
    """What surrounds the program. {long}, {closed}, {foreign}, {full}, {work} and {locales} stand for folders of the
    test.

    Attributes:
        environment: variables set, or taken away where None.
        prefix: a program that starts ours.
        shell: what the same shell does before.
        flags: of Python.
        says: the line of a refusal, a regular expression; empty where the figures must be right.
        out: where the run is written to.
    """

    environment: dict[str, str | None] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    shell: str = ":"
    flags: tuple[str, ...] = ()
    says: str = ""
    out: str = "{work}/out"
    store: str = "{work}/größe"


CASES = {
    "no account, no home, temporary folders that may not be written": Case(
        {"HOME": None, "TMPDIR": "{closed}", "RAY_TMPDIR": "{closed}/absent"}, prefix=NO_ACCOUNT
    ),
    "folders for temporary files of another account": Case(
        {"TMPDIR": "{foreign}/below", "RAY_TMPDIR": "{foreign}"}, prefix=NO_ACCOUNT
    ),
    "store of another account": Case(
        prefix=NO_ACCOUNT, store="{foreign}/store", says=r"^store: .*Permission denied|closed to this account"
    ),
    "folder for the run of another account": Case(
        prefix=NO_ACCOUNT, out="{foreign}/below/out", says=r"^--out: .*(Permission denied|read-only|closed)"
    ),
    "read-only home, long folder for temporary files": Case({"HOME": "/proc", "TMPDIR": "{long}"}),
    "home at the top, folder for temporary files that is not there": Case(
        {"HOME": "/", "TMPDIR": "{work}/absent", "RAY_TMPDIR": "{long}"}
    ),
    "64 MB of shared memory, full temporary disk, umask 000": Case(
        {"TMPDIR": "{full}"}, prefix=OWN_MOUNTS, shell="mount -t tmpfs -o size=64m shm /dev/shm; umask 000"
    ),
    "notebook's backend, many threads, absent GPU, dead proxies and cluster, umask 077": Case(
        {
            "MPLBACKEND": "module://matplotlib_inline.backend_inline", "OMP_NUM_THREADS": "16",
            "RAY_ADDRESS": "127.0.0.1:9",
            "CUDA_VISIBLE_DEVICES": "7", "http_proxy": NOWHERE, "https_proxy": NOWHERE, "ALL_PROXY": NOWHERE,
        },
        shell="umask 077",
    ),
    "optimised, warnings are errors, no such backend, no GPUs": Case(
        {"MPLBACKEND": "nonsense", "OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": ""}, flags=("-O", "-W", "error")
    ),
    "C": Case({"LC_ALL": "C", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "0"} | NO_UTF8),
    "POSIX, backend of a desktop": Case({"LC_ALL": "POSIX", "MPLBACKEND": "TkAgg"} | NO_UTF8),
    **{name: Case({"LC_ALL": name, "LOCPATH": "{locales}"}) for name in LEGACY},
    "closed streams, read-only working folder": Case(shell="cd /proc; exec <&- >&-"),
    "few open files": Case(shell="ulimit -n 256"),
    "too few open files": Case(shell="ulimit -n 100", says=r"^cluster: Ray cannot start .* 100 files .*ulimit -n"),
    "just enough addresses": Case(shell="ulimit -v 9000000"),
    "too few addresses": Case(shell="ulimit -v 6000000", says=r"^cluster: Ray cannot start .* 6\.1 GB .*ulimit -v"),
    "deleted working folder": Case(
        shell="mkdir {work}/gone; cd {work}/gone; rmdir {work}/gone", says=r"^the working folder is gone .*; change to"
    ),
    "full disk for the run": Case(out="{full}/out", says=r"^--out: .*No space left"),
    "full disk for the store": Case(store="{full}/store", says=r"^store: .*No space left"),
}  # fmt: skip


@dataclass(frozen=True)
class Plain:
    """A run in plain surroundings: its store, without scores, and its metrics."""

    store: Path
    metrics: dict[str, Any]


def environment(changes: dict[str, str | None]) -> dict[str, str]:
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "LC_", "PYTEST"))}
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    changed: dict[str, str | None] = {**ours, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", **changes}
    return {name: value for name, value in changed.items() if value is not None}


def config(store: Path, path: Path) -> Path:
    path.write_text(to_yaml(tiny_config(store, *SMALL)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Plain:
    folder = tmp_path_factory.mktemp("plain")
    arguments = ["run", config(folder / "store", folder / "plain.yaml"), "--out", folder / "out", "--quiet"]
    subprocess.run([sys.executable, "-m", "swag_ray.cli", *arguments], env=environment({}), check=True)
    shutil.rmtree(folder / "store/stages/scores")
    return Plain(folder / "store", json.loads((folder / "out/metrics.json").read_text()))


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[dict[str, str]]:
    closed, full = tmp_path / "closed", None
    closed.mkdir(mode=0o555)
    foreign = tmp_path / "foreign"
    foreign.mkdir(mode=0o700)
    with suppress(PermissionError):
        os.chown(foreign, OTHER_ACCOUNT, OTHER_ACCOUNT)
    long = tmp_path / ("l" * 110)
    long.mkdir()
    try:
        full = mount(tmp_path / "full", "64k")
        (full.path / "fill").write_bytes(b"x" * 60_000)
    except (pytest.skip.Exception, OSError):
        pass
    yield {name: str(tmp_path / name) for name in ("closed", "foreign", "full", "locales")} | {
        "long": str(long),
        "work": str(tmp_path),
    }
    if full is not None:
        full.unmount()


def possible(case: Case, folders: dict[str, str]) -> None:
    """Skips what cannot be had on this machine."""
    if case.prefix and subprocess.run([*case.prefix, "true"], capture_output=True).returncode:
        pytest.skip(f"{case.prefix[0]} is refused here")
    wants_disk = any("{full}" in str(text) for text in (*case.environment.values(), case.out, case.store))
    if wants_disk and not os.path.ismount(folders["full"]):
        pytest.skip("no disk can be mounted here")
    wants_foreign = any("{foreign}" in str(text) for text in (*case.environment.values(), case.out, case.store))
    if wants_foreign and os.stat(folders["foreign"]).st_uid != OTHER_ACCOUNT:
        pytest.skip("no folder of another account can be made here")
    name = case.environment.get("LC_ALL")
    if name in LEGACY:
        source, charset = LEGACY[name]
        Path(folders["locales"]).mkdir()
        command = ["localedef", "-i", source, "-f", charset, f"{folders['locales']}/{name}"]
        if not shutil.which("localedef") or subprocess.run(command, capture_output=True).returncode > 1:
            pytest.skip(f"the locale {name} cannot be made here")


def run(case: Case, folders: dict[str, str], plain: Plain) -> subprocess.CompletedProcess[str]:
    store = Path(case.store.format(**folders))
    if "{full}" not in case.store and "{foreign}" not in case.store:
        shutil.copytree(plain.store, store)
    path = config(store, Path(folders["work"]) / "config.yaml")
    program = [sys.executable, *case.flags, "-m", "swag_ray.cli", "run", str(path), "--out", case.out, "--json"]
    changes = {name: value and value.format(**folders) for name, value in case.environment.items()}
    shell = ["sh", "-c", f'{case.shell.format(**folders)}\nexec "$@"', "sh"]
    return subprocess.run(
        [*case.prefix, *shell, *(part.format(**folders) for part in program)], env=environment(changes),
        capture_output=True, text=True, timeout=500, encoding="utf-8", errors="replace",
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_right_result_or_one_clear_line(name: str, folders: dict[str, str], plain: Plain) -> None:
    case = CASES[name]
    possible(case, folders)
    ended = run(case, folders, plain)
    if case.says:
        assert ended.returncode == 2, ended.stderr
        lines = ended.stderr.splitlines()
        assert len(lines) == 1, ended.stderr
        (line,) = lines
        assert line.startswith("swag-ray: ") and re.search(case.says, line.removeprefix("swag-ray: ")), line
        return
    assert (ended.returncode, ended.stderr) == (0, "")
    out = Path(case.out.format(**folders))
    assert figures(json.loads((out / "metrics.json").read_text())) == figures(plain.metrics)
    assert (out / "report.html").read_text(encoding="utf-8").count("<svg")
    kept = (out / "config.yaml").read_text(encoding="utf-8")
    assert case.store.format(**folders) in kept, "the config is UTF-8 whatever the locale"
    if name in ("C", *LEGACY):
        assert ended.stdout.isascii()


FULL_OUTPUT = (("config", "schema"), ("config", "show", "configs/demo.yaml"), ("datasets", "check", "{images}"))


@pytest.mark.parametrize("command", FULL_OUTPUT, ids=" ".join)
def test_an_output_that_takes_no_more_is_one_line(command: tuple[str, ...], tmp_path: Path) -> None:
    root, images = Path(__file__).parents[2], small_set(tmp_path, normals=24, anomalies=6)
    arguments = [part.format(images=images) for part in command]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "swag_ray.cli", *arguments], cwd=root, env=environment({}), stdout=full,
            stderr=subprocess.PIPE, text=True, timeout=120,
        )  # fmt: skip
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("swag-ray: the output cannot be written (No space left on device)"), line


UV = """
import subprocess, sys
command = sys.argv[sys.argv.index("--") + 1:]
sys.exit(subprocess.run(command).returncode)
"""
WATCH = """
import os, sys, threading, time, zipfile
import ray
init = ray.init
def watched(*arguments, **options):
    made = init(*arguments, **options)
    for folder, _, names in os.walk(options["_temp_dir"]):
        for name in names:
            print("IN-SESSION", os.path.join(folder, name))
    print("WORKING-DIR", ray.get_runtime_context().runtime_env)
    return made
ray.init = watched
from swag_ray.cluster.session import ray_session
with ray_session(cpus=1, object_store_mb=100):
    import ray
    print("WORKS-IN", ray.get(ray.remote(lambda: os.getcwd()).remote()))
"""


@pytest.mark.parametrize(
    ("options", "hook"),
    [((), None), (("--no-project", "--python", "3"), None), ((), "ray._private.runtime_env.uv_runtime_env_hook.hook")],
    ids=["plain", "options", "hook"],
)
def test_uv_run_takes_nothing_of_the_working_folder_into_the_session(
    options: tuple[str, ...], hook: str | None, tmp_path: Path
) -> None:
    """Ray tells `uv run` by the command line of an ancestor, so any program called so is one to it."""
    (tmp_path / "run").write_text(UV)
    (tmp_path / "watch.py").write_text(textwrap.dedent(WATCH))
    (tmp_path / "patient.png").write_bytes(os.urandom(30_000))
    ended = subprocess.run(
        ["uv", "run", *options, "--", sys.executable, "watch.py"], executable=sys.executable, cwd=tmp_path,
        env=environment({"RAY_RUNTIME_ENV_HOOK": hook}),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert f"WORKS-IN {tmp_path}\n" in ended.stdout, "in the folder itself, not in a copy of it"
    held = [line for line in ended.stdout.splitlines() if line.startswith("IN-SESSION")]
    assert held and not [line for line in held if "patient" in line or "_ray_pkg" in line]
    assert "WORKING-DIR {}" in ended.stdout
    folder = Path(held[0].split(maxsplit=1)[1].partition("/session_")[0])
    assert not folder.exists(), "the session's folder goes with it"
