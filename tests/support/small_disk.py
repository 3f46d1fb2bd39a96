"""A disk of a few kilobytes, to be filled for real. Without the right to mount, tests that ask for one are skipped."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class SmallDisk:
    """A tmpfs of its own."""

    path: Path

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.path)], check=True, capture_output=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=True, capture_output=True)


def mount(path: Path, size: str) -> SmallDisk:
    """An empty disk of that size at `path`; skips the test where mounting is refused."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "swag-ray-test", str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be mounted here: {getattr(error, 'stderr', None) or error}")
    return SmallDisk(path)
