"""`dataset.kind: manifest`: a table that lists the images, in CSV, Parquet or a `data.json`.

Columns that are read: `path` (relative to the file, absolute or s3://), `role` (seed, pool or test) or `split` (train
or test), `label` (0, normal or `dataset.normal`; 1, abnormal, anomaly or one of `dataset.anomaly`; empty: unknown),
`group`, and of test images `mask`: path of an image of the same size, not 0 where it is abnormal. All others are kept,
and come out again in every table. `images.manifest_file` reads the file.
"""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from swag_ray.errors import InputError
from swag_ray.images.groups import COLUMN_GROUP, PATIENT_GROUP, compile_pattern
from swag_ray.images.image_file import ImageFile, OnLeak, Rules, require_text
from swag_ray.images.known import KnownFiles
from swag_ray.images.layout import USUAL
from swag_ray.images.listing import Listing, build_listing
from swag_ray.images.manifest_file import GROUP, LABEL, MASK, PATH, ROLE, SPLIT, read_manifest
from swag_ray.images.places import SCHEME, Place, RemotePath, below, common_root, locate

FIELD = "dataset.manifest"
ROLES = ("seed", "pool", "test")
NORMAL = ("0", "normal", "false", "negative")
ABNORMAL = ("1", "abnormal", "anomaly", "anomalous", "true", "positive")
UNKNOWN = ("", "unknown", "unlabeled", "unlabelled", "nan", "none", "null")


def list_manifest(
    manifest: Place,
    *,
    normal: str = "NORMAL",
    anomaly: Sequence[str] = (),
    group: str | None = None,
    test_fraction: float | None = None,
    on_leak: OnLeak = "drop",
    frames: str = "refuse",
    known: KnownFiles | None = None,
) -> Listing:
    """Lists the images of a manifest; `images.listing` describes the table.

    Args:
        manifest: the file.
        normal, anomaly: what the classes are called in the column `label`, besides the usual words; where anomalies
            are named, rows of other classes are ignored and counted.
        group: regular expression on the file name, its first group the patient; "column": the column `group`;
            "patient_id": a DICOM's; None: only identical bytes are grouped.
        test_fraction: share of the groups that a test set is drawn of, where the manifest has neither role nor split.
        on_leak: what becomes of test images that are in train too.
        frames: "all" makes an image of each frame of a DICOM of several, all with the row's columns.
        known: files that need not be read.

    Raises:
        InputError: one line that names the file, the row or column, and what to do.
    """
    if group is not None and group not in (COLUMN_GROUP, PATIENT_GROUP):
        compile_pattern(group)
    manifest = manifest.expanduser().absolute() if isinstance(manifest, Path) else manifest
    table = read_manifest(manifest, FIELD)
    reading = _Reading(manifest, _Labels(normal, anomaly), _parts(manifest, table, test_fraction))
    if group == COLUMN_GROUP and GROUP not in table.column_names:
        raise InputError(f"{FIELD}: {manifest} has no column {GROUP}, which split.group asks for", "add it")
    ignored: Counter[str] = Counter()
    columns = {name: table.column(name).to_pylist() for name in (PATH, ROLE, SPLIT, LABEL, GROUP)
               if name in table.column_names}  # fmt: skip
    images = [
        image
        for row in range(table.num_rows)
        if (image := reading.image(row, {name: values[row] for name, values in columns.items()}, ignored)) is not None
    ]
    images.sort(key=lambda image: image.role != "seed")  # of two rows with one image, the trusted one counts
    reading.check(images)
    further = table.select([name for name in table.column_names if name not in reading.read])
    folders = tuple(dict.fromkeys(image.folder for image in images))
    rules = Rules(group, on_leak, test_fraction, FIELD, frames)
    return build_listing(
        _root(manifest, folders), images, rules, ignored=ignored, columns=further if further.num_columns else None,
        masks=table.column(MASK).cast(pa.string()) if MASK in table.column_names else None, folders=folders,
        known=known,
    )  # fmt: skip


@dataclass(frozen=True)
class _Labels:
    """What the words of the column `label` mean."""

    normal: str
    anomaly: Sequence[str]

    def of(self, value: Any) -> tuple[bool | None, str | None] | None:
        """Returns label and class of a value; None for another class."""
        text = "" if value is None else str(value).strip()
        folded = text.casefold().removesuffix(".0")
        if folded == self.normal.casefold():
            return False, self.normal
        for name in self.anomaly:
            if folded == name.casefold():
                return True, name
        if folded in UNKNOWN:
            return None, None
        if folded in NORMAL:
            return False, self.normal
        return (True, "anomaly") if folded in ABNORMAL else None


