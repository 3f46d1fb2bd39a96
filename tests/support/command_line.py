"""`swag-ray` as a user types it, in this process: what it prints, how it ends, what two runs must have in common."""

from __future__ import annotations

import copy
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from swag_ray.cli.commands import main


@dataclass(frozen=True)
class Ended:
    """Exit code and all that went to the terminal."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line of a bad input; anything more, or another exit code, is a failure."""
        assert self.code == 2, f"exit code {self.code}: {self.err}"
        lines = self.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("swag-ray: "), self.err
        assert not re.search(r"Traceback|Error\b|\[Errno", lines[0]), lines[0]
        return lines[0].removeprefix("swag-ray: ")


@dataclass(frozen=True)
class Command:
    """Calls the entry point. A fault of ours comes out as the exception that it is."""

    monkeypatch: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture[str]

    def __call__(self, *arguments: object) -> Ended:
        self.monkeypatch.setattr(sys, "argv", ["swag-ray", *map(str, arguments)])
        self.capfd.readouterr()
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            with pytest.raises(SystemExit) as end:
                main()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return Ended(int(end.value.code or 0), *self.capfd.readouterr())


def figures(metrics: dict[str, Any]) -> dict[str, Any]:
    """metrics.json without what a clock says."""
    plain = copy.deepcopy(metrics)
    plain.pop("timing", None)
    for row in plain["rounds"]:
        del row["seconds"]
    return plain


def borrowed(session_store: Path, store: Path) -> Path:
    """A store of its own, but for the images and their features."""
    for part in ("features", "datasets", "stages/index"):
        (store / part).parent.mkdir(exist_ok=True, parents=True)
        (store / part).symlink_to(session_store / part)
    return store
