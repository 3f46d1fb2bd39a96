"""Files that an earlier listing has hashed: what counts as the same file, and that nothing else does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from swag_ray.images import known, listing
from swag_ray.images.folders import list_folder
from swag_ray.images.known import KnownFiles
from swag_ray.images.listing import Listing
from swag_ray.images.manifest import list_manifest
from swag_ray.images.unlabelled import list_unlabelled
from tests.support.images import small_set, write

Read = list[str]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    """Names of the files whose bytes are hashed; files count as settled at once."""
    names: Read = []
    content = listing._content

    def noted(path: Path, called: str) -> known.Content:
        names.append(path.name)
        return content(path, called)

    monkeypatch.setattr(listing, "_content", noted)
    monkeypatch.setattr(known, "SETTLED", -1.0)
    return names


def folder(root: Path, table: KnownFiles) -> Listing:
    return list_folder(root, normal="NORMAL", anomaly=["PNEUMONIA"], group=None, known=table)


def unlabelled(root: Path, table: KnownFiles) -> Listing:
    seeds, pool = root / "train" / "NORMAL", root / "train" / "PNEUMONIA"
    return list_unlabelled(seeds, pool, root / "test", anomaly=("PNEUMONIA",), known=table)


def manifest(root: Path, table: KnownFiles) -> Listing:
    lines = ["path,role"]
    for name, role in (("NORMAL", "seed"), ("PNEUMONIA", "pool")):
        lines += [f"train/{name}/{path.name},{role}" for path in sorted((root / "train" / name).iterdir())]
    (root / "films.csv").write_text("\n".join(lines) + "\n")
    return list_manifest(root / "films.csv", known=table)


KINDS = pytest.mark.parametrize("list_it", [folder, unlabelled, manifest])


def again(list_it: Callable[[Path, KnownFiles], Listing], root: Path) -> tuple[Listing, KnownFiles]:
    """A first listing, and the table that the next one starts with."""
    table = KnownFiles()
    return list_it(root, table), KnownFiles(table.data())


@KINDS
def test_known_files_are_not_read_and_new_ones_are(
    list_it: Callable[[Path, KnownFiles], Listing], tmp_path: Path, read: Read
) -> None:
    root = small_set(tmp_path)
    first, table = again(list_it, root)
    assert sorted(read) == sorted(Path(path).name for path in first.table["path"].to_pylist())
    read.clear()
    second = list_it(root, table)
    assert not read and second.table.equals(first.table) and not table.changed
    write(root / "train" / "PNEUMONIA" / "late.png", 99)
    third = list_it(root, table)
    assert read == ["late.png"] and table.changed and third.table.num_rows == first.table.num_rows + 1
    read.clear()
    list_it(root, KnownFiles(table.data()))
    assert not read, "what it met again is noted with what was new"


def test_other_bytes_of_the_same_size_with_the_old_mtime_are_hashed_again(tmp_path: Path, read: Read) -> None:
    root = small_set(tmp_path)
    path = root / "train" / "NORMAL" / "normaltrain0.jpeg"
    first, table = again(folder, root)
    before, data = path.stat(), path.read_bytes()
    read.clear()
    with path.open("r+b") as file:  # in place: the same inode
        file.write(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    second = folder(root, table)
    assert read == [path.name] and not second.table.equals(first.table)


@pytest.mark.parametrize("change", ["replaced", "renamed", "moved set"])
def test_another_file_is_another_file(change: str, tmp_path: Path, read: Read) -> None:
    root = small_set(tmp_path / "set")
    path = root / "train" / "NORMAL" / "normaltrain0.jpeg"
    first, table = again(folder, root)
    read.clear()
    if change == "replaced":  # by a copy that kept size and mtime
        copy = path.with_name(".copy")
        shutil.copy2(path, copy)
        copy.replace(path)
    elif change == "renamed":
        path.rename(path.with_name("other.jpeg"))
    else:
        shutil.copytree(root, tmp_path / "copy")
        root = tmp_path / "copy"
    second = folder(root, table)
    assert len(read) == (14 if change == "moved set" else 1)
    assert sorted(second.table["sha256"].to_pylist()) == sorted(first.table["sha256"].to_pylist())


def test_what_changed_a_moment_ago_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second change within a tick of the file system's clock would leave the same times."""
    root = small_set(tmp_path)
    _, table = again(folder, root)
    folder(root, table)
    assert not table.changed and not KnownFiles(table.data()).find([known.stamp_of(root, "x")])[0]
    monkeypatch.setattr(known, "SETTLED", -1.0)
    late = KnownFiles(table.data())
    folder(root, late)
    assert late.changed, "nothing of the files of a moment ago was noted"


def test_a_table_that_is_not_whole_knows_nothing(tmp_path: Path, read: Read) -> None:
    root = small_set(tmp_path)
    table = KnownFiles()
    first = folder(root, table)
    data = table.data()
    flipped = [data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :] for place in (0, 40, len(data) // 2)]
    for damaged in (b"", b"x", data[:-1], data + b"\0", *flipped):
        read.clear()
        assert folder(root, KnownFiles(damaged)).table.equals(first.table) and len(read) == 14


def test_a_table_of_another_version_knows_nothing(tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    root = small_set(tmp_path)
    _, table = again(folder, root)
    data = KnownFiles.data
    monkeypatch.setattr(known, "VERSION", known.VERSION + 1)
    newer = KnownFiles()
    folder(root, newer)
    written = data(newer)
    monkeypatch.undo()
    assert table.find([known.stamp_of(root / "train" / "NORMAL", "normaltrain0.jpeg")])[0] is not None
    assert KnownFiles(written).find([known.stamp_of(root / "train" / "NORMAL", "normaltrain0.jpeg")]) == [None]


def test_the_table_holds_no_name_and_every_fact_of_a_file(tmp_path: Path, read: Read) -> None:
    paths = [write(tmp_path / f"Mustermann{i}.png", i) for i in range(300)]
    stamps = [known.stamp_of(path.parent, path.name) for path in paths]
    generator = np.random.default_rng(0)
    contents = [
        known.Content(generator.bytes(32).hex(), int(generator.integers(0, 2**40)), bool(i & 1), bool(i & 2))
        for i in range(300)
    ]
    table = KnownFiles()
    table.note(stamps, contents, range(300))
    assert b"Mustermann" not in table.data() and str(tmp_path).encode() not in table.data()
    assert KnownFiles(table.data()).find([*stamps[::-1], None]) == [*contents[::-1], None]
    assert KnownFiles().find(stamps) == [None] * 300 and KnownFiles(KnownFiles().data()).find(stamps)[0] is None