@dataclass
class _Reading:
    """Reads the rows of a manifest.

    Attributes:
        manifest: the file.
        labels: what labels mean.
        parts: the column that says what a row is for; None: none does, and a test set is drawn.
        folders: those of the images so far, one object each: there may be millions of images.
    """

    manifest: Place
    labels: _Labels
    parts: str | None
    folders: dict[Place, Place] = field(default_factory=dict)

    @property
    def read(self) -> set[str]:
        """Columns that are read, and are no further ones."""
        return {PATH, LABEL, GROUP, MASK} | ({self.parts} if self.parts else set())

    def image(self, row: int, values: dict[str, Any], ignored: Counter[str]) -> ImageFile | None:
        """Returns the image of a row; None for one that is ignored."""
        path = values[PATH]
        if path is None or not str(path).strip():
            raise self._wrong(row, "has no path", "give one or remove the row")
        split, role = self._part(row, values, ignored)
        if split is None:
            return None
        found = self.labels.of(values.get(LABEL))
        if found is None:
            if not self.labels.anomaly:
                words = f"label {values[LABEL]!r} is neither normal nor anomaly"
                raise self._wrong(row, words, "name it in dataset.normal or dataset.anomaly")
            ignored[f"class {split}/{values[LABEL]}"] += 1
            return None
        label, class_name = found
        if role == "seed":
            if label:
                raise self._wrong(row, "is a seed and an anomaly", "seeds are normal images; make it pool or test")
            label = False
        if split == "train" and role is None and label is None:
            raise self._wrong(
                row, "is for training and has no label", "give it one, or a column role with seed and pool"
            )
        place = place_of(self.manifest, str(path).strip())
        require_text(place.parent, place.name, FIELD)
        group = values.get(GROUP)
        patient = None if group is None or not str(group).strip() else str(group).strip()
        folder = self.folders.setdefault(place.parent, place.parent)
        return ImageFile(folder, place.name, split, class_name or role or split, label, role, patient, row=row)

    def _part(self, row: int, values: dict[str, Any], ignored: Counter[str]) -> tuple[str | None, str | None]:
        """Split and role of a row; no split where it is of a part that is not used."""
        if self.parts is None:
            return "train", None
        said = "" if values[self.parts] is None else str(values[self.parts]).strip()
        folded = said.casefold()
        if self.parts == ROLE:
            if folded not in ROLES:
                raise self._wrong(row, f"role {said!r} is none", f"there are {', '.join(ROLES)}")
            return ("test", None) if folded == "test" else ("train", folded)
        for split, names in USUAL.items():
            if folded in names:
                return split, None
        if not said:
            raise self._wrong(row, "has no split", "give it train or test")
        ignored[f"class split {said}"] += 1
        return None, None

    def check(self, images: Sequence[ImageFile]) -> None:
        """Refuses a manifest that lacks a part."""
        wanted: dict[str, Callable[[ImageFile], bool]] = {}
        if self.parts == ROLE:
            wanted = {name: lambda image, name=name: image.role == name for name in ("seed", "pool")}  # type: ignore[misc]
        else:
            wanted = {"normal train": lambda image: image.split == "train" and image.label is False}
        for name, holds in wanted.items():
            if not any(map(holds, images)):
                raise InputError(f"{FIELD}: {self.manifest} lists no {name} image", "add some")

    def _wrong(self, row: int, what: str, advice: str) -> InputError:
        return InputError(f"{FIELD}: {self.manifest}, image {row + 1}: {what}", advice)


def _parts(manifest: Place, table: pa.Table, test_fraction: float | None) -> str | None:
    names = [name for name in (ROLE, SPLIT) if name in table.column_names]
    if names and test_fraction is not None:
        raise InputError(
            f"dataset.test_fraction: {manifest} has a column {names[0]}, which says what is tested on", "leave it out"
        )
    if names:
        return names[0]
    if test_fraction is None:
        raise InputError(
            f"{FIELD}: {manifest} has neither a column role (seed, pool, test) nor split (train, test)",
            "add one, or set dataset.test_fraction",
        )
    return None


def place_of(manifest: Place, path: str) -> Place:
    """Returns where an image of a manifest is: beside it, or where a whole path or an s3:// address says."""
    if path.startswith(SCHEME):
        return locate(path, FIELD)
    if isinstance(manifest, RemotePath):
        return RemotePath(manifest.server, posixpath.normpath(posixpath.join(manifest.parent.key, path)))
    return Path(os.path.normpath(manifest.parent / os.path.expanduser(path)))


def _root(manifest: Place, folders: Sequence[Place]) -> Place:
    """The manifest's folder where it holds all images, else the deepest folder that does."""
    try:
        for folder in folders:
            below(manifest.parent, folder)
    except ValueError:
        return common_root(folders, FIELD)
    return manifest.parent
