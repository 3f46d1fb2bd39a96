"""One table of an image set, whatever it came as, identical wherever the set is moved.

Columns, sorted by id, then split: id (file stem, "-", 8 hex digits of the bytes' SHA-256; of a DICOM, which exports
name by the patient, 16 of these alone), path (relative to `Listing.root`, with /), split ("train" or "test"),
class_name (as the config spells it; where a set has no classes, what the images are: seed, pool or test), kind (sort of
anomaly, or null), label (True = anomaly, null = unknown), sha256, file_bytes, group (patient or identical bytes, within
a split). An image that is in both train and test stands twice, under one id: (id, split) is the key.
With `dataset.frames: all`, each frame of a DICOM of several is an image: path, id and sha256 are those of
`images.frames`, file_bytes are the file's, and all frames of a file are in its group; `file` besides is the SHA-256 of
each row's file, in such sets alone.
Sets whose owner says who is trusted have `role` besides ("seed" or "pool"; null in test), and those of a manifest with
masks `mask`, as it is written there, null in train; the columns of a manifest come last, their names behind `COLUMN`.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeVar

import numpy as np
import pyarrow as pa

from swag_ray.errors import InputError, reason_of
from swag_ray.images.decode import MAX_PIXELS
from swag_ray.images.deep import may_be_deep
from swag_ray.images.dicom import HEAD, is_dicom, require_pydicom
from swag_ray.images.dicom_frames import count_frames
from swag_ray.images.dicom_patient import patient_digest
from swag_ray.images.frames import ALL, refuse_frame_names
from swag_ray.images.groups import PATIENT_GROUP, suggest_patients
from swag_ray.images.held_out import with_test_drawn
from swag_ray.images.identical import without_doubles, without_leaks
from swag_ray.images.image_file import ImageFile, Rules, with_groups
from swag_ray.images.known import Content, KnownFiles, Stamp, stamp_of
from swag_ray.images.layout import NESTED, left_out
from swag_ray.images.places import Place, below
from swag_ray.wording import clause

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("split", pa.string()),
        ("class_name", pa.string()),
        ("kind", pa.string()),
        ("label", pa.bool_()),
        ("sha256", pa.string()),
        ("file_bytes", pa.int64()),
        ("group", pa.string()),
    ]
)
COLUMN = "column:"  # before the names of a manifest's own columns, which may be any
READERS = 4  # hashing waits for the disk; more threads only queue there
ASKED = 4096  # files that are waited for at a time
LOOKED_AT = 256  # files that a thread looks at in one go
T = TypeVar("T")


@dataclass(frozen=True)
class Listing:
    """An image set as found.

    Attributes:
        root: absolute folder that the table's paths start from.
        table: one row per image, columns as in the module's docstring.
        warnings: one line each, for the user.
        ignored: folder, class or reason -> number of files that were left out.
        counts: train_groups, test_groups, same_id_files (left out), contradictory_images (files left out),
            identical_in_split (images with a copy in their split), in_train_and_test (images of train found in test);
            where there are any, left_out_of_test (by `dataset.on_leak`), seeds_in_pool (images of the pool that are
            seeds too), test_drawn (by `dataset.test_fraction`).
        deep: rows of the table whose file may hold 16 bits a sample: a PNG that says so, or a TIFF.
        folders: where images were looked for, if that is not `root`.
        left_out: names of files that were found and are no row, which a warning may name.
    """

    root: Place
    table: pa.Table
    warnings: tuple[str, ...]
    ignored: dict[str, int]
    counts: dict[str, int]
    deep: tuple[int, ...] = ()
    folders: tuple[Place, ...] = ()
    left_out: tuple[str, ...] = ()


def build_listing(
    root: Place,
    images: Sequence[ImageFile],
    rules: Rules,
    *,
    ignored: Counter[str],
    warnings: Sequence[str] = (),
    columns: pa.Table | None = None,
    masks: pa.ChunkedArray | None = None,
    folders: tuple[Place, ...] = (),
    known: KnownFiles | None = None,
) -> Listing:
    """Makes the table of the images that were found: hashes them, and leaves out what cannot be used twice.

    Args:
        root: that all of them are below.
        ignored: files that were left out, by reason.
        warnings: of the kind of dataset itself; those of the images come behind.
        columns, masks: of a manifest; `ImageFile.row` counts in them.
        folders: as in `Listing`.
        known: files that need not be read; those that are get added.

    Raises:
        InputError: an unreadable file, DICOM without pydicom, a pattern that is none, or a leak that is refused.
    """
    lines = list(warnings)
    refuse_frame_names((image.name for image in images), rules.frames, rules.called)
    files = _with_digests(images, rules.called, KnownFiles() if known is None else known)
    if any(file.dicom for file in files):
        require_pydicom()
    if rules.group == PATIENT_GROUP:
        files = _with_patients(files, rules)
    files, counts = without_doubles(files, rules, lines)
    if rules.frames == ALL:
        files = _with_frames(files, rules)
    drawn: dict[str, int] = {}
    if rules.test_fraction is not None:
        files, drawn = with_test_drawn(files, rules, rules.test_fraction, lines)
    files, leaked = without_leaks(files, rules, lines)
    files = [file for split in ("train", "test") for file in with_groups(files, split, rules.group)]
    counts |= {f"{split}_groups": _groups(files, split) for split in ("train", "test")} | leaked | drawn
    _warn(files, ignored, rules, counts, lines)
    named = sorted(((file.id, file) for file in files), key=lambda pair: (pair[0], pair[1].split))
    files = [file for _, file in named]
    deep = tuple(row for row, file in enumerate(files) if file.deep)
    table = _table([name for name, _ in named], files, root, columns, masks)
    gone = tuple(sorted({image.name for image in images} - {file.name for file in files}))
    return Listing(root, table, tuple(lines), dict(sorted(ignored.items())), counts, deep, folders, gone)


def further_columns(table: pa.Table) -> pa.Table:
    """Returns a manifest's own columns of a listing's table, under their own names; none where there are none."""
    names = [name for name in table.column_names if name.startswith(COLUMN)]
    return table.select(names).rename_columns([name.removeprefix(COLUMN) for name in names])


def _with_digests(images: Sequence[ImageFile], called: str, known: KnownFiles) -> list[ImageFile]:
    found: list[ImageFile] = []
    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(images), ASKED):  # what is asked for takes more memory than what is found
            part = images[start : start + ASKED]
            pieces = [part[i : i + LOOKED_AT] for i in range(0, len(part), LOOKED_AT)]
            stamps = list(chain.from_iterable(pool.map(_stamps, pieces)))  # before they are read
            there = known.find(stamps)
            fresh = [i for i, content in enumerate(there) if content is None]
            read = iter(pool.map(lambda image: _content(image.path, called), [part[i] for i in fresh]))
            contents = [content or next(read) for content in there]
            known.note(stamps, contents, fresh)
            found += [image.holding(content) for image, content in zip(part, contents, strict=True)]
    return found


def _stamps(images: Sequence[ImageFile]) -> list[Stamp | None]:
    return [stamp_of(image.folder, image.name) for image in images]


def _content(path: Place, called: str) -> Content:
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.seek(0, os.SEEK_END)  # of a file in memory, hashing leaves it at the start
            file.seek(0)
            start = file.read(HEAD)
            return Content(sha256, size, may_be_deep(start), is_dicom(start))
    except OSError as error:
        raise _unreadable(path, called, error) from None


def _with_patients(images: Sequence[ImageFile], rules: Rules) -> list[ImageFile]:
    """Fills in whose each DICOM is; what is none, or does not say, is nobody's."""
    found = _of_dicoms(lambda path: patient_digest(path.read_bytes()), images, rules.called)
    if not any(found):
        raise InputError("split.group: patient_id, and no image is a DICOM with a PatientID", "group by something else")
    return [replace(image, patient=name) for image, name in zip(images, found, strict=True)]


