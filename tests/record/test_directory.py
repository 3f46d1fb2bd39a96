"""Whose a folder is, and that only one process at a time works in it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from swag_ray.errors import InputError, StorageError
from swag_ray.record import directory as module
from swag_ray.record.directory import FolderBusy, FolderTaken, claim, held, locked
from swag_ray.record.files import SOFT_LOCK_FILE


@contextmanager
def at_work(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has printed a line and now waits to be told to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "holds it\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


HOLDS = """
import sys
from pathlib import Path
from swag_ray.record.directory import locked
with locked(Path(sys.argv[1])):
    print("holds it", flush=True)
    sys.stdin.readline()
"""


def test_a_lock_is_held_by_one_process_and_ends_with_it(tmp_path: Path) -> None:
    with at_work(HOLDS, str(tmp_path)) as other:
        with pytest.raises(FolderBusy, match="a run is at work in"), locked(tmp_path):
            pass
        other.kill()
        other.wait()
        with locked(tmp_path):
            pass
    assert os.listdir(tmp_path) == [], "and leaves nothing"


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk without locks, as NFS is without its lock daemon."""

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)


WITHOUT_FLOCK = "import errno, fcntl\ndef refuse(*_): raise OSError(errno.ENOLCK, '')\nfcntl.flock = refuse\n" + HOLDS


def test_where_a_disk_has_no_locks_a_file_stands_for_one(no_flock: None, tmp_path: Path) -> None:
    with at_work(WITHOUT_FLOCK, str(tmp_path)) as other:
        with pytest.raises(FolderBusy, match=f"if none is at work on any machine, remove '.*{SOFT_LOCK_FILE}'"):
            locked(tmp_path).__enter__()
        other.kill()
        other.wait()
        assert os.listdir(tmp_path) == [SOFT_LOCK_FILE], "a killed process leaves its file"
        with locked(tmp_path):
            pass
    assert os.listdir(tmp_path) == []


def test_a_lock_that_cannot_be_taken_for_another_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(StorageError, match=r"^--out: cannot lock '.*' \(Input/output error\); gain access"):
        locked(tmp_path).__enter__()


def test_what_another_process_has_claimed_meanwhile_is_seen_under_the_lock(tmp_path: Path) -> None:
    """Two processes find the folder free; the second must not overwrite what the first has made of it."""
    folder, looked, go_on = tmp_path / "run", threading.Event(), threading.Event()
    ended: list[str] = []

    def check(wanted: str) -> Callable[[], None]:
        def refuse_others() -> None:
            path = folder / "config.yaml"
            if path.exists() and path.read_text() != wanted:
                raise FolderTaken(f"holds {path.read_text()}")
            if wanted == "second" and not looked.is_set():
                looked.set()
                go_on.wait(10)

        return refuse_others

    def second() -> None:
        try:
            with claim(folder, "config.yaml", "second", check("second")):
                ended.append("overwrote it")
        except FolderTaken as error:
            ended.append(str(error))

    thread = threading.Thread(target=second)
    thread.start()
    looked.wait(10)
    with claim(folder, "config.yaml", "first", check("first")):
        (folder / "metrics.json").write_text("{}")
    go_on.set()
    thread.join()
    assert ended == ["holds first"]
    assert (folder / "config.yaml").read_text() == "first" and (folder / "metrics.json").exists()


def test_a_folder_that_is_busy_for_a_moment_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(tmp_path), pytest.raises(FolderBusy), held(tmp_path):
        pass
    monkeypatch.setattr(module, "STARTING", 10.0)
    lock = locked(tmp_path)
    lock.__enter__()
    threading.Timer(0.3, lambda: lock.__exit__(None, None, None)).start()
    with held(tmp_path):
        pass


def test_a_folder_that_was_made_for_nothing_is_taken_away(tmp_path: Path) -> None:
    with pytest.raises(InputError), held(tmp_path / "new"):
        raise InputError("no")
    assert os.listdir(tmp_path) == []
