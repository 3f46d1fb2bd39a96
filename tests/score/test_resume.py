"""A call of `score` that was ended goes on from its journal: no row is lost or doubled, whatever ended it, in this
process and on Ray.
"""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from swag_ray.score.journal import Journal
from tests.support.command_line import Command
from tests.support.processes import descendants, kill
from tests.support.ray_nodes import Nodes

pytestmark = pytest.mark.ray
PATIENCE = 240.0  # seconds
Row = dict[str, str]


@pytest.fixture(scope="session")
def links() -> Callable[[Path, Path, int], Path]:
    def make(tests: Path, folder: Path, count: int) -> Path:
        """So many links to the test images."""
        images = sorted(tests.rglob("*.png"))
        folder.mkdir()
        for i in range(count):
            (folder / f"{i:04d}.png").symlink_to(images[i % len(images)])
        return folder

    return make


@pytest.fixture
def few(links: Callable[[Path, Path, int], Path], tests: Path, tmp_path: Path) -> Path:
    return links(tests, tmp_path / "few", 400)


def table(out: Path) -> list[Row]:
    """The result as it was written, without what a clock says."""
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"]
    return rows


def seconds(out: Path) -> dict[str, str]:
    with out.open(newline="") as file:
        return {row["path"]: row["seconds"] for row in csv.DictReader(file)}


def journal(out: Path) -> list[dict[str, Any]]:
    """Whole lines."""
    path = out.with_name(f"{out.name}.partial")
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def begun(out: Path, chunks: int, *arguments: object) -> subprocess.Popen[str]:
    """`swag-ray score` in a process of its own, once it has scored so many chunks."""
    command = [sys.executable, "-m", "swag_ray.cli", "score", *map(str, arguments), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    scored(out, chunks, process)
    return process


def scored(out: Path, chunks: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(journal(out)) < 1 + chunks:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def end(process: subprocess.Popen[str], number: int) -> tuple[int, str]:
    """Exit code and standard error."""
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    return process.returncode, err


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_killed_in_the_middle_of_2000_images(
    command: Command, links: Callable[[Path, Path, int], Path], bundle: Path, tests: Path, tmp_path: Path
) -> None:
    """And half a line is left at the journal's end."""
    images = links(tests, tmp_path / "images", 2000)
    whole, out = tmp_path / "whole.csv", tmp_path / "scores.csv"
    assert command("score", bundle, images, "--out", whole).code == 0
    assert end(begun(out, 8, bundle, images), signal.SIGKILL)[0] == -signal.SIGKILL
    assert not out.exists()
    _, *kept = journal(out)
    assert 8 <= len(kept) < 31, "in the middle"
    partial = out.with_name("scores.csv.partial")
    partial.write_bytes(partial.read_bytes() + b'{"chunk": 31, "files": "')
    added: list[int] = []
    command.monkeypatch.setattr(Journal, "add", told(added, Journal.add))
    assert command("score", bundle, images, "--out", out).code == 0
    assert sorted([*added, *(record["chunk"] for record in kept)]) == list(range(32)), "each chunk once"
    assert table(out) == table(whole) and len(table(out)) == 2000 and not partial.exists()


def told(added: list[int], add: Callable[..., None]) -> Callable[..., None]:
    def tell(self: Journal, chunk: int, *others: Any) -> None:
        added.append(chunk)
        add(self, chunk, *others)

    return tell


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_driver_and_actor_killed_on_ray(
    command: Command, links: Callable[[Path, Path, int], Path], bundle: Path, tests: Path, tmp_path: Path
) -> None:
    images = links(tests, tmp_path / "images", 2000)
    whole, out = tmp_path / "whole.csv", tmp_path / "scores.csv"
    undisturbed = command("score", bundle, images, "--out", whole)
    assert undisturbed.code == 0
    with Nodes(2) as nodes:
        on_ray = (bundle, images, "--address", nodes.address)
        process = begun(out, 2, *on_ray)
        actors = [pid for pid, line in descendants(nodes.process.pid).items() if "MapWorker" in line]
        assert len(actors) == 2, descendants(nodes.process.pid)
        kill(actors[0])
        scored(out, len(journal(out)) + 4, process)
        assert end(process, signal.SIGKILL)[0] == -signal.SIGKILL
        assert len(journal(out)) < 32 and not out.exists(), "in the middle"
        again = begun(out, 0, *on_ray)
        scored(out, len(journal(out)) + 1, again)
        kill(next(pid for pid, line in descendants(nodes.process.pid).items() if "MapWorker" in line))
        _, err = again.communicate(timeout=PATIENCE)
        assert (again.returncode, err) == (0, undisturbed.err), "nothing of Ray's"
    assert table(out) == table(whole)


def test_interrupted_and_a_file_changed(command: Command, bundle: Path, few: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    code, err = end(begun(out, 2, bundle, few), signal.SIGINT)
    assert code == 130 and len(err.splitlines()) == 1 and "interrupted" in err
    assert not out.exists() and len(journal(out)) >= 3
    unlike = (few / "0001.png").resolve()
    (few / "0070.png").unlink()
    shutil.copy(unlike, few / "0070.png")  # of the second chunk
    assert command("score", bundle, few, "--out", out).code == 0
    rows = {Path(row["path"]).name: row for row in table(out)}
    assert len(table(out)) == len(rows) == 400
    assert rows["0070.png"]["score"] == rows["0001.png"]["score"] != rows["0022.png"]["score"], "not as it was"


def test_a_journal_of_another_detector_is_not_gone_on_from(
    command: Command, bundle: Path, few: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.csv"
    partial = out.with_name("scores.csv.partial")
    interrupt_after(command, 3)
    assert command("score", bundle, few, "--out", out).code == 130
    command.monkeypatch.undo()
    first, *others = partial.read_text().splitlines()
    head = json.loads(first)
    for change, reused in (({}, 3), ({"detector": "0" * 16}, 0), ({"heatmaps": "maps"}, 0)):
        other = head | {"scoring": head["scoring"] | change}
        partial.write_text("\n".join([json.dumps(other), *others]) + "\n")
        added: list[int] = []
        command.monkeypatch.setattr(Journal, "add", told(added, Journal.add))
        assert command("score", bundle, few, "--out", out).code == 0
        command.monkeypatch.undo()
        assert len(added) == 7 - reused and len(table(out)) == 400


def interrupt_after(command: Command, chunks: int) -> None:
    """Ctrl-C once so many chunks are kept."""
    add, left = Journal.add, count(chunks - 1, -1)

    def interrupted(self: Journal, *arguments: Any) -> None:
        add(self, *arguments)
        if next(left) == 0:
            signal.raise_signal(signal.SIGINT)

    command.monkeypatch.setattr(Journal, "add", interrupted)


def test_the_drift_log_has_one_line_a_call(command: Command, bundle: Path, tests: Path, tmp_path: Path) -> None:
    """Also where the call ends after the line and before the journal has gone."""
    log, out = tmp_path / "drift.jsonl", tmp_path / "scores.csv"
    arguments = ("score", bundle, tests, "--out", out, "--drift-log", log)
    command.monkeypatch.setattr(Journal, "remove", lambda self: signal.raise_signal(signal.SIGINT))
    assert command(*arguments).code == 130
    lines = log.read_text()
    assert out.exists() and len(lines.splitlines()) == 1
    command.monkeypatch.undo()
    assert command(*arguments).code == 0 and log.read_text() == lines
    assert command(*arguments).code == 0 and len(log.read_text().splitlines()) == 2, "a call of its own"
