"""Lists an image set ROOT/train|test/CLASS/image as one table, identical wherever the set is moved.

Columns of the table, sorted by id, then split: id (file stem, "-", 8 hex digits of the bytes' SHA-256; of a DICOM,
which exports name by the patient, 16 of these alone), path (relative to `Listing.root`, with /), split ("train" or
"test"), class_name (as the config spells it), kind (sort of anomaly, or null), label (True = anomaly), sha256,
file_bytes, group (patient or identical bytes, within a split). An image that is in both train and test stands twice,
under one id: (id, split) is the key.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from swag_ray.errors import InputError, reason_of
from swag_ray.images.deep import may_be_deep
from swag_ray.images.dicom import HEAD, is_dicom, require_pydicom
from swag_ray.images.groups import assign_groups, compile_pattern, suggest_patients
from swag_ray.images.layout import (
    IMAGE_SUFFIXES,
    NESTED,
    class_folders,
    class_images,
    find_class,
    find_layout,
    left_out,
)
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
READERS = 4  # hashing waits for the disk; more threads only queue there
ASKED = 4096  # files that are waited for at a time


@dataclass(frozen=True)
class Listing:
    """An image set as found on disk.

    Attributes:
        root: absolute folder that the table's paths start from.
        table: one row per image, columns as in the module's docstring.
        warnings: one line each, for the user.
        ignored: folder, class or reason -> number of files that were left out.
        counts: train_groups, test_groups, same_id_files (left out), contradictory_images (left out),
            identical_in_split (images with a copy in their split), in_train_and_test (images of train found in test).
        deep: rows of the table whose file may hold 16 bits a sample: a PNG that says so, or a TIFF.
    """

    root: Path
    table: pa.Table
    warnings: tuple[str, ...]
    ignored: dict[str, int]
    counts: dict[str, int]
    deep: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)  # there may be millions
class _Image:
    folder: Path
    name: str
    split: str
    class_name: str
    label: bool
    sha256: str = ""
    file_bytes: int = 0
    group: str = ""
    deep: bool = False
    dicom: bool = False

    @property
    def path(self) -> Path:
        return self.folder / self.name

    @property
    def id(self) -> str:
        if self.dicom:
            return self.sha256[:16]
        # NFC: one name has two spellings in bytes, by the system that unpacked the archive.
        return f"{unicodedata.normalize('NFC', os.path.splitext(self.name)[0])}-{self.sha256[:8]}"

    @property
    def digest(self) -> str | None:
        return self.sha256 if self.file_bytes else None


def list_folder(root: Path, *, normal: str, anomaly: Sequence[str], group: str | None) -> Listing:
    """Lists `root`; the module's docstring describes the table, `images.layout` what a root may look like.

    Args:
        root: the folder that holds train/ and test/, or one up to three folders above it.
        normal: class folder of the normal images.
        anomaly: class folders of the anomalies. One may be missing from train or from test, not from both.
        group: regular expression on the file name, its first group the patient; None: only identical bytes are grouped.

    Raises:
        InputError: one line that names dataset.root, dataset.anomaly or split.group, what is wrong and what to do.
    """
    pattern = compile_pattern(group) if group is not None else None
    classes = _classes(normal, anomaly)
    root = root.expanduser().absolute()
    layout = find_layout(root)
    ignored = Counter(layout.ignored)
    warnings: list[str] = []
    images: list[_Image] = []
    for split, folder in (("train", layout.train), ("test", layout.test)):
        images += _split_images(folder, split, classes, ignored)
    _check_classes(images, layout.train, layout.test, classes, warnings)
    images = _with_digests(images)
    if any(image.dicom for image in images):
        require_pydicom()
    images, counts = _without_doubles(images, warnings)
    images = [image for split in ("train", "test") for image in _with_groups(images, split, pattern)]
    counts |= {f"{split}_groups": _groups(images, split) for split in ("train", "test")}
    _warn(images, ignored, group, counts, warnings)
    images.sort(key=lambda image: (image.id, image.split))
    deep = tuple(row for row, image in enumerate(images) if image.deep)
    return Listing(root, _table(images, root), tuple(warnings), dict(sorted(ignored.items())), counts, deep)


def _classes(normal: str, anomaly: Sequence[str]) -> dict[str, bool]:
    """Class name -> label."""
    if isinstance(anomaly, str) or not anomaly:
        raise InputError(
            f"dataset.anomaly: {anomaly!r} is no list of class folders", "give at least one name in a list"
        )
    folded = Counter(name.casefold() for name in (normal, *anomaly))
    twice = [name for name in anomaly if folded[name.casefold()] > 1]
    if twice:
        raise InputError(
            f"dataset.anomaly: {twice[0]} is named twice, or is dataset.normal too", "name each class once"
        )
    return {normal: False} | dict.fromkeys(anomaly, True)


def _split_images(folder: Path, split: str, classes: dict[str, bool], ignored: Counter[str]) -> list[_Image]:
    images, used = [], set()
    for name, label in classes.items():
        found = find_class(folder, name)
        if found is None:
            continue
        used.add(found)
        tally: Counter[str] = Counter()
        names = class_images(found, tally)
        if not names:
            seen = f"no image, only {held}" if (held := left_out(tally)) else "no image"
            raise InputError(f"dataset.root: {found} holds {seen}", f"put {', '.join(IMAGE_SUFFIXES)} files into it")
        for file in names:
            _require_text(found, file)
        ignored.update({reason: count for reason, count in tally.items() if count})
        images += [_Image(found, file, split, name, label) for file in names]
    for name, other in class_folders(folder).items():
        if other not in used:
            ignored[f"class {split}/{name}"] += len(class_images(other, Counter()))
    return images


def _require_text(folder: Path, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes of another encoding, as old archives leave them
        raise InputError(
            f"dataset.root: the file name {str(folder / name)!a} is not UTF-8", "rename the file"
        ) from None


def _check_classes(
    images: Sequence[_Image], train: Path, test: Path, classes: dict[str, bool], warnings: list[str]
) -> None:
    held = {(image.split, image.class_name) for image in images}
    normal = next(name for name, label in classes.items() if not label)
    anomalies = [name for name, label in classes.items() if label]
    if ("train", normal) not in held:
        found = ", ".join(class_folders(train)) or "none"
        raise InputError(f"dataset.root: {train} has no class folder {normal} (dataset.normal)", f"it has: {found}")
    for name in anomalies:
        missing = [split for split in ("train", "test") if (split, name) not in held]
        if len(missing) == 2:
            found = ", ".join(class_folders(train)) or "none"
            raise InputError(f"dataset.anomaly: no class folder {name} in {train} or {test}", f"train has: {found}")
    if ("test", normal) not in held:
        raise InputError(f"dataset.root: {test} has one class only, no folder {normal}", "an AUROC needs test normals")
    if not any(("test", name) in held for name in anomalies):
        wanted = " or ".join(anomalies)
        raise InputError(
            f"dataset.root: {test} has one class only, no folder {wanted}", "an AUROC needs test anomalies"
        )
    for name in anomalies:
        for split in ("train", "test"):
            if (split, name) not in held:
                warnings.append(f"dataset.anomaly: {split} has no class folder {name}")


def _with_digests(images: Sequence[_Image]) -> list[_Image]:
    found = []
    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(images), ASKED):  # what is asked for takes more memory than what is found
            part = images[start : start + ASKED]
            digests = pool.map(_digest, [image.path for image in part])
            found += [
                replace(image, sha256=sha256, file_bytes=size, deep=deep, dicom=dicom)
                for image, (sha256, size, deep, dicom) in zip(part, digests, strict=True)
            ]
    return found


def _digest(path: Path) -> tuple[str, int, bool, bool]:
    """A file's SHA-256, its size, whether it may hold 16 bits a sample, and whether it is a DICOM."""
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
            file.seek(0)
            start = file.read(HEAD)
            return sha256, size, may_be_deep(start), is_dicom(start)
    except OSError as error:
        raise InputError(f"dataset.root: cannot read {path} ({reason_of(error)})", "remove it or its fault") from None