def _with_frames(images: Sequence[ImageFile], rules: Rules) -> list[ImageFile]:
    """Makes an image of every frame of files that have several."""

    def count(path: Place) -> int:
        with path.open("rb") as file:
            return count_frames(file, 4 * MAX_PIXELS)

    found: list[ImageFile] = []
    for image, frames in zip(images, _of_dicoms(count, images, rules.called), strict=True):
        if frames is None or frames == 1:
            found.append(image)
        else:
            found += [replace(image, frame=number) for number in range(1, frames + 1)]
    return found


def _of_dicoms(look: Callable[[Place], T | None], images: Sequence[ImageFile], called: str) -> list[T | None]:
    """What is found by looking into each DICOM, in threads; None of other files."""

    def one(image: ImageFile) -> T | None:
        if not image.dicom:
            return None
        try:
            return look(image.path)
        except OSError as error:
            raise _unreadable(image.path, called, error) from None

    found: list[T | None] = []
    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(images), ASKED):
            found += pool.map(one, images[start : start + ASKED])
    return found


def _unreadable(path: Place, called: str, error: OSError) -> InputError:
    return InputError(f"{called}: cannot read {path} ({reason_of(error)})", "remove it or its fault")


def _groups(images: Sequence[ImageFile], split: str) -> int:
    return len({image.group for image in images if image.split == split})


