"""Finds the train/test pair and the class folders of an image set laid out as ROOT/train|test/CLASS/image.

A Kaggle download is taken as it comes: the pair may lie up to three folders below the root, beside `__MACOSX`,
`.DS_Store`, `._files`, a `val` folder and a nested copy of itself. The shallowest pair wins; the rest is only counted.
Folder names match whatever their case, an exact match first.

One rule for `run`, `score` and `datasets check` says what an image file is: a file, or a link to one, with one of
IMAGE_SUFFIXES, or a DICOM by its content, where the name has no suffix or ends as UIDs do (a PACS export's). Hidden and
system names (`.ipynb_checkpoints`) are left out with all below them; links to folders are followed, each folder once;
links that lead nowhere (or to themselves, or to where no access is), pipes, DICOMDIR and files of another type are left
out. All are counted.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from swag_ray.errors import InputError, reason_of
from swag_ray.images.dicom import HEAD, is_dicom, is_directory

IMAGE_SUFFIXES = (
    ".jpeg", ".jpg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".dcm", ".dicom", ".ima",
)  # fmt: skip
NUMBER = re.compile(r"\.\d+")  # what a DICOM that is named by its UID has for a suffix
SYSTEM_NAMES = frozenset({"__macosx", "thumbs.db", "desktop.ini"})
HIDDEN = "hidden or system files"
OTHER_TYPE = "files of another type"  # followed by their suffix in brackets
BROKEN_LINK = "links that lead nowhere"
NO_FILE = "pipes and devices"
DIRECTORY = "DICOMDIR files"
NESTED = "images in sub-folders of class folders"
ONE = {  # of the reasons, where they are told of a single file
    HIDDEN: "hidden or system file", OTHER_TYPE: "file of another type", BROKEN_LINK: "link that leads nowhere",
    NO_FILE: "pipe or device", DIRECTORY: "DICOMDIR file", NESTED: "image in a sub-folder of a class folder",
}  # fmt: skip
MAX_DEPTH = 3  # ROOT/chest_xray/chest_xray/train is as deep as known downloads go


@dataclass(frozen=True)
class Layout:
    """The pair that is read, and the images under the root that are not (folder or reason -> files)."""

    train: Path
    test: Path
    ignored: dict[str, int]


def find_layout(root: Path) -> Layout:
    """Finds the shallowest folder at or below `root` that holds both `train` and `test`.

    Raises:
        InputError: no such folder, two at the same depth, or a folder that cannot be read.
    """
    try:
        status = root.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"dataset.root: {root} does not exist", "give the folder that holds train/ and test/"
        ) from None
    except OSError as error:
        raise InputError(f"dataset.root: cannot read the folder {root} ({reason_of(error)})") from None
    if not stat.S_ISDIR(status.st_mode):
        raise InputError(f"dataset.root: {root} is a file", "give the folder that holds train/ and test/")
    levels, lonely_train = _pairs_by_depth(root)
    winners = next((level for level in levels if level), [])
    if not winners and lonely_train is not None:
        raise InputError(f"dataset.root: {lonely_train} has train/ but no test/", "evaluation needs test/CLASS folders")
    if not winners:
        raise InputError(f"dataset.root: {root} holds no train/ folder", "expected train/CLASS and test/CLASS below it")
    if len(winners) > 1:
        names = ", ".join(str(folder.relative_to(root)) for folder in winners)
        raise InputError(f"dataset.root: {root} holds several image sets ({names})", "give the folder of one of them")
    winner = winners[0]
    folders = _folders(winner)
    train, test = (folders[_match(folders, name, winner) or name] for name in ("train", "test"))
    unread = [folder for folder in folders.values() if folder not in (train, test)]
    unread += [pair for level in levels for pair in level if winner not in (pair, *pair.parents)]
    ignored = {f"folder {folder.relative_to(root).as_posix()}": count_images(folder) for folder in unread}
    return Layout(train=train, test=test, ignored={name: count for name, count in ignored.items() if count})


def class_folders(split: Path) -> dict[str, Path]:
    """Class name -> folder of one split, sorted by name, without hidden and system folders."""
    return _folders(split)


def find_class(split: Path, name: str) -> Path | None:
    """The folder of class `name`: exact, else the only one that differs in case alone, else None."""
    folders = _folders(split)
    found = _match(folders, name, split)
    return folders[found] if found else None


def class_images(folder: Path, tally: Counter[str]) -> list[str]:
    """Names of the image files directly in `folder`, sorted. What is left out is added to `tally` by reason."""
    images = []
    for entry in _entries(folder):
        if not _is_hidden(entry.name) and _is_folder(entry):
            tally[NESTED] += count_images(Path(entry.path))
        elif reason := _left_out(entry):
            tally[reason] += 1
        else:
            images.append(entry.name)
    return images


def find_images(folder: Path, tally: Counter[str]) -> list[Path]:
    """Image files anywhere below `folder`, sorted by path. What is left out is added to `tally` by reason.

    Raises:
        InputError: a folder that cannot be read.
    """
    images: list[Path] = []
    seen: set[tuple[int, int]] = set()  # a link may lead back to a folder above it
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            status = place.stat()
        except OSError as error:
            raise InputError(f"dataset.root: cannot read the folder {place} ({reason_of(error)})") from None
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in _entries(place):
            if not _is_hidden(entry.name) and _is_folder(entry):
                waiting.append(Path(entry.path))
            elif reason := _left_out(entry):
                tally[reason] += 1
            else:
                images.append(Path(entry.path))
    return sorted(images)


def count_images(folder: Path) -> int:
    """Returns the number of image files anywhere below `folder`, hidden and system ones aside."""
    return len(find_images(folder, Counter()))


def left_out(tally: Mapping[str, int]) -> str:
    """Returns what of a folder was left out, by reason, as one clause; empty for nothing but hidden files."""
    told = {reason: count for reason, count in sorted(tally.items()) if reason != HIDDEN and count}
    return ", ".join(f"{count:,} {reason if count > 1 else _of_one(reason)}" for reason, count in told.items())


def _of_one(reason: str) -> str:
    kind = next((kind for kind in ONE if reason.startswith(kind)), reason)
    return reason.replace(kind, ONE.get(kind, kind))


def _pairs_by_depth(root: Path) -> tuple[list[list[Path]], Path | None]:
    """Folders with both train and test, one list per depth, and the first folder with train alone."""
    levels: list[list[Path]] = []
    lonely_train = None
    level = [root]
    for _ in range(MAX_DEPTH + 1):
        pairs, below = [], []
        for folder in level:
            folders = _folders(folder)
            train, test = _match(folders, "train", folder), _match(folders, "test", folder)
            if train and test:
                pairs.append(folder)
            elif train and lonely_train is None:
                lonely_train = folder
            below += [path for name, path in folders.items() if name not in (train, test)]
        levels.append(pairs)
        level = below
    return levels, lonely_train


def _folders(folder: Path) -> dict[str, Path]:
    return {
        entry.name: Path(entry.path) for entry in _entries(folder) if not _is_hidden(entry.name) and _is_folder(entry)
    }


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"dataset.root: cannot read the folder {folder} ({reason_of(error)})") from None


def _match(folders: dict[str, Path], name: str, parent: Path) -> str | None:
    if name in folders:
        return name
    close = [found for found in folders if found.casefold() == name.casefold()]
    if len(close) > 1:
        raise InputError(
            f"dataset.root: {parent} has {' and '.join(close)}, neither spelt {name}", "rename one of them"
        )
    return close[0] if close else None


def _left_out(entry: os.DirEntry[str]) -> str | None:
    """Why an entry that is no folder is no image; None if it is one."""
    if _is_hidden(entry.name):
        return HIDDEN
    suffix = os.path.splitext(entry.name)[1].lower()
    listed = suffix in IMAGE_SUFFIXES
    if not listed and suffix and not NUMBER.fullmatch(suffix):
        return f"{OTHER_TYPE} ({suffix})"
    if not _answers(entry.is_file):
        other = BROKEN_LINK if entry.is_symlink() else NO_FILE
        return other if listed else f"{OTHER_TYPE} ({suffix or 'no suffix'})"
    if listed:
        return None
    start = _start(entry)
    if start is not None and is_dicom(start):
        return DIRECTORY if is_directory(start) else None
    return f"{OTHER_TYPE} ({suffix or 'no suffix'})"


def _start(entry: os.DirEntry[str]) -> bytes | None:
    """The first bytes of a file; None where they cannot be read."""
    try:
        with open(entry.path, "rb") as file:
            return file.read(HEAD)
    except OSError:
        return None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return _answers(entry.is_dir)


def _answers(question: Callable[[], bool]) -> bool:
    """Whether an entry is what is asked; one that cannot be looked at (a link to itself, or past a lock) is nothing."""
    try:
        return question()
    except OSError:
        return False


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in SYSTEM_NAMES
