"""Files and folders are there whole or not at all, on the disk before they count as there; a failure leaves nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swag_ray.system.files import aside, is_aside, remove_asides, whole_file, whole_folder
from tests.support.small_disk import mount


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """What was made durable, in order: its name, and what its folder (a folder: itself) held then."""
    seen: list[tuple[str, list[str]]] = []
    sync = os.fsync

    def recorded(handle: int) -> None:
        sync(handle)
        path = Path(f"/proc/self/fd/{handle}").resolve()
        seen.append((path.name, sorted(os.listdir(path if path.is_dir() else path.parent))))

    monkeypatch.setattr(os, "fsync", recorded)
    return seen


def test_a_file_is_on_the_disk_before_its_name_and_its_name_before_the_return(
    tmp_path: Path, synced: list[tuple[str, list[str]]]
) -> None:
    with whole_file(tmp_path / "a.txt") as draft:
        draft.write_text("all")
    assert (tmp_path / "a.txt").read_text() == "all"
    (name, then), (folder, after) = synced
    assert is_aside(name, "a.txt") and then == [name], "the content first, under another name"
    assert folder == tmp_path.name and after == ["a.txt"], "then the folder that names it"


def test_a_folder_is_on_the_disk_before_its_name(tmp_path: Path, synced: list[tuple[str, list[str]]]) -> None:
    with whole_folder(tmp_path / "new" / "a") as draft:
        (draft / "deep").mkdir()
        (draft / "deep" / "file").write_text("all")
        (draft / "file").write_text("all")
    assert (tmp_path / "new" / "a" / "deep" / "file").read_text() == "all"
    *inside, last = synced
    assert last == ("new", ["a"]), "the name after all that it names"
    draft_name = next(name for name, _ in inside if is_aside(name, "a"))
    assert sorted(name for name, _ in inside) == sorted(["file", "file", "deep", draft_name])


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path, whole) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), whole(tmp_path / "a") as draft:
        (draft / "file" if draft.is_dir() else draft).write_text("half")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "old"


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    disk = mount(tmp_path / "disk", "64k")
    try:
        (disk.path / "a").write_text("old")
        with pytest.raises(OSError, match="No space"), whole_file(disk.path / "a") as draft:
            draft.write_bytes(bytes(10**6))
        with pytest.raises(OSError, match="No space"), whole_folder(disk.path / "b") as draft:
            (draft / "file").write_bytes(bytes(10**6))
        assert os.listdir(disk.path) == ["a"] and (disk.path / "a").read_text() == "old"
    finally:
        disk.unmount()


def test_a_folder_that_another_process_made_first_stays(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError), whole_folder(tmp_path / "a") as draft:
        (draft / "file").write_text("second")
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "file").write_text("first")
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a" / "file").read_text() == "first"


def test_what_kills_left_is_known_by_its_name_and_removed(tmp_path: Path) -> None:
    foreign = [".a.tmp", ".bashrc", "b.tmp", ".c.0123abcz.tmp"]
    (tmp_path / "plots").mkdir()
    for path in (aside(tmp_path / "a"), aside(tmp_path / "plots" / "b"), *(tmp_path / name for name in foreign)):
        path.write_text("half")
    aside(tmp_path / "detector").mkdir()
    remove_asides(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*foreign, "plots"]) and not os.listdir(tmp_path / "plots")
    assert is_aside(aside(tmp_path / "a.b").name, "a.b") and not is_aside(aside(tmp_path / "a.b").name, "a")
