"""What is to be scored: image files, folders of them at any depth, tables that list them; on a disk or on `s3://`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from swag_ray.errors import InputError, reason_of
from swag_ray.images import layout
from swag_ray.images.frames import file_and_frame
from swag_ray.images.image_reader import images_of
from swag_ray.images.manifest import place_of
from swag_ray.images.manifest_file import PATH, read_manifest
from swag_ray.images.places import Place, locate

TABLES = (".csv", ".parquet", ".pq")  # what lists images; a .json too, as `data.json` of public benchmarks


@dataclass(frozen=True)
class Inputs:
    """Images to score.

    Attributes:
        places: of each.
        further: a row an image: the columns of the tables that listed them, their `path` too, null where none did; None
            without tables.
        left_out: files in the folders that are no images, by reason.
    """

    places: list[Place]
    further: pa.Table | None = None
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass
class _Found:
    """What has been found so far. `row_n`: of an image, its row in the tables laid one behind the other, or None."""

    place_n: list[Place] = field(default_factory=list)
    row_n: list[int | None] = field(default_factory=list)
    tables: list[pa.Table] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, places: Iterator[Place] | Sequence[Place], first_row: int | None = None) -> None:
        for number, place in enumerate(places):
            self.place_n.append(place)
            self.row_n.append(None if first_row is None else first_row + number)


def find_inputs(called: str, given: Sequence[str | Path], frames: str = "refuse", *, once: bool = True) -> Inputs:
    """Returns the images that were named. Every row of a table has its own.

    Args:
        called: the command, for messages.
        given: files, folders, tables (CSV or Parquet with a column `path`, or a `data.json`), or s3:// addresses.
        frames: `dataset.frames` of the detector: with "all" each frame of a DICOM of several is an image.
        once: whether an image that comes twice, outside of tables or in one too, is there once.

    Raises:
        InputError: a path that does not exist, a table that is none, or no image at all.
    """
    found = _Found()
    for one in given:
        _find(called, locate(one, called), frames, found)
    if not found.place_n:
        others = f" ({held})" if (held := layout.left_out(found.left_out)) else ""
        suffixes = ", ".join(layout.IMAGE_SUFFIXES)
        raise InputError(f"{called}: no image ({suffixes}) in {', '.join(map(str, given))}{others}")
    files = zip(found.place_n, found.row_n, strict=True)
    images = [(image, row) for place, row in files for image in _images(called, place, frames)]
    images = _once(images) if once else images
    rows = pa.array([row for _, row in images], pa.int64())
    further = _joined(called, found.tables).take(rows) if found.tables else None
    return Inputs([place for place, _ in images], further, dict(found.left_out))


def _images(called: str, place: Place, frames: str) -> list[Place]:
    """The frames of a file, where they are images; one that is named already, as a result's `path` does, is itself."""
    try:
        named = file_and_frame(place, frames)[1] is not None and not place.is_file()
    except OSError:  # of s3://: who reads it says why
        named = True
    return [place] if named else images_of([place], frames, called)


def _find(called: str, place: Place, frames: str, found: _Found) -> None:
    try:
        is_dir, is_file = place.is_dir(), place.is_file()
        if not (is_dir or is_file) and file_and_frame(place, frames)[0].is_file():
            found.add([place])  # a frame, named as a result's `path` names it
            return
    except OSError as error:  # of s3://
        raise InputError(f"{called}: cannot read '{place}' ({reason_of(error)})") from None
    if is_dir:
        found.add([folder / name for folder, name in layout.nested_images(place, found.left_out, called)])
    elif not is_file and not _is_special(place):
        raise InputError(f"{called}: no file or folder '{place}'")
    elif place.suffix.lower() in (*TABLES, ".json"):
        table = read_manifest(place, called)
        first = sum(earlier.num_rows for earlier in found.tables)
        found.add([_listed(called, place, row, path) for row, path in enumerate(table[PATH].to_pylist())], first)
        found.tables.append(table)
    else:
        found.add([place])


def _is_special(place: Place) -> bool:
    """Whether something is there that is neither file nor folder: a pipe, a device. Reading it says what is wrong."""
    return isinstance(place, Path) and place.exists()


def _listed(called: str, table: Place, row: int, path: object) -> Place:
    if path is None or not str(path).strip():
        raise InputError(f"{called}: {table}, image {row + 1}: has no path", "give one or remove the row")
    if "\0" in str(path):
        raise InputError(f"{called}: {table}, image {row + 1}: its path is none (it holds a zero byte)", "mend it")
    return place_of(table, str(path).strip())


def _once(images: Sequence[tuple[Place, int | None]]) -> list[tuple[Place, int | None]]:
    """Every row of a table, and the first of any other place that comes twice."""
    listed = {place for place, row in images if row is not None}
    first = {place: i for i, (place, _) in reversed(list(enumerate(images)))}
    return [
        (place, row)
        for i, (place, row) in enumerate(images)
        if row is not None or (place not in listed and first[place] == i)
    ]


def _joined(called: str, tables: list[pa.Table]) -> pa.Table:
    try:
        return pa.concat_tables(tables, promote_options="default")
    except pa.ArrowException as error:
        raise InputError(
            f"{called}: the tables' columns do not go together ({reason_of(error)})", "score them one by one"
        ) from None
