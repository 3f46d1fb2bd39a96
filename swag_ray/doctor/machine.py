"""What this machine, and the container or job that this process lives in, has: read from the system, nothing started.

A limit may be set at any level of the cgroup tree, and Ray looks at the top one only; here all levels count.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")


@dataclass(frozen=True)
class Machine:
    """Cores and memory.

    Attributes:
        cores: of the machine; `core_limit` is what the container or job may use of them, None where it may use all.
        memory: bytes of the machine; `memory_limit` likewise.
        memory_free: bytes that can be had without swapping, by machine and limit; None where the system does not tell.
    """

    cores: int
    core_limit: float | None
    memory: int
    memory_limit: int | None
    memory_free: int | None

    @property
    def usable_cores(self) -> int:
        """Whole cores, at least one."""
        return self.cores if self.core_limit is None else max(1, min(self.cores, int(self.core_limit)))

    @property
    def usable_memory(self) -> int:
        """Bytes."""
        return self.memory if self.memory_limit is None else self.memory_limit


@dataclass(frozen=True)
class Disk:
    """A file system: the folder that was looked at, and bytes in all and free to this user."""

    folder: Path
    total: int
    free: int


def read_machine(root: Path = ROOT, cores: int | None = None, affinity: int | None = None) -> Machine:
    """This machine. Tests give the folder that the system's files lie in, and what it says of its cores."""
    cores = cores or os.cpu_count() or 1
    if affinity is None:
        affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    limits = [limit for limit in (_core_limit(root), float(affinity)) if limit is not None and limit < cores]
    memory, free = _memory(root)
    levels = [(limit, used) for limit, used in _memory_levels(root) if limit < memory]
    if free is not None:
        free = min([free, *(max(0, limit - used) for limit, used in levels)])
    return Machine(cores, min(limits, default=None), memory, min((limit for limit, _ in levels), default=None), free)


def disk(folder: str | Path) -> Disk:
    """The file system that holds `folder`, or would once it is made. Raises OSError when that cannot be found out."""
    path = Path(folder).expanduser().absolute()
    path = next((p for p in (path, *path.parents) if os.path.exists(p)), path)
    found = shutil.disk_usage(path)
    return Disk(path, found.total, found.free)


def shared_memory() -> Disk | None:
    """Where Ray keeps its object store on Linux; None elsewhere."""
    return disk("/dev/shm") if sys.platform == "linux" and os.path.isdir("/dev/shm") else None


def _memory(root: Path) -> tuple[int, int | None]:
    """(bytes of the machine, bytes free)."""
    text = _read(root / "proc/meminfo")
    if text is None:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), None
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    kilobytes = {name: int(value.split()[0]) for name, value in lines.items() if name in ("MemTotal", "MemAvailable")}
    free = kilobytes.get("MemAvailable")
    return kilobytes["MemTotal"] * 1024, None if free is None else free * 1024


def _core_limit(root: Path) -> float | None:
    """The lowest quota, in cores."""
    limits = []
    for folder in _levels(root, "cpu"):
        words = (_read(folder / "cpu.max") or "").split()
        if len(words) < 2:
            words = [_read(folder / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
        quota, period = (int(word) if word.strip().isdecimal() else 0 for word in words[:2])  # "max" and -1: no limit
        if quota and period:
            limits.append(quota / period)
    return min(limits, default=None)


def _memory_levels(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, bytes in use) of every level that has a limit; pages of files that can be dropped do not count."""
    for folder in _levels(root, "memory"):
        for limit_file, used_file, prefix in (
            ("memory.max", "memory.current", ""),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
        ):
            limit = (_read(folder / limit_file) or "").strip()
            if not limit.isdecimal():
                continue
            used = int(_read(folder / used_file) or 0)
            for line in (_read(folder / "memory.stat") or "").splitlines():
                name, _, value = line.partition(" ")
                if name in (f"{prefix}inactive_file", f"{prefix}active_file"):
                    used -= int(value)
            yield int(limit), used


def _levels(root: Path, controller: str) -> Iterator[Path]:
    """This process's cgroup and those above it, of version 2 and of version 1, as they are mounted here.

    Inside a container the path may name a place outside; then the top of what is mounted is the container's own.
    """
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        mount = root / "sys/fs/cgroup"
        if controllers:
            if controller not in controllers.split(","):
                continue
            mount = next((mount / name for name in (controllers, controller) if (mount / name).is_dir()), mount)
        inner = mount / path.lstrip("/")
        for folder in (inner, *inner.parents):
            yield folder
            if folder == mount:
                break


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None
