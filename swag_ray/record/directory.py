"""The folder of a run: whose it is, who may write to it, and that nothing in it looks complete before it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from swag_ray import config as cfg
from swag_ray.config import Config
from swag_ray.errors import InputError, StorageError
from swag_ray.record.files import CONFIG_FILE, explain_write_errors, write_text
from swag_ray.system.files import is_aside, remove_asides


def check_directory(directory: Path, file: str, other: Callable[[Path], str]) -> None:
    """Refuses a folder that cannot become or stay this run's or sweep's. Touches nothing.

    Args:
        file: name of the file that claims the folder.
        other: reads the claim found there; says what holds the folder, and nothing where that is this run or sweep.

    Raises:
        InputError: the folder is another's, holds foreign files, or cannot be written.
    """
    with explain_write_errors(directory):
        existing = sorted(p.name for p in directory.iterdir()) if directory.exists() else []
        existing = [name for name in existing if not is_aside(name, file)]  # of a claim that was killed
        place = next(p for p in (directory.absolute(), *directory.absolute().parents) if p.exists())
        if not place.is_dir():
            raise NotADirectoryError(0, f"'{place}' is a file")
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(0, f"'{place}' is read-only")
    if file in existing:
        holder = other(directory / file)
        if holder:
            raise InputError(f"--out: '{directory}' holds {holder}", "choose another folder")
    elif existing:
        raise InputError(
            f"--out: '{directory}' holds something else ('{existing[0]}')", "choose an empty or new folder"
        )


def check_run_directory(directory: Path, config: Config) -> None:
    """Refuses a folder that cannot become or stay the run of this config; see `check_directory`."""

    def other(path: Path) -> str:
        held, wanted = cfg.identity(cfg.load_config(path)), cfg.identity(config)
        return "" if held == wanted else f"a run of another config ({_first_difference(held, wanted)})"

    check_directory(directory, CONFIG_FILE, other)


@contextmanager
def claim(directory: Path, file: str, text: str) -> Iterator[None]:
    """Make the folder this run's or sweep's, alone, for as long as it works.

    A bad input that shows only now, before there is anything to keep, leaves no claim behind: whoever mends the config
    would else be told that the folder holds a run of another one.

    Args:
        file, text: what claims it: the config.

    Raises:
        InputError: the folder cannot be written, or another process is at work in it.
    """
    with explain_write_errors(directory):
        made = not directory.exists()
        directory.mkdir(parents=True, exist_ok=True)
    with locked(directory):
        fresh = not (directory / file).exists()
        with explain_write_errors(directory):
            remove_asides(directory)
            write_text(directory / file, text)
        try:
            yield
        except StorageError:
            raise
        except InputError:
            if fresh and [p.name for p in directory.iterdir()] == [file]:
                (directory / file).unlink()
                if made:
                    directory.rmdir()
            raise


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with the process however that ends. Where there are none, go on without."""
    try:
        import fcntl

        handle = os.open(directory, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        with suppress(OSError):
            _lock(fcntl, handle, directory)
        yield
    finally:
        os.close(handle)


def _lock(fcntl: Any, handle: int, directory: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"--out: a run is at work in '{directory}'", "wait for it or choose another folder") from None


def _first_difference(held: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> str:
    for key in sorted(held.keys() | wanted.keys()):
        a, b = held.get(key), wanted.get(key)
        if a != b:
            if isinstance(a, dict) and isinstance(b, dict):
                return _first_difference(a, b, f"{prefix}{key}.")
            return f"{prefix}{key} is {a!r} there, {b!r} here"
    return "unknown"
