"""`swag-ray score`: image files and folders in, one table out."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swag_ray.detector.bundle import load_backbone, load_detector
from swag_ray.detector.detector import Detector
from swag_ray.errors import InputError, reason_of
from swag_ray.features.extract import extract
from swag_ray.images import layout
from swag_ray.images.deep import range_warnings
from swag_ray.images.oddities import inverted, looks_of, oddity_warnings, twins
from swag_ray.record.csv_cells import csv_cell
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
from swag_ray.system.threads import one_thread
from swag_ray.wording import plural

if TYPE_CHECKING:
    from swag_ray.features.backbone import Backbone

FORMATS = (".csv", ".json", ".parquet")

BUNDLE = (DETECTOR_FILE, ARRAYS_FILE, BACKBONE_FILE)  # what `detector/` holds, or a copy of it

COLUMNS = ("path", "score", "p", "above_threshold", "status", "seconds")
SCORED = "scored"  # the status of an image that has a score; of any other the reason
CHUNK = 64  # images that are decoded and scored at a time


@dataclass(frozen=True)
class Counts:
    """What became of the images.

    Attributes:
        scored, flagged: how many.
        rate: false-positive rate of a flag.
        unreadable: `path: reason`; their rows hold the reason and no score.
        left_out: files in the folders that are no images, by reason.
        warnings: what is doubtful of the scored ones, one line each.
    """

    scored: int
    flagged: int
    rate: float
    unreadable: tuple[str, ...]
    left_out: dict[str, int]
    warnings: tuple[str, ...]


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
    left_out: Counter[str] = Counter()
    paths = find_images(images, left_out)
    from swag_ray.detector.bundle import load_detector

    with local_copy(run_dir, "score", f"{DETECTOR_FOLDER}/", *BUNDLE) as run:
        folder = run / DETECTOR_FOLDER if (run / DETECTOR_FOLDER).is_dir() else run
        detector = load_detector(folder)
        rows = list(score_files(folder, paths))
    good = [row for row in rows if row["status"] == SCORED]
    unreadable = tuple(f"{row['path']}: {row['status']}" for row in rows if row["status"] != SCORED)
    if not good:
        raise InputError(f"score: none of the {len(rows)} images can be read; the first is {unreadable[0]}")
    _write([{name: row[name] for name in COLUMNS} for row in rows], out)
    flagged = sum(row["above_threshold"] for row in good)
    return Counts(len(good), flagged, detector.rate, unreadable, dict(left_out), tuple(_doubts(detector, good)))


def _doubts(detector: Detector, rows: list[dict[str, Any]]) -> list[str]:
    """What is doubtful of the images that have a score."""
    paths = [row["path"] for row in rows]
    looks = looks_of((row["look"] for row in rows), len(rows))
    twin_rows = twins(looks, [row["sha256"] for row in rows])
    lines = oddity_warnings(paths, looks.blank_N, inverted(looks, detector.typical), twin_rows)
    bits_N = np.array([row["top"].bit_length() if row["top"] else 0 for row in rows], np.uint8)
    return _unreachable(detector) + lines + range_warnings(paths, bits_N, detector.spec.white, given=True)


def _unreachable(detector: Detector) -> list[str]:
    """The line for a detector of so few seeds that no p-value is as low as its false-positive rate."""
    least = 1 / (len(detector.seed_s) + 1)
    if least <= detector.rate:
        return []
    return [
        f"score: no image can be flagged, whatever it shows: {plural(len(detector.seed_s), 'seed')} reach no p below "
        f"{least:.2g}, and the rate is {detector.rate:g}; rank by score, or build the detector from more seeds"
    ]


def find_images(images: Sequence[Path], left_out: Counter[str]) -> list[Path]:
    """Files as given, and what `images.layout` calls an image at any depth of folders; the rest is tallied by reason.

    Raises:
        InputError: a path that does not exist, or no image at all.
    """
    found: list[Path] = []
    for path in images:
        if path.is_dir():
            found.extend(layout.find_images(path, left_out))
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"score: no file or folder '{path}'")
    if not found:
        others = f" ({held})" if (held := layout.left_out(left_out)) else ""
        suffixes = ", ".join(layout.IMAGE_SUFFIXES)
        raise InputError(f"score: no image ({suffixes}) in {', '.join(map(str, images))}{others}")
    return list(dict.fromkeys(found))


def _write(rows: list[dict[str, Any]], out: Path) -> None:
    import pyarrow as pa
    from pyarrow import csv

    try:
        match out.suffix.lower():
            case ".csv":
                with whole_file(out) as draft:
                    csv.write_csv(
                        pa.Table.from_pylist([{k: csv_cell(v) for k, v in row.items()} for row in rows]), draft
                    )
            case ".parquet":
                write_table(out, pa.Table.from_pylist(rows))
            case _:
                import json

                write_text(out, json.dumps(rows, indent=2))
    except OSError as error:
        raise InputError(f"--out: cannot write '{out}' ({reason_of(error)})", "choose another place") from error


def score_files(folder: Path, paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Score image files with the bundle in `folder`, in this process.

    Yields:
        path, score, p, above_threshold (None without a score), seconds (its share of its batch's time), status
        (`scored`, or why it cannot be read); look, sha256 and top for what is doubtful.
    """
    detector = load_detector(folder)
    backbone = load_backbone(folder, detector.spec)
    # As the run's actors: with more threads, torch convolves otherwise and scores differ a little.
    with one_thread("faiss"):  # every detector asks a bank
        for i in range(0, len(paths), CHUNK):
            yield from _scored(detector, backbone, paths[i : i + CHUNK])


def _scored(detector: Detector, backbone: Backbone, chunk: Sequence[Path]) -> Iterator[dict[str, Any]]:
    spec, start = detector.spec, time.perf_counter()
    data, denied = zip(*map(_read, chunk), strict=True)
    rows = list(extract(backbone, data, spec.image_size, spec.white))
    for row, reason in zip(rows, denied, strict=True):
        row["error"] = reason or row["error"]
    good = [row["features"] for row in rows if row["error"] is None]
    if good:
        score_nK = detector.scores({s: np.stack([f[s] for f in good]) for s in spec.strides})
        values = iter(zip(score_nK.mean(axis=1), detector.p_values(score_nK), strict=True))
    seconds = (time.perf_counter() - start) / len(chunk)
    for path, row, content in zip(chunk, rows, data, strict=True):
        score, p = next(values) if row["error"] is None else (None, None)
        yield {
            "path": os.fsencode(path).decode(errors="replace"),  # a name may be of another encoding
            "score": None if score is None else float(score), "p": None if p is None else float(p),
            "above_threshold": None if p is None else bool(p <= detector.rate),
            "status": row["error"] or SCORED, "seconds": seconds, "top": row["top"],
            "look": (row["statistics"][0], row["width"], row["height"]) if row["statistics"] else None,
            "sha256": hashlib.sha256(content).hexdigest(),
        }  # fmt: skip


def _read(path: Path) -> tuple[bytes, str | None]:
    """A file's bytes, or none and why."""
    try:
        return path.read_bytes(), None
    except OSError as error:
        return b"", reason_of(error)
