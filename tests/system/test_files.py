"""Files and folders are there whole or not at all, on the disk before they count as there; a failure leaves nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from swag_ray.system.files import aside, is_aside, make_folders, private_files, remove_asides, whole_file, whole_folder
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


@pytest.fixture(params=[0o000, 0o022, 0o077])
def any_umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("any_umask")
def test_what_is_made_is_its_owners_alone_under_any_umask(tmp_path: Path) -> None:
    make_folders(tmp_path / "run" / "plots")
    with whole_file(tmp_path / "run" / "plots" / "a.npz") as draft:
        assert mode(draft) == 0o600, "nor is there a moment in which others may read it"
        draft.write_bytes(b"all")
    with whole_folder(tmp_path / "run" / "new" / "detector") as draft:
        assert mode(draft) == 0o700
        (draft / "deep").mkdir()
        (draft / "deep" / "b").write_text("all")
    made = [tmp_path / "run", *(tmp_path / "run").rglob("*")]
    assert len(made) == 7
    assert {path.name: mode(path) for path in made} == {p.name: 0o700 if p.is_dir() else 0o600 for p in made}


@pytest.mark.usefixtures("any_umask")
def test_permissions_that_were_set_on_purpose_stay(tmp_path: Path) -> None:
    for name, bits in (("opened", 0o755), ("shared", 0o2770)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(bits)
    for name in ("opened", "shared"):
        make_folders(tmp_path / name / "stages")
        with whole_file(tmp_path / name / "a") as draft:
            draft.write_text("old")
        with whole_folder(tmp_path / name / "stages" / "b") as draft:
            (draft / "file").write_text("all")
    assert mode(tmp_path / "opened") == 0o755 and mode(tmp_path / "opened" / "a") == 0o600
    assert mode(tmp_path / "opened" / "stages" / "b") == 0o700
    shared = tmp_path / "shared"
    assert mode(shared) == mode(shared / "stages") == mode(shared / "stages" / "b") == 0o2770
    assert mode(shared / "a") == mode(shared / "stages" / "b" / "file") == 0o660
    (tmp_path / "opened" / "a").chmod(0o644)
    with whole_file(tmp_path / "opened" / "a") as draft:
        draft.write_text("new")
    assert mode(tmp_path / "opened" / "a") == 0o644


@pytest.mark.usefixtures("any_umask")
def test_what_others_write_for_us_is_private_too(tmp_path: Path) -> None:
    before = os.umask(0)
    os.umask(before)
    with private_files():
        (tmp_path / "log").write_text("all")
        (tmp_path / "session").mkdir()
    assert mode(tmp_path / "log") == 0o600 and mode(tmp_path / "session") == 0o700
    assert os.umask(before) == before, "the process's own umask is back"