def _without_doubles(images: Sequence[_Image], warnings: list[str]) -> tuple[list[_Image], dict[str, int]]:
    """Leaves out images whose bytes are both normal and anomaly in one split, then files that repeat an id."""
    held = {label: {(x.split, x.digest) for x in images if x.digest and x.label == label} for label in (False, True)}
    both = held[False] & held[True]
    # An image with both labels has no label: as a seed it would teach an anomaly, as a test image it cannot be right.
    contradictory = [image for image in images if (image.split, image.digest) in both]
    agreed = [image for image in images if (image.split, image.digest) not in both]
    del held
    if contradictory:
        what = clause(len(contradictory), "file", "is", "are")
        warnings.append(
            f"dataset.root: {what} left out, identical images stand under both labels "
            f"(for instance {contradictory[0].name} in {contradictory[0].split})"
        )
    kept: dict[tuple[str, str], _Image] = {}
    for image in agreed:
        kept.setdefault((image.split, image.id), image)
    copies = Counter((image.split, image.digest) for image in kept.values() if image.digest)
    train, test = ({digest for found, digest in copies if found == split} for split in ("train", "test"))
    counts = {
        "contradictory_images": len(contradictory),
        "same_id_files": len(agreed) - len(kept),
        "identical_in_split": sum(count for count in copies.values() if count > 1),
        "in_train_and_test": len(train & test),
    }
    return list(kept.values()), counts


