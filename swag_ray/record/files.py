"""Names of the files of a run directory, and writes that are whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from swag_ray.errors import StorageError, reason_of


def write_json(path: Path, record: dict[str, Any]) -> None:
    write_text(path, json.dumps(record, indent=2, allow_nan=False) + "\n")


CONFIG_FILE, METRICS_FILE, MANIFEST_FILE = "config.yaml", "metrics.json", "manifest.json"

PROFILE_FILE = "profile.json"


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """A write that fails is the one line it is."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"--out: cannot write to '{directory}' ({reason_of(error)})",
            "make room or gain access there, or choose another folder",
        ) from error


def write_text(path: Path, text: str) -> None:
    """The file, whole or not at all."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
