"""What a benchmark is made of: interleaved repetitions, a row of the table, a goal, the machine.

A figure is the median over the repetitions of the ratio within a repetition, both sides measured next to each other,
so that a machine that slows down for a minute slows down both.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("ray", "torch", "torchvision", "timm", "faiss-gpu", "faiss-cpu", "scikit-learn", "numpy", "pyarrow")
Kind = Literal["speed-up", "share", "rate"]


class Skip(Exception):
    """A benchmark that cannot run here; the message is the word for the table."""


@dataclass(frozen=True)
class Goal:
    """A stated goal: the row's ratio, or our own median, is at least or at most `limit`."""

    limit: float
    at_least: bool = False
    of: Literal["ratio", "ours"] = "ratio"

    def text(self, unit: str) -> str:
        shown = f"{self.limit:g} {unit}" if self.of == "ours" else f"{self.limit:g} x"
        return f"{'>=' if self.at_least else '<='} {shown}"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        family, name: which benchmark.
        ours, reference: repetitions, in pairs; a single reference stands for all. No reference: shown, not compared.
        unit: of both.
        kind: `speed-up` reference / ours; `share` ours / reference (less is better); `rate` ours / reference (more is).
        against: what the reference is.
        goal: stated goal, or None.
        note: what a reader must know; also what was extrapolated or stated and not measured.
    """

    family: str
    name: str
    ours: Sequence[float]
    reference: Sequence[float] = ()
    unit: str = "s"
    kind: Kind = "share"
    against: str = ""
    goal: Goal | None = None
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        if not self.reference:
            return []
        reference = list(self.reference) * (len(self.ours) if len(self.reference) == 1 else 1)
        pairs = zip(self.ours, reference, strict=True)
        return [r / o if self.kind == "speed-up" else o / r for o, r in pairs]

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        figure = statistics.median(self.ratios if self.goal.of == "ratio" else self.ours)
        return figure >= self.goal.limit if self.goal.at_least else figure <= self.goal.limit

    def record(self) -> dict[str, Any]:
        """The row for bench.json, with all raw repetitions."""
        r = self.ratios
        out = asdict(self) | {"ours": list(self.ours), "reference": list(self.reference), "met": self.met}
        out["ratio"] = {"median": statistics.median(r), "lowest": min(r), "highest": max(r)} if r else None
        out["goal"] = self.goal.text(self.unit) if self.goal else None
        return out


@dataclass(frozen=True)
class Bench:
    """What every family works with.

    Attributes:
        quick: small sizes, one repetition.
        folder: scratch, removed by the caller.
        store: where features are kept between families.
        xrays: the real X-rays, or None.
        cores: of this machine.
    """

    quick: bool
    folder: Path
    store: Path
    xrays: Path | None
    cores: int

    def repetitions(self, full: int) -> int:
        return 1 if self.quick else full

    def require_xrays(self) -> Path:
        if self.xrays is None:
            raise Skip("the real X-rays are not beside the repository (../shared/data/chest_xray)")
        return self.xrays


def interleaved(sides: Mapping[str, Callable[[], Any]], repetitions: int) -> tuple[dict[str, list[float]], Any]:
    """Seconds of every side, one after the other within each repetition, and what each returned last."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    returned: dict[str, Any] = {}
    for _ in range(repetitions):
        for name, work in sides.items():
            start = time.perf_counter()
            returned[name] = work()
            seconds[name].append(time.perf_counter() - start)
    return seconds, returned


def machine() -> dict[str, Any]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory / 2**30, 1) if memory else None,
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