def _with_groups(images: Sequence[_Image], split: str, pattern: re.Pattern[str] | None) -> list[_Image]:
    own = [image for image in images if image.split == split]
    groups = assign_groups([image.name for image in own], [image.digest for image in own], pattern)
    return [replace(image, group=group) for image, group in zip(own, groups, strict=True)]


def _groups(images: Sequence[_Image], split: str) -> int:
    return len({image.group for image in images if image.split == split})


def _warn(
    images: Sequence[_Image], ignored: Counter[str], group: str | None, counts: dict[str, int], warnings: list[str]
) -> None:
    if counts["same_id_files"]:
        repeated = clause(counts["same_id_files"], "file", "repeats", "repeat")
        warnings.append(f"dataset.root: {repeated} another's name and bytes, left out")
    if counts["in_train_and_test"]:
        what = clause(counts["in_train_and_test"], "image", "is", "are")
        warnings.append(
            f"dataset.root: {what} in test and also in train (identical bytes); train and test are taken as given"
        )
    if ignored[NESTED]:
        nested = left_out({NESTED: ignored[NESTED]})
        warnings.append(f"dataset.root: ignored: {nested}; move up what is to be used")
    # Other classes and folders are facts of the config and the download; what lies among the images is a surprise.
    among = {name: n for name, n in ignored.items() if name != NESTED and not name.startswith(("class ", "folder "))}
    if others := left_out(among):
        warnings.append(f"dataset.root: left out of class folders: {others}")
    train = [image.name for image in images if image.split == "train"]
    pair = suggest_patients(train) if group is None else None
    if pair:
        warnings.append(
            f"split.group: file names suggest several images of one patient ({pair[0]}, {pair[1]}); "
            "set a regular expression whose first group names the patient"
        )
    if group is not None and counts["train_groups"] == 1:
        warnings.append(f"split.group: {group!r} puts all train images into one group")


def _table(images: Sequence[_Image], root: Path) -> pa.Table:
    folders = {image.folder: image.folder.relative_to(root).as_posix() for image in images}
    columns = {
        "id": (image.id for image in images),
        "path": (posixpath.join(folders[image.folder], image.name) for image in images),
        "split": (image.split for image in images),
        "class_name": (image.class_name for image in images),
        "kind": (None for _ in images),
        "label": (image.label for image in images),
        "sha256": (image.sha256 for image in images),
        "file_bytes": (image.file_bytes for image in images),
        "group": (image.group for image in images),
    }
    return pa.table([pa.array(columns[field.name], field.type) for field in SCHEMA], schema=SCHEMA)
