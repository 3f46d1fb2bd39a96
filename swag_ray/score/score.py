"""`swag-ray score`: image files and folders in, one table out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swag_ray.detector.bundle import load_backbone, load_detector
from swag_ray.detector.detector import Detector
from swag_ray.errors import InputError, reason_of
from swag_ray.features.extract import extract
from swag_ray.images.layout import IMAGE_SUFFIXES
from swag_ray.record.files import (
    ARRAYS_FILE,
    BACKBONE_FILE,
    DETECTOR_FILE,
    DETECTOR_FOLDER,
    write_table,
    write_text,
)
from swag_ray.record.remote import local_copy
from swag_ray.system.files import whole_file

if TYPE_CHECKING:
    from swag_ray.features.backbone import Backbone

FORMATS = (".csv", ".json", ".parquet")

BUNDLE = (DETECTOR_FILE, ARRAYS_FILE, BACKBONE_FILE)  # what `detector/` holds, or a copy of it

COLUMNS = ("path", "score", "p", "above_threshold", "seconds")
CHUNK = 64  # images that are decoded and scored at a time


@dataclass(frozen=True)
class Counts:
    """What became of the images; `unreadable` holds `path: reason`, and those are not in the table."""

    scored: int
    flagged: int
    rate: float
    unreadable: tuple[str, ...]


def score_to_file(run_dir: str | Path, images: Sequence[Path], out: Path) -> Counts:
    """Score all images with the detector of a run directory (or a copied bundle) and write the table.

    Raises:
        InputError: no detector, no image, an unknown format, or no readable image; then nothing is written.
    """
    if out.suffix.lower() not in FORMATS:
        raise InputError(f"--out: '{out}' must end in {', '.join(FORMATS)}")
    if not out.parent.is_dir():
        raise InputError(f"--out: no folder '{out.parent}'", "make it first")
    if out.is_dir() or not os.access(out.parent, os.W_OK):
        raise InputError(f"--out: cannot write '{out}'", "choose another place")
    paths = find_images(images)
    from swag_ray.detector.bundle import load_detector

    with local_copy(run_dir, "score", f"{DETECTOR_FOLDER}/", *BUNDLE) as run:
        folder = run / DETECTOR_FOLDER if (run / DETECTOR_FOLDER).is_dir() else run
        detector = load_detector(folder)
        rows = list(score_files(folder, paths))
    good = [{name: row[name] for name in COLUMNS} for row in rows if row["error"] is None]
    unreadable = tuple(f"{row['path']}: {row['error']}" for row in rows if row["error"] is not None)
    if not good:
        raise InputError(f"score: none of the {len(rows)} images can be read; the first is {unreadable[0]}")
    _write(good, out)
    return Counts(len(good), sum(bool(row["above_threshold"]) for row in good), detector.rate, unreadable)


def find_images(images: Sequence[Path]) -> list[Path]:
    """Files as given, folders searched at any depth; hidden files are left out.

    Raises:
        InputError: a path that does not exist, or no image at all.
    """
    found: list[Path] = []
    for path in images:
        if path.is_dir():
            inside = (p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
            found.extend(sorted(inside))
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"score: no file or folder '{path}'")
    if not found:
        raise InputError(f"score: no image ({', '.join(IMAGE_SUFFIXES)}) in {', '.join(map(str, images))}")
    return list(dict.fromkeys(found))


def _write(rows: list[dict[str, Any]], out: Path) -> None:
    import pyarrow as pa
    from pyarrow import csv

    table = pa.Table.from_pylist(rows)
    try:
        match out.suffix.lower():
            case ".csv":
                with whole_file(out) as draft:
                    csv.write_csv(table, draft)
            case ".parquet":
                write_table(out, table)
            case _:
                import json

                write_text(out, json.dumps(rows, indent=2))
    except OSError as error:
        raise InputError(f"--out: cannot write '{out}' ({reason_of(error)})", "choose another place") from error


def score_files(folder: Path, paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Score image files with the bundle in `folder`, in this process.

    Yields:
        path, score, p, above_threshold, seconds (its share of its batch's time), error (None, or why it cannot be
        read).
    """
    import torch

    detector = load_detector(folder)
    backbone = load_backbone(folder, detector.spec)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as the run's actors: with more, torch convolves otherwise and scores differ a little
    try:
        for i in range(0, len(paths), CHUNK):
            yield from _scored(detector, backbone, paths[i : i + CHUNK])
    finally:
        torch.set_num_threads(before)


def _scored(detector: Detector, backbone: Backbone, chunk: Sequence[Path]) -> Iterator[dict[str, Any]]:
    spec, start = detector.spec, time.perf_counter()
    data, denied = zip(*map(_read, chunk), strict=True)
    rows = list(extract(backbone, data, spec.image_size))
    for row, reason in zip(rows, denied, strict=True):
        row["error"] = reason or row["error"]
    good = [row["features"] for row in rows if row["error"] is None]
    if good:
        score_nK = detector.scores({s: np.stack([f[s] for f in good]) for s in spec.strides})
        values = iter(zip(score_nK.mean(axis=1), detector.p_values(score_nK), strict=True))
    seconds = (time.perf_counter() - start) / len(chunk)
    for path, row in zip(chunk, rows, strict=True):
        score, p = next(values) if row["error"] is None else (None, None)
        yield {
            "path": os.fsencode(path).decode(errors="replace"),  # a name may be of another encoding
            "score": None if score is None else float(score), "p": None if p is None else float(p),
            "above_threshold": None if p is None else bool(p <= detector.rate),
            "seconds": seconds, "error": row["error"],
        }  # fmt: skip


def _read(path: Path) -> tuple[bytes, str | None]:
    """A file's bytes, or none and why."""
    try:
        return path.read_bytes(), None
    except OSError as error:
        return b"", reason_of(error)
