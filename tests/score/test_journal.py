"""What a call of `score` keeps as it goes on, and what of it the next one believes."""

from __future__ import annotations

from pathlib import Path

import pytest

from swag_ray.errors import InputError
from swag_ray.images.frames import frame_name
from swag_ray.score.journal import Journal, digest_of_files
from swag_ray.score.rows import rows_of
from tests.score.test_table import image

DONE = rows_of([image("a", 0.5), image("b", 0.1)])


def test_what_was_kept_is_there_again_but_half_a_line(tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    first = Journal(out, {"detector": "d"})
    first.add(0, "x", DONE)
    first.add(1, "y", DONE)
    with first.path.open("a") as file:
        file.write('{"id": "' + first.id)
    second = Journal(out, {"detector": "d"})
    assert second.id == first.id and second.rows(0, "x") == DONE
    assert second.rows(1, "other files") is None and second.rows(2, "x") is None
    second.add(2, "z", DONE)
    assert Journal(out, {"detector": "d"}).rows(2, "z") == DONE, "behind no half line"
    second.remove()
    assert not first.path.exists()


def test_no_call_believes_the_rows_of_another(tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    ours = Journal(out, {"detector": "ours"})
    theirs = Journal(out, {"detector": "theirs"})  # begins the file anew, while we still write
    ours.add(0, "x", DONE)
    assert theirs.id != ours.id and Journal(out, {"detector": "theirs"}).rows(0, "x") is None


def test_what_could_not_be_read_is_tried_again(tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    Journal(out, {}).add(0, "x", rows_of([image("a", 0.5), image("b", None, status="Input/output error")]))
    assert Journal(out, {}).rows(0, "x") is None


def test_a_file_that_changed_is_another(tmp_path: Path) -> None:
    scan = tmp_path / "scan.dcm"
    frame = tmp_path / frame_name("scan.dcm", 1)
    seen = []
    for data in (b"1", b"22", b"333"):
        scan.write_bytes(data)
        seen.append(digest_of_files([frame], "all"))
    assert len(set(seen)) == 3, "a frame is its file"
    assert digest_of_files([scan], "refuse") != digest_of_files([tmp_path / "other.dcm"], "refuse")


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "scores.csv.partial").mkdir()
    with pytest.raises(InputError, match=r"^--out: cannot write '.*scores\.csv\.partial'"):
        Journal(tmp_path / "scores.csv", {})
