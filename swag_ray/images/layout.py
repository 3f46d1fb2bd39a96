"""Finds the train/test pair and the class folders of an image set laid out as ROOT/train|test/CLASS/image.

A Kaggle download is taken as it comes: the pair may lie up to three folders below the root, beside `__MACOSX`,
`.DS_Store`, `._files`, a `val` folder and a nested copy of itself. The shallowest pair wins; the rest is only counted.
Folder names match whatever their case, an exact match first. The pair is called by one of the `USUAL` names, or as the
config says; a set that is not divided has its class folders in one place.

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from swag_ray.errors import InputError, reason_of
from swag_ray.images.dicom import HEAD, is_dicom, is_directory
from swag_ray.images.places import Place, RemoteEntry, RemotePath, below, locate

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
IMAGE_SUFFIXES = (
    ".jpeg", ".jpg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", *DICOM_SUFFIXES,
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
USUAL = {"train": ("train", "training"), "test": ("test", "testing")}  # names of the parts
Entry = os.DirEntry[str] | RemoteEntry


@dataclass(frozen=True)
class Layout:
    """The pair that is read, and the images under the root that are not (folder or reason -> files).

    A set that is not divided has no `test`; its class folders are in `train`.
    """

    train: Place
    test: Place | None
    ignored: dict[str, int]


def find_layout(root: Place, *, train: str | None = None, test: str | None = None) -> Layout:
    """Finds the shallowest folder at or below `root` that holds both `train` and `test`.

    Args:
        train, test: what the two are called; None: by one of the `USUAL` names.

    Raises:
        InputError: no such folder, two at the same depth, or a folder that cannot be read.
    """
    check_folder(root, "dataset.root", "give the folder that holds train/ and test/")
    names = {"train": (train,) if train else USUAL["train"], "test": (test,) if test else USUAL["test"]}
    levels, lonely_train = _pairs_by_depth(root, names)
    winners = next((level for level in levels if level), [])
    shown = {part: called[0] for part, called in names.items()}
    undivided = ", or dataset.test_fraction for a test set drawn from class folders"
    if not winners and lonely_train is not None:
        raise InputError(
            f"dataset.root: {lonely_train} has {shown['train']}/ but no {shown['test']}/",
            f"evaluation needs {shown['test']}/CLASS folders{undivided}",
        )
    if not winners:
        raise InputError(
            f"dataset.root: {root} holds no {shown['train']}/ folder",
            f"expected {shown['train']}/CLASS and {shown['test']}/CLASS below it{undivided}",
        )
    if len(winners) > 1:
        found = ", ".join(below(root, folder).rstrip("/") for folder in winners)
        raise InputError(f"dataset.root: {root} holds several image sets ({found})", "give the folder of one of them")
    winner = winners[0]
    folders = _folders(winner)
    pair = [folders[_part(folders, part, names[part], winner) or ""] for part in ("train", "test")]
    unread = [folder for folder in folders.values() if folder not in pair]
    unread += [other for level in levels for other in level if not _is_within(winner, other)]
    return Layout(pair[0], pair[1], _counted(root, unread))


def find_undivided(root: Place, normal: str, *, train: str | None = None) -> Layout:
    """Finds the shallowest folder at or below `root` that holds the normal class, for a test set to be drawn from it.

    Args:
        normal: name of the class folder.
        train: name of the folder that the class folders are in; None: any.

    Raises:
        InputError: no such folder, two at the same depth, or a test folder beside it, which no other is needed beside.
    """
    check_folder(root, "dataset.root", "give the folder that holds the class folders")
    level = [root]
    for _ in range(MAX_DEPTH + 1):
        named = [folder for folder in level if train is None or folder.name.casefold() == train.casefold()]
        holders = [folder for folder in named if _match(_folders(folder), normal, folder)]
        if len(holders) > 1:
            found = ", ".join(below(root, folder).rstrip("/") for folder in holders)
            raise InputError(
                f"dataset.test_fraction: {root} holds several folders with a class {normal} ({found})",
                "a set that is divided needs no test set drawn: leave it out, or name its parts with dataset.train and "
                "dataset.test",
            )
        if holders:
            return Layout(holders[0], None, {})
        level = [path for folder in level for path in _folders(folder).values()]
    raise InputError(f"dataset.root: {root} has no class folder {normal} (dataset.normal)", "name the normal class")


def check_folder(place: Place, called: str, advice: str) -> None:
    """Refuses what is no folder.

    Args:
        called: the field that names it.
        advice: what to do.

    Raises:
        InputError: it does not exist, is a file, or cannot be looked at.
    """
    try:
        if isinstance(place, RemotePath):
            is_folder, exists = place.is_dir(), place.is_dir() or place.is_file()
        else:
            is_folder, exists = stat.S_ISDIR(place.stat().st_mode), True
    except (FileNotFoundError, NotADirectoryError):
        is_folder = exists = False
    except OSError as error:
        raise InputError(f"{called}: cannot read the folder {place} ({reason_of(error)})") from None
    if not exists:
        raise InputError(f"{called}: {place} does not exist", advice)
    if not is_folder:
        raise InputError(f"{called}: {place} is a file", advice)


def class_folders(split: Place) -> dict[str, Place]:
    """Class name -> folder of one split, sorted by name, without hidden and system folders."""
    return _folders(split)


def find_class(split: Place, name: str) -> Place | None:
    """The folder of class `name`: exact, else the only one that differs in case alone, else None."""
    folders = _folders(split)
    found = _match(folders, name, split)
    return folders[found] if found else None


def class_images(folder: Place, tally: Counter[str]) -> list[str]:
    """Names of the image files directly in `folder`, sorted. What is left out is added to `tally` by reason."""
    images = []
    for entry in _entries(folder):
        if not _is_hidden(entry.name) and _is_folder(entry):
            tally[NESTED] += count_images(folder / entry.name)
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
    return sorted(Path(str(place), name) for place, name in nested_images(folder, tally))


def nested_images(folder: Place, tally: Counter[str], called: str = "dataset.root") -> list[tuple[Place, str]]:
    """(folder, name) of the image files anywhere below `folder`, in the order of their paths. What is left out is added
    to `tally` by reason.

    Args:
        called: field that names the folder, for messages.

    Raises:
        InputError: a folder that cannot be read.
    """
    images: list[tuple[Place, str]] = []
    seen: set[tuple[int, int]] = set()  # a link may lead back to a folder above it
    waiting: list[Place] = [folder]
    while waiting:
        place = waiting.pop()
        if isinstance(place, Path):
            try:
                status = place.stat()
            except OSError as error:
                raise InputError(f"{called}: cannot read the folder {place} ({reason_of(error)})") from None
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
        for entry in _entries(place, called):
            if not _is_hidden(entry.name) and _is_folder(entry):
                waiting.append(place / entry.name)
            elif reason := _left_out(entry):
                tally[reason] += 1
            else:
                images.append((place, entry.name))
    return sorted(images, key=lambda image: (str(image[0]), image[1]))


def count_images(folder: Place) -> int:
    """Returns the number of image files anywhere below `folder`, hidden and system ones aside."""
    return len(nested_images(folder, Counter()))


def left_out(tally: Mapping[str, int]) -> str:
    """Returns what of a folder was left out, by reason, as one clause; empty for nothing but hidden files."""
    told = {reason: count for reason, count in sorted(tally.items()) if reason != HIDDEN and count}
    return ", ".join(f"{count:,} {reason if count > 1 else _of_one(reason)}" for reason, count in told.items())


def _of_one(reason: str) -> str:
    kind = next((kind for kind in ONE if reason.startswith(kind)), reason)
    return reason.replace(kind, ONE.get(kind, kind))


def _pairs_by_depth(root: Place, names: Mapping[str, Sequence[str]]) -> tuple[list[list[Place]], Place | None]:
    """Folders with both train and test, one list per depth, and the first folder with train alone."""
    levels: list[list[Place]] = []
    lonely_train = None
    level = [root]
    for _ in range(MAX_DEPTH + 1):
        pairs, further = [], []
        for folder in level:
            folders = _folders(folder)
            train, test = (_part(folders, part, names[part], folder) for part in ("train", "test"))
            if train and test:
                pairs.append(folder)
            elif train and lonely_train is None:
                lonely_train = folder
            further += [path for name, path in folders.items() if name not in (train, test)]
        levels.append(pairs)
        level = further
    return levels, lonely_train


def _part(folders: Mapping[str, Place], part: str, names: Sequence[str], parent: Place) -> str | None:
    """The name of the folder that is this part; None where there is none.

    Raises:
        InputError: two of the usual names.
    """
    found = [match for name in names if (match := _match(folders, name, parent))]
    if len(found) > 1:
        raise InputError(f"dataset.root: {parent} has {' and '.join(found)}", f"name one with dataset.{part}")
    return found[0] if found else None


def _is_within(folder: Place, other: Place) -> bool:
    """Whether the other is this folder or below it."""
    try:
        below(folder, other)
    except ValueError:
        return False
    return True


def _counted(root: Place, unread: Sequence[Place]) -> dict[str, int]:
    counts = {f"folder {below(root, folder).rstrip('/')}": count_images(folder) for folder in unread}
    return {name: count for name, count in counts.items() if count}


def _folders(folder: Place) -> dict[str, Place]:
    return {
        entry.name: folder / entry.name
        for entry in _entries(folder)
        if not _is_hidden(entry.name) and _is_folder(entry)
    }


def _entries(folder: Place, called: str = "dataset.root") -> Sequence[Entry]:
    try:
        if isinstance(folder, RemotePath):
            return folder.entries()
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{called}: cannot read the folder {folder} ({reason_of(error)})") from None


def _match(folders: Mapping[str, Place], name: str, parent: Place) -> str | None:
    if name in folders:
        return name
    close = [found for found in folders if found.casefold() == name.casefold()]
    if len(close) > 1:
        raise InputError(
            f"dataset.root: {parent} has {' and '.join(close)}, neither spelt {name}", "rename one of them"
        )
    return close[0] if close else None


def _left_out(entry: Entry) -> str | None:
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


def _start(entry: Entry) -> bytes | None:
    """The first bytes of a file; None where they cannot be read."""
    try:
        with locate(entry.path).open("rb") as file:
            return file.read(HEAD)
    except OSError:
        return None


def _is_folder(entry: Entry) -> bool:
    return _answers(entry.is_dir)


def _answers(question: Callable[[], bool]) -> bool:
    """Whether an entry is what is asked; one that cannot be looked at (a link to itself, or past a lock) is nothing."""
    try:
        return question()
    except OSError:
        return False


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in SYSTEM_NAMES