def _warn(
    images: Sequence[ImageFile], ignored: Counter[str], rules: Rules, counts: dict[str, int], warnings: list[str]
) -> None:
    if counts["same_id_files"]:
        repeated = clause(counts["same_id_files"], "file", "repeats", "repeat")
        what = "bytes (and name, of what is no DICOM)" if any(image.dicom for image in images) else "name and bytes"
        warnings.append(f"{rules.called}: {repeated} another's {what}, left out")
    if ignored[NESTED]:
        nested = left_out({NESTED: ignored[NESTED]})
        warnings.append(f"{rules.called}: ignored: {nested}; move up what is to be used")
    # Other classes and folders are facts of the config and the download; what lies among the images is a surprise.
    among = {name: n for name, n in ignored.items() if name != NESTED and not name.startswith(("class ", "folder "))}
    if others := left_out(among):
        where = "class folders" if rules.called == "dataset.root" else "the images"
        warnings.append(f"{rules.called}: left out of {where}: {others}")
    train = [image.name for image in images if image.split == "train" and image.begins_file]
    pair = suggest_patients(train) if rules.group is None else None
    if pair:
        warnings.append(
            f"split.group: file names suggest several images of one patient ({pair[0]}, {pair[1]}); "
            "set a regular expression whose first group names the patient"
        )
    if rules.group is not None and counts["train_groups"] == 1:
        warnings.append(f"split.group: {rules.group!r} puts all train images into one group")


def _table(
    ids: Sequence[str],
    images: Sequence[ImageFile],
    root: Place,
    columns: pa.Table | None,
    masks: pa.ChunkedArray | None,
) -> pa.Table:
    folders = {folder: below(root, folder) for folder in dict.fromkeys(image.folder for image in images)}
    values = {
        "id": iter(ids),
        "path": (f"{folders[image.folder]}{image.image_name}" for image in images),
        "split": (image.split for image in images),
        "class_name": (image.class_name for image in images),
        "kind": (image.kind for image in images),
        "label": (image.label for image in images),
        "sha256": (image.image_sha256 for image in images),
        "file_bytes": (image.file_bytes for image in images),
        "group": (image.group for image in images),
    }
    table = pa.table([pa.array(values[field.name], field.type) for field in SCHEMA], schema=SCHEMA)
    if any(image.frame is not None for image in images):
        table = table.append_column("file", pa.array((image.sha256 for image in images), pa.string()))
    if any(image.role is not None for image in images):
        table = table.append_column("role", pa.array((image.role for image in images), pa.string()))
    if masks is not None:
        written = masks.take(pa.array([image.row if image.split == "test" else None for image in images], pa.int64()))
        table = table.append_column("mask", written)
    if columns is not None:
        rows = columns.take(pa.array(np.array([image.row for image in images], np.int64)))
        for name in columns.column_names:
            table = table.append_column(f"{COLUMN}{name}", rows.column(name))
    return table
