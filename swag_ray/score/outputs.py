"""Where `swag-ray score` and `calibrate` may write: a wrong place is refused before anything is scored."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from swag_ray.detector.detector import Detector
from swag_ray.errors import InputError
from swag_ray.images.places import locate
from swag_ray.record.files import (
    CARD_TEXT_FILE,
    CONFIG_FILE,
    DETECTOR_FILE,
    DETECTOR_FOLDER,
    PLOTS_FOLDER,
    PROFILE_FILE,
    SWEEP_FILE,
    SWEEP_REPORT_FILE,
    TRIALS_FILE,
    TRIALS_TEXT_FILE,
)
from swag_ray.record.run_directory import FIRST_GONE, REPLACED
from swag_ray.score.scorer import BUNDLE

FORMATS = (".csv", ".json", ".parquet")
STDOUT = "-"
# What a folder is, the files that it is known by, and the names there that are its own.
OWNERS = (
    ("run", (CONFIG_FILE, f"{DETECTOR_FOLDER}/{DETECTOR_FILE}"), (*FIRST_GONE, *REPLACED, PROFILE_FILE)),
    ("detector", (DETECTOR_FILE,), (*BUNDLE, CARD_TEXT_FILE)),
    ("sweep", (SWEEP_FILE,), (SWEEP_FILE, SWEEP_REPORT_FILE, TRIALS_FILE, TRIALS_TEXT_FILE)),
)


def check_out(out: str) -> None:
    """Refuses a place that the table cannot be written to. Raises InputError."""
    if out == STDOUT:
        return
    if Path(out).suffix.lower() not in FORMATS:
        raise InputError(f"--out: '{out}' must end in {', '.join(FORMATS)}, or be - for CSV on the terminal")
    check_place("--out", Path(out))


def check_report(file: Path) -> None:
    """Refuses a place that the page cannot be written to. Raises InputError."""
    if file.suffix.lower() != ".html":
        raise InputError(f"--report: '{file}' must end in .html")
    check_place("--report", file)


def check_heatmaps(folder: Path, detector: Detector) -> None:
    """Refuses heatmaps that there are none of, or a folder that they cannot be written to.

    Raises:
        InputError: the detector was saved without a scale of heatmaps, or no folder can be made there.
    """
    if detector.heat is None:
        raise InputError(f"--heatmaps: '{detector.name}' keeps no scale of heatmaps", "run again")
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(f"--heatmaps: cannot write to '{folder}'", "choose another place")


def check_place(option: str, path: Path) -> None:
    """Refuses a file that cannot be written as a whole. Raises InputError."""
    if not path.parent.is_dir():
        raise InputError(f"{option}: no folder '{path.parent}'", "make it first")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"{option}: cannot write '{path}'", "choose another place")


def check_written(files: Sequence[tuple[str, Path]], heatmaps: Path | None, given: Sequence[str | Path]) -> None:
    """Refuses to write over what is read or what a run keeps, into either, or twice to one place.

    Args:
        files: that are written, each with its option.
        heatmaps: folder of the overlays.
        given: what is read: images, folders of them, tables; addresses on s3:// too, which nothing is written to.

    Raises:
        InputError: the first place that is wrong.
    """
    read = [os.path.realpath(one) for one in given if isinstance(locate(one), Path)]
    taken: dict[str, str] = {}
    for option, file in [*files, *([("--heatmaps", heatmaps)] if heatmaps is not None else [])]:
        there = os.path.realpath(file)
        if there in taken:
            raise InputError(f"{option}: '{file}' is where {taken[there]} writes", "choose another place")
        taken[there] = option
    for option, file in files:
        if os.path.realpath(file) in read:
            raise InputError(f"{option}: '{file}' is read, and would be written over", "choose another file")
        if owner := _owner(Path(os.path.realpath(file))):
            raise InputError(f"{option}: '{file}' is a file of the {owner} there itself", "choose another name")
    if heatmaps is not None:
        _check_overlays(heatmaps, [Path(place) for place in read])


def _check_overlays(folder: Path, read: Sequence[Path]) -> None:
    there = Path(os.path.realpath(folder))
    around = (there, *there.parents)
    if holder := next((place for place in read if place in around), None):
        raise InputError(f"--heatmaps: '{folder}' lies in '{holder}', of which all is scored", "choose another folder")
    if any(place.name in (DETECTOR_FOLDER, PLOTS_FOLDER) and _owner(place) for place in around):
        raise InputError(f"--heatmaps: '{folder}' lies in a folder of the run's own", "choose another folder")


def _owner(path: Path) -> str:
    """What keeps a file or folder of this name beside its others; "" for nothing."""
    for owner, known_by, names in OWNERS:
        if path.name in names and all((path.parent / name).is_file() for name in known_by):
            return owner
    return ""
