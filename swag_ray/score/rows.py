"""Image files to rows: found, read, scored by a detector bundle in this process.

Shapes: n images of a batch, K folds.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.detector.bundle import digest_of, load_backbone, load_detector
from swag_ray.detector.detector import Detector
from swag_ray.errors import InputError, reason_of
from swag_ray.features.extract import decode, embed
from swag_ray.images import layout
from swag_ray.images.decode import read_grey
from swag_ray.images.image_reader import ImageReader, images_of
from swag_ray.record.files import ARRAYS_FILE, BACKBONE_FILE, DETECTOR_FILE, DETECTOR_FOLDER, TRUSTED_FILE
from swag_ray.record.remote import local_copy
from swag_ray.system.threads import one_thread

if TYPE_CHECKING:
    from swag_ray.features.backbone import Backbone

BUNDLE = (DETECTOR_FILE, ARRAYS_FILE, BACKBONE_FILE, TRUSTED_FILE)  # what `detector/` holds, or a copy of it
SCORED = "scored"  # the status of an image that has a score; of any other the reason
CHUNK = 64  # images that are decoded and scored at a time
NO_BYTES = hashlib.sha256().hexdigest()


@dataclass(frozen=True)
class ScoredFiles:
    """Image files that a detector has scored.

    Attributes:
        detector, digest: the detector, and what names it.
        rows: of `score_files`, one per image.
        left_out: files in the folders that are no images, by reason.
    """

    detector: Detector
    digest: str
    rows: list[dict[str, Any]]
    left_out: dict[str, int]

    @property
    def good(self) -> list[dict[str, Any]]:
        """Rows of images that have a score."""
        return [row for row in self.rows if row["status"] == SCORED]

    @property
    def unreadable(self) -> tuple[str, ...]:
        """`path: reason` of the others."""
        return tuple(f"{row['path']}: {row['status']}" for row in self.rows if row["status"] != SCORED)

    @property
    def score_nK(self) -> NDArray[np.float64]:
        """Scores of the good rows by every fold."""
        return np.stack([row["score_K"] for row in self.good])

    @property
    def site_nK(self) -> NDArray[np.float64]:
        """Their site scores by every fold."""
        return np.stack([row["site_K"] for row in self.good])


@contextmanager
def detector_folder(run_dir: str | Path) -> Iterator[Path]:
    """Yields the folder of a run's bundle, or of a copy of it; one on s3:// is copied here meanwhile."""
    with local_copy(run_dir, "score", f"{DETECTOR_FOLDER}/", *BUNDLE) as run:
        yield run / DETECTOR_FOLDER if (run / DETECTOR_FOLDER).is_dir() else run


def detector_digest(run_dir: str | Path) -> str:
    """Returns what names the detector of a run directory or a copied bundle. Raises InputError where there is none."""
    with detector_folder(run_dir) as folder:
        return digest_of(folder)


def score_images(command: str, run_dir: str | Path, images: Sequence[Path]) -> ScoredFiles:
    """Scores files and folders with the detector of a run directory or a copied bundle.

    Raises:
        InputError: no detector, no image, or none that can be read.
    """
    left_out: Counter[str] = Counter()
    paths = find_images(command, images, left_out)
    with detector_folder(run_dir) as folder:
        detector = load_detector(folder)
        paths = images_of(paths, detector.spec.frames, command)
        scored = ScoredFiles(detector, digest_of(folder), list(score_files(folder, detector, paths)), dict(left_out))
    if not scored.good:
        raise InputError(f"{command}: none of the {len(paths)} images can be read; the first is {scored.unreadable[0]}")
    return scored


def find_images(command: str, images: Sequence[Path], left_out: Counter[str]) -> list[Path]:
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
            raise InputError(f"{command}: no file or folder '{path}'")
    if not found:
        others = f" ({held})" if (held := layout.left_out(left_out)) else ""
        suffixes = ", ".join(layout.IMAGE_SUFFIXES)
        raise InputError(f"{command}: no image ({suffixes}) in {', '.join(map(str, images))}{others}")
    return list(dict.fromkeys(found))


def score_files(folder: Path, detector: Detector, paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Score image files with a detector and the backbone of its bundle in `folder`, in this process.

    Yields:
        path, score, p, score_K and site_K (None without a score), out_of_domain (why it is unlike anything the
        detector was made for, or None), seconds (its share of its batch's time), status (`scored`, or why it cannot be
        read); look, sha256 (of the file) and top for what is doubtful.
    """
    backbone = load_backbone(folder, detector.spec)
    reader = ImageReader(detector.spec.frames)
    # As the run's actors: with more threads, torch convolves otherwise and scores differ a little.
    with one_thread("faiss"):  # every detector asks a bank
        for i in range(0, len(paths), CHUNK):
            yield from _scored(detector, backbone, reader, paths[i : i + CHUNK])


def _scored(
    detector: Detector, backbone: Backbone, reader: ImageReader, chunk: Sequence[Path]
) -> Iterator[dict[str, Any]]:
    spec, start = detector.spec, time.perf_counter()
    data, digests, denied = zip(*(_read(reader, path) for path in chunk), strict=True)
    reads = [
        partial(read_grey, content, spec.image_size, spec.reading.of(path))
        for content, path in zip(data, chunk, strict=True)
    ]
    rows = list(embed(backbone, map(decode, reads)))
    for row, reason in zip(rows, denied, strict=True):
        row["error"] = reason or row["error"]
    strange = detector.out_of_domain(rows)
    good = [row["features"] for row in rows if row["error"] is None]
    if good:
        score_nK, site_nK = detector.scores_and_site({s: np.stack([f[s] for f in good]) for s in spec.strides})
        values = iter(zip(score_nK, site_nK, detector.p_values(score_nK), strict=True))
    seconds = (time.perf_counter() - start) / len(chunk)
    for path, row, sha256, why in zip(chunk, rows, digests, strange, strict=True):
        score_K, site_K, p = next(values) if row["error"] is None else (None, None, None)
        yield {
            "path": os.fsencode(path).decode(errors="replace"),  # a name may be of another encoding
            "score": None if score_K is None else float(score_K.mean()), "p": None if p is None else float(p),
            "out_of_domain": why, "score_K": score_K, "site_K": site_K, "status": row["error"] or SCORED,
            "seconds": seconds, "top": row["top"],
            "look": (row["statistics"][0], row["width"], row["height"]) if row["statistics"] else None,
            "sha256": sha256,
        }  # fmt: skip


def _read(reader: ImageReader, path: Path) -> tuple[bytes, str, str | None]:
    """A file's bytes and their SHA-256, or none and why."""
    try:
        data, sha256, _ = reader.read_hashed(path)
    except OSError as error:
        return b"", NO_BYTES, reason_of(error)
    return data, sha256, None
