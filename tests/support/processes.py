"""Processes that a test started, found by descent: on a shared machine other people's look the same."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def descendants(pid: int) -> dict[int, str]:
    """{pid: command line} of all processes below this one."""
    parent: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # gone meanwhile
    below, level = {}, {pid}
    while level:
        level = {child for child, above in parent.items() if above in level}
        below |= {child: _command(child) for child in level}
    return below


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def wait_until_gone(pids: list[int], seconds: float = 30) -> list[int]:
    """Those of the processes that are still there after so many seconds."""
    deadline = time.monotonic() + seconds
    left = pids
    while left and time.monotonic() < deadline:
        left = [pid for pid in left if _command(pid)]
        time.sleep(0.05)
    return left


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
