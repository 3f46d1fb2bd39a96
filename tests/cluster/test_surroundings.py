"""Where a local Ray's session can lie, which limits are too low for it, and how its failures are told. Starts none."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from swag_ray.cluster import local_ray, surroundings
from swag_ray.cluster.surroundings import LONGEST, low_limits, reason_and_advice, session_place, unfit
from swag_ray.doctor.examine import session_folder
from swag_ray.errors import InputError
from tests.doctor.inputs import said
from tests.support.small_disk import SmallDisk


def test_a_busy_machine_gets_more_time_than_ray_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import services

    asked: list[float] = []

    def get_node(*arguments: object) -> str:
        asked.append(time.monotonic())
        if len(asked) < 4:
            raise RuntimeError("the raylet has not registered yet")
        return "a node"

    monkeypatch.setattr(services, "get_node", get_node)
    with local_ray._patience():
        assert services.get_node("an address") == "a node" and len(asked) == 4
    assert services.get_node is get_node
    monkeypatch.setattr(local_ray, "START_SECONDS", 0.3)
    asked.clear()
    with local_ray._patience(), pytest.raises(RuntimeError, match="not registered"):
        services.get_node("an address")
    assert 1 < len(asked) < 4


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def want(**variables: str) -> None:
        for name in ("RAY_TMPDIR", "TMPDIR"):
            monkeypatch.delenv(name, raising=False)
        for name, folder in variables.items():
            monkeypatch.setenv(name, folder)

    return want


def test_a_folder_fits_to_the_last_byte(tmp_path: Path) -> None:
    assert unfit("/" + "x" * (LONGEST - 1)) == ""
    assert unfit("/" + "x" * LONGEST) == f"is too long for Ray's sockets ({LONGEST + 1} bytes, at most {LONGEST})"
    assert "too long" in unfit("/" + "ö" * (LONGEST // 2 + 1)), "bytes count, not letters"


def test_folders_that_do_not_fit(small_disk: Callable[[str], SmallDisk], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "LONGEST", 1000)
    assert unfit("relative") == "is not an absolute path"
    assert unfit("/proc/none") in ("may not be written to", "has no room (0 bytes free)")  # root may all
    assert unfit("/etc/hostname/ray") == "is not a folder"
    disk = small_disk("1m")
    assert unfit(str(disk.path)) == "has no room (1.0 MB free)"
    monkeypatch.setenv("VIRTUAL_ENV", str(disk.path.parent))
    assert unfit(str(disk.path)).startswith("lies in the virtual environment")


def test_the_first_folder_that_fits_is_taken_and_the_doctor_says_why(wanted: Callable[..., None]) -> None:
    wanted(RAY_TMPDIR="/proc", TMPDIR="/" + "x" * 110)
    place = session_place()
    assert place.folder == "/tmp" and [variable for variable, _, _ in place.refused] == ["RAY_TMPDIR", "TMPDIR"]
    _, first, second = session_folder()
    assert said(first).startswith("note: RAY_TMPDIR '/proc' ") and "Ray's session goes to '/tmp'" in said(first)
    assert "too long for Ray's sockets (111 bytes" in second.text
    wanted(RAY_TMPDIR="/dev/shm")
    assert session_place() == surroundings.Place("/dev/shm")


def test_no_folder_is_one_line(wanted: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    wanted(TMPDIR="/proc")
    monkeypatch.setattr(surroundings, "SYSTEM_FOLDERS", ("/sys",))
    with pytest.raises(
        InputError, match=r"^cluster: no folder for Ray's session \('/proc' .*, '/sys' .*set RAY_TMPDIR"
    ):
        session_place()
    (found,) = session_folder()
    assert found.state == "problem" and "no folder for Ray's session" in found.text and "RAY_TMPDIR" in found.advice


@pytest.mark.parametrize(("limit", "words"), [("-n 100", "100 files"), ("-v 4000000", "4.1 GB of addresses")])
def test_low_limits_are_known_beforehand(limit: str, words: str) -> None:
    assert not list(low_limits()), "here there are none"
    code = (
        "from swag_ray.cluster.surroundings import check_limits, low_limits\n"
        "print(*low_limits())\n"
        "try: check_limits()\n"
        "except Exception as error: print(type(error).__name__)"
    )
    program = ["sh", "-c", f'ulimit {limit}; exec "$@"', "sh", sys.executable, "-c", code]
    ended = subprocess.run(program, capture_output=True, text=True, check=True)
    assert words in ended.stdout and ended.stdout.endswith("InputError\n")


@pytest.mark.parametrize(
    ("error", "reason", "advice"),
    [
        (OSError(errno.EMFILE, "x"), "too many files are open", "ulimit -n"),
        (OSError(errno.ENOSPC, "x"), "no space is left", "RAY_TMPDIR"),
        (PermissionError(errno.EACCES, "x", "/a"), "'/a': Permission denied", "must be able to read and write it"),
        (MemoryError(), "there is not enough memory", "end other programs"),
        (Exception("The current node timed out during startup. This could"), "did not come up in time", "too busy"),
        (RuntimeError("odd\nthing"), "odd thing", "swag-ray doctor"),
    ],
)
def test_failures_of_the_start_in_words(error: BaseException, reason: str, advice: str) -> None:
    found = reason_and_advice(error)
    assert reason in found[0] and advice in found[1] and "\n" not in "".join(found)
