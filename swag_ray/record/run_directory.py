"""The one rule for a folder that holds a run: what goes on in it, what is refused, and how new figures replace old.

A run goes on in place where only `store`, `cluster`, `report` and `controls` differ or `rounds` grows. Any other config
needs another folder. The files of a finished run stay as they are until those of the next are whole.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from swag_ray import config as cfg
from swag_ray.config import Config
from swag_ray.config.sections import CONTROLS
from swag_ray.errors import InputError
from swag_ray.record.directory import FolderTaken, check_directory, held
from swag_ray.record.files import (
    CARD_FILE,
    CARD_TEXT_FILE,
    CHANGES_FILE,
    CONFIG_FILE,
    DETECTOR_FOLDER,
    DRAFT,
    MANIFEST_FILE,
    METRICS_FILE,
    PLOTS_FOLDER,
    POOL_FILE,
    PROFILE_FILE,
    REPORT_FILE,
    ROUNDS_FILE,
    SCORES_FILE,
    SEEDS_FILE,
    explain_write_errors,
)
from swag_ray.system.files import aside, make_folders

RUNS, LATEST = Path("runs"), "latest"
FIRST_GONE = (METRICS_FILE, REPORT_FILE)  # without them nothing looks complete
# What the next run does not write is no part of it. A profile stays while the config is the same.
REPLACED = (
    CONFIG_FILE, MANIFEST_FILE, ROUNDS_FILE, SCORES_FILE, SEEDS_FILE, POOL_FILE, CHANGES_FILE, DETECTOR_FOLDER,
    PLOTS_FOLDER, CARD_FILE, CARD_TEXT_FILE,
)  # fmt: skip


def difference(there: Config, wanted: Config) -> str:
    """Returns the field that keeps a config from going on with the run of another one, in words; "" for none."""
    first = _first_difference(cfg.identity(there), cfg.identity(wanted))
    if not first and wanted.rounds < there.rounds:
        return f"rounds is {there.rounds} there, {wanted.rounds} here"
    return first


def check_run_directory(directory: Path, config: Config, overwrite: bool = False) -> None:
    """Refuses a folder that cannot become or stay the run of this config. Touches nothing.

    Args:
        overwrite: a run of any config may be replaced.

    Raises:
        FolderTaken: it holds a run that this config does not go on with; the line names the field.
        InputError: it holds foreign files, or cannot be written.
    """

    def other(path: Path) -> str:
        field = difference(config_there(path), config)
        return f"a run of another config ({field})" if field and not overwrite else ""

    check_directory(directory, CONFIG_FILE, other, "choose another folder, or replace that run with --overwrite")


def with_controls_there(directory: Path, config: Config) -> Config:
    """Returns the config with the controls of the finished run in the folder as well, whose figures are kept."""
    if not (directory / METRICS_FILE).exists():
        return config
    controls = (*config.controls, *config_there(directory / CONFIG_FILE).controls)
    ordered = tuple(name for name in CONTROLS if name in controls)
    return config.model_copy(update={"controls": ordered})


@contextmanager
def run_directory(out: Path | None, config: Config, overwrite: bool) -> Iterator[Path]:
    """Holds the folder of a run: `out`, or else the first of runs/NAME, runs/NAME-2, ... that the rule allows.

    Raises:
        InputError: see `check_run_directory` and `held`.
    """
    if out is not None:
        with held(out, partial(check_run_directory, out, config, overwrite)):
            yield out
        return
    with ExitStack() as stack:
        for place in _default_places(config.name):
            try:
                stack.enter_context(held(place, partial(check_run_directory, place, config, overwrite)))
            except FolderTaken:
                continue
            break
        yield place
        _point_latest_to(place)


@contextmanager
def whole_run(directory: Path) -> Iterator[Path]:
    """Yields an empty folder for the files of a run. When the block ends they take the place of those in `directory`.

    A kill in between leaves either the run that was there, or one that does not look complete.
    """
    draft = aside(directory / DRAFT)
    try:
        with explain_write_errors(directory):
            make_folders(draft)
        yield draft
        with explain_write_errors(directory):
            _replace(draft, directory)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _replace(draft: Path, directory: Path) -> None:
    names = sorted((p.name for p in draft.iterdir()), key=lambda name: (name == METRICS_FILE, name))
    of_another = () if _same_bytes(directory / CONFIG_FILE, draft / CONFIG_FILE) else (PROFILE_FILE,)
    for name in dict.fromkeys((*FIRST_GONE, *REPLACED, *of_another, *names)):
        there = directory / name
        if name == CONFIG_FILE:
            continue  # says whose the folder is, at any moment
        shutil.rmtree(there) if there.is_dir() and not there.is_symlink() else there.unlink(missing_ok=True)
    for name in names:
        (draft / name).replace(directory / name)


def _same_bytes(a: Path, b: Path) -> bool:
    return a.exists() and b.exists() and a.read_bytes() == b.read_bytes()


def _default_places(name: str) -> Iterator[Path]:
    yield RUNS / name
    yield from (RUNS / f"{name}-{number}" for number in itertools.count(2))


def _point_latest_to(directory: Path) -> None:
    """Has `latest`, beside the folder, lead to it, where the disk has links and nothing else is called so."""
    link = directory.parent / LATEST
    if link.exists() and not link.is_symlink():
        return
    draft = aside(link)
    with suppress(OSError):
        try:
            os.symlink(directory.name, draft, target_is_directory=True)
            draft.replace(link)
        finally:
            draft.unlink(missing_ok=True)


def config_there(path: Path) -> Config:
    """Returns the config of the run in a folder. Raises InputError where it is none of this version."""
    try:
        return cfg.load_config(path)
    except InputError as error:
        raise InputError(
            f"--out: '{path.parent}' holds a {path.name} that is no run's of this version ({error.problem})",
            "choose another folder",
        ) from error


def _first_difference(there: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> str:
    for key in sorted(there.keys() | wanted.keys()):
        a, b = there.get(key), wanted.get(key)
        if a != b:
            if isinstance(a, dict) and isinstance(b, dict):
                return _first_difference(a, b, f"{prefix}{key}.")
            return f"{prefix}{key} is {a!r} there, {b!r} here"
    return ""
