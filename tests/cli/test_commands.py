"""The command line itself: help, wrong use, what is printed where, interruption, joining a cluster."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from swag_ray.cli.exit import interruptible
from swag_ray.config import Config, load_config, resolved, to_yaml
from swag_ray.progress import Progress
from swag_ray.run.run import run_experiment
from tests.support.command_line import Command, borrowed, figures
from tests.support.images import small_set
from tests.support.processes import descendants, kill, wait_until_gone

Tiny = Callable[..., Config]
SHORT: dict[str, Any] = {"rounds": 1, "controls": []}
PROGRAM = [sys.executable, "-m", "swag_ray.cli"]


def environment() -> dict[str, str]:
    token = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")  # of the local Ray of these tests
    return {k: v for k, v in os.environ.items() if not k.startswith("RAY_") or k in token}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture
def short(tiny: Tiny, tmp_path: Path) -> Path:
    path = tmp_path / "short.yaml"
    path.write_text(to_yaml(tiny(**SHORT)))
    return path


@pytest.fixture
def finished(tiny: Tiny, local_ray: None, directory: Path) -> dict[str, Any]:
    """metrics.json of the short run, which the first test that asks computes; its stages are then in the store."""
    path = directory / "run" / "metrics.json"
    if not path.exists():
        run_experiment(tiny(**SHORT), path.parent)
    metrics: dict[str, Any] = json.loads(path.read_text())
    return metrics


def test_help_is_fast_and_loads_neither_torch_nor_ray() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-X", "importtime", "-m", "swag_ray.cli", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("run", "report", "score", "config", "datasets", "store"))
    assert after.ru_utime - before.ru_utime < 1.5, "seconds of the processor"
    loaded = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "typer" in loaded and not loaded & {"torch", "ray", "timm", "numpy", "faiss", "pyarrow"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rum"], r"^No such command 'rum'\. .*\(see `.* --help`\)$"),
        (["run", "--speed"], r"^No such option:? .*--speed.* \(see `.* run --help`\)$"),
        (["run", "a.yaml", "b.yaml"], r"^Got unexpected extra argument.* \(b\.yaml\)"),
        (["score"], r"^Missing argument 'RUN'"),
        (["score", "run", "x.png"], r"^Missing option '--out'"),
        (["store", "prune", "--older-than", "soon"], r"^Invalid value for '--older-than'"),
        (["store", "list", "--store", "gs://x"], r"^store: 'gs://x' is not a path or an s3:// address$"),
        (["run", "c.yaml", "--set", "rounds"], r"c\.yaml: cannot read the config: No such file or directory$"),
        (["config", "show", "c.yaml"], r"^c\.yaml: cannot read the config"),
        (["report", "no/run"], r"no/run"),
        (["datasets", "check", "no/root"], r"^dataset\.root: /.*/no/root does not exist; give the folder"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_one_line(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    complaint = command(*arguments).complaint
    assert re.search(said, complaint), complaint
    assert not os.listdir(tmp_path)


def test_no_arguments_show_the_help(command: Command) -> None:
    ended = command()
    assert ended.code == 2 and "Usage" in ended.out + ended.err and "datasets" in ended.out + ended.err


def test_text_of_the_user_is_no_markup(command: Command, no_ray: None, tiny: Tiny, tmp_path: Path) -> None:
    """Brackets mean colours to the terminal library, or a fault of ours where they do not close."""
    root = small_set(tmp_path / "[/red] [bold]x", normals=24, anomalies=6)
    (root / "train/[a]").mkdir()
    data = {"kind": "folder", "root": str(root), "anomaly": "FLU"}
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(tiny(dataset=data, store=tmp_path / "store")))
    ended = command("run", path, "--out", tmp_path / "run")
    assert ended.code == 2 and str(root) in ended.out and str(root) in ended.err
    checked = command("datasets", "check", root, "--anomaly", "PNEUMONIA")
    assert checked.code == 0 and str(root) in checked.out and "PNEUMONIA" in checked.out


def test_a_fault_of_ours_keeps_its_traceback(
    command: Command, short: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        os.write(2, b"chatter of a library\n")
        raise ZeroDivisionError

    monkeypatch.setattr("swag_ray.run.run.run_experiment", fail)
    with pytest.raises(ZeroDivisionError):
        command("run", short, "--quiet", "--out", tmp_path / "run")
    said = capfd.readouterr().err
    log = Path(said.strip().rsplit(" ", 1)[1])
    assert log.read_text() == "chatter of a library\n" and "chatter" not in said
    log.unlink()


def test_what_is_shown(command: Command, short: Path, tiny: Tiny, tmp_path: Path) -> None:
    shown = command("config", "show", short, "--set", "gate.budget=7")
    assert shown.code == 0 and "budget: 7" in shown.out
    as_json = command("config", "show", short, "--json")
    assert json.loads(as_json.out) == resolved(tiny(**SHORT)) == resolved(load_config(short))
    assert {"gate", "dataset"} <= json.loads(command("config", "schema").out)["properties"].keys()


@pytest.mark.ray
def test_quiet_json_and_plain(
    command: Command, finished: dict[str, Any], short: Path, session_store: Path, tmp_path: Path
) -> None:
    quiet = command("run", short, "--quiet", "--out", tmp_path / "quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    as_json = command("run", short, "--json", "--out", tmp_path / "json")
    assert (as_json.code, as_json.err) == (0, "")
    printed = json.loads(as_json.out)
    assert printed == json.loads((tmp_path / "json" / "metrics.json").read_text())
    assert figures(printed) == figures(finished)
    plain = command("run", short, "--out", tmp_path / "plain")
    assert (plain.code, plain.err) == (0, "")
    for part in ("tiny · contrast", "warning: ", "round 1", "incremental", "against seed-only", "plain/report.html"):
        assert part in plain.out, part
    assert "\x1b" not in plain.out, "no colours where no terminal is"
    written = command("report", tmp_path / "plain")
    assert written.code == 0 and written.out.strip().endswith("plain/report.html")
    rows = json.loads(command("store", "list", "--store", session_store, "--json").out)
    kinds = {row["kind"]: row["entries"] for row in rows}
    assert kinds["bank"] >= 1 and kinds["decide"] >= 2 and any(kind.startswith("features/") for kind in kinds)
    pruned = command("store", "prune", "--store", session_store, "--older-than", "0")
    assert pruned.out.startswith("would remove (add --yes): ") and (session_store / "stages").exists()


@pytest.mark.ray
def test_a_running_cluster_is_joined_and_left_as_it_was(
    finished: dict[str, Any], tiny: Tiny, session_store: Path, tmp_path: Path
) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    store, path = borrowed(session_store, tmp_path / "store"), tmp_path / "config.yaml"
    path.write_text(to_yaml(tiny(store=store, **SHORT)))
    command = [*PROGRAM, "run", str(path), "--out", str(tmp_path / "run"), "--json", "--address", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment())
    assert (done.returncode, done.stderr) == (0, "")
    assert figures(json.loads(done.stdout)) == figures(finished)
    deadline = time.monotonic() + 20
    while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"], "its actors are gone"


@pytest.mark.ray
@pytest.mark.slow
def test_interrupted_it_ends_soon_and_goes_on(
    command: Command, finished: dict[str, Any], tiny: Tiny, session_store: Path, tmp_path: Path
) -> None:
    """Ctrl-C in the middle of a round; then the same command finishes."""
    store, out, path = borrowed(session_store, tmp_path / "store"), tmp_path / "run", tmp_path / "config.yaml"
    path.write_text(to_yaml(tiny(store=store, **SHORT)))
    arguments = ["run", str(path), "--out", str(out), "--quiet"]
    with subprocess.Popen(
        [*PROGRAM, *arguments], env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while not list(store.glob("stages/decide/*/complete.json")):
            assert process.poll() is None, f"it ended too soon: {process.communicate()[1]}"
            time.sleep(0.02)
        below = descendants(process.pid)
        started = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everybody, Ray's own processes too
        said = process.communicate(timeout=60)[1]
    assert time.monotonic() - started < 20, "a few seconds, were the machine idle"
    assert process.returncode == 130
    assert said == "swag-ray: interrupted; the same command goes on from the last complete stage\n"
    left = wait_until_gone(list(below), 20)
    for pid in left:
        kill(pid)
    assert not left, [below[pid] for pid in left]
    assert os.listdir(out) == ["config.yaml"], "nothing looks complete"
    assert command(*arguments).code == 0
    assert figures(json.loads((out / "metrics.json").read_text())) == figures(finished)


@pytest.mark.parametrize(("before", "interrupted"), [(signal.SIG_DFL, True), (signal.SIG_IGN, False)])
def test_a_closed_terminal_is_an_interruption_but_under_nohup(before: signal.Handlers, interrupted: bool) -> None:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGHUP, before)
    progress = Progress()
    try:
        with interruptible(progress), pytest.raises(KeyboardInterrupt) if interrupted else nullcontext():
            signal.raise_signal(signal.SIGHUP)
        assert progress.interrupted() is interrupted
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def test_a_scheduler_s_signal_is_an_interruption_too() -> None:
    """Ray puts a handler of its own in place, which ends the program with another code and no word."""
    from swag_ray.cluster import session

    def mine(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, mine)
    try:
        with session._sigterm_kept():
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--repeat", "1"], "--repeat: 1 split is a plain run; give 2 or more, or leave --repeat away"),
        (["--repeat", "3", "--profile"], "run: --repeat and --profile do not go together; profile a single run"),
        (["--repeat", "3", "--overwrite"], "run: --repeat and --overwrite do not go together; choose another --out"),
        (["--repeat", "3", "--out", "s3://bucket/run"], "--out: 's3://bucket/run': a sweep's directory is a folder"),
        (["--repeat", "2", "--set", "random_seed=4294967295"], "trial 1: random_seed: 4294967296"),
        (["--repeat", "2", "--set", f"name={'a' * 90}"], "is too long to be repeated; at most 80 letters"),
    ],
)
def test_what_cannot_be_repeated_is_one_line(
    command: Command, no_ray: None, short: Path, options: list[str], said: str
) -> None:
    assert said in command("run", short, *options).complaint


def test_a_repetition_is_resumed_by_its_own_command(command: Command, no_ray: None, tmp_path: Path) -> None:
    assert "give the same --repeat again" in command("run", "--resume", tmp_path, "--repeat", "3").complaint
