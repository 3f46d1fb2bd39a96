"""What `score` takes: files, folders, tables with columns of their own, places on s3://."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swag_ray.errors import InputError
from swag_ray.score.inputs import find_inputs
from tests.support.command_line import Command
from tests.support.s3 import Bucket

Rows = list[dict[str, Any]]


def few(tmp_path: Path, *names: str) -> Path:
    """A folder of files that are called as images; only their names are looked at."""
    folder = tmp_path / "films"
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"none")
    return folder


def test_an_image_is_there_once_and_every_row_of_a_table_has_its_own(tmp_path: Path) -> None:
    folder = few(tmp_path, "a.png", "b.png", "c.png")
    table = folder / "list.csv"
    table.write_text("path;ward\na.png;3\na.png;4\ngone.png;5\n")
    found = find_inputs("score", [folder / "b.png", folder, table, folder / "b.png"])
    assert [place.name for place in found.places] == ["b.png", "c.png", "a.png", "a.png", "gone.png"]
    assert found.further is not None
    assert found.further["ward"].to_pylist() == [None, None, "3", "4", "5"]
    assert found.further["path"].to_pylist() == [None, None, "a.png", "a.png", "gone.png"], "to join it by"
    again = find_inputs("score", [folder / "b.png", folder / "b.png"], once=False)
    assert [place.name for place in again.places] == ["b.png", "b.png"]
    assert found.left_out == {"files of another type (.csv)": 1}


def test_tables_of_other_columns_go_together_and_of_other_types_do_not(tmp_path: Path) -> None:
    folder = few(tmp_path, "a.png", "b.png")
    (folder / "one.csv").write_text("path,ward\na.png,3\n")
    pq.write_table(pa.table({"Path": ["b.png"], "age": [61]}), folder / "two.parquet")
    found = find_inputs("score", [folder / "one.csv", folder / "two.parquet"])
    assert found.further is not None
    assert found.further.select(["ward", "age"]).to_pylist() == [{"ward": "3", "age": None}, {"ward": None, "age": 61}]
    pq.write_table(pa.table({"path": ["b.png"], "ward": [3]}), folder / "three.parquet")
    with pytest.raises(InputError, match=r"^score: the tables' columns do not go together .*; score them one by one$"):
        find_inputs("score", [folder / "one.csv", folder / "three.parquet"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file\na.png\n", r"list\.csv has no column path \(file\); call the column"),
        ("path\n", r"list\.csv lists no image; add rows$"),
        ("path\na\0.png\n", r"list\.csv, image 1: its path is none \(it holds a zero byte\); mend it$"),
        ("path,ward\n,3\n", r"list\.csv, image 1: has no path; give one or remove the row$"),
        ('path\n"a.png\n', r"list\.csv is no manifest"),
    ],
)
def test_a_table_that_is_none_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    table = few(tmp_path, "a.png") / "list.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=said):
        find_inputs("score", [table])


@pytest.mark.ray
def test_a_tables_columns_come_out_again_behind_ours(
    command: Command, bundle: Path, tests: Path, tmp_path: Path
) -> None:
    images = sorted((tests / "NORMAL").iterdir())[:3]
    listed = [*map(str, images), str(tmp_path / "gone.png")]
    rows = zip(listed, ["w1", "w2", "", "w4"], [3, 2, 1, 0], strict=True)
    (tmp_path / "list.csv").write_text("path,ward,score\n" + "".join(f"{p},{w},{s}\n" for p, w, s in rows))
    out = tmp_path / "scores.json"
    ended = command("score", bundle, tmp_path / "list.csv", "--out", out, "--strict")
    assert ended.code == 1 and "skipped" in ended.err and "3 images scored, 1 not scored" in ended.out
    found: Rows = json.loads(out.read_text())
    assert list(found[0])[-4:] == ["seconds", "manifest_path", "ward", "manifest_score"]
    by_path = {row["path"]: (row["ward"], row["manifest_score"]) for row in found}
    assert by_path == dict(zip(listed, [("w1", "3"), ("w2", "2"), (None, "1"), ("w4", "0")], strict=True))
    assert found[-1]["path"] == listed[-1] and found[-1]["status"] == "No such file or directory"


def test_a_frame_goes_in_by_the_name_that_it_came_out_by(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    from tests.support.dicom import film, saved

    (tmp_path / "scan.dcm").write_bytes(saved(film(np.zeros((3, 40, 60), np.uint16))))
    named = tmp_path / "scan.dcm#frame=2"
    (tmp_path / "list.csv").write_text("path,ward\nscan.dcm#frame=3,4\ngone.dcm#frame=1,5\n")
    found = find_inputs("score", [named, tmp_path / "scan.dcm", tmp_path / "list.csv"], "all")
    assert [place.name for place in found.places] == [
        "scan.dcm#frame=2", "scan.dcm#frame=1", "scan.dcm#frame=3", "gone.dcm#frame=1",
    ]  # fmt: skip
    assert found.further is not None and found.further["ward"].to_pylist() == [None, None, "4", "5"]
    for frames, file in (("middle", named), ("all", tmp_path / "gone.dcm#frame=1")):
        with pytest.raises(InputError, match=r"^score: no file or folder '.*#frame=.'$"):
            find_inputs("score", [file], frames)
    named.write_bytes(b"none")
    with pytest.raises(InputError, match=r"^score: the file name 'scan\.dcm#frame=2' is what dataset\.frames: all"):
        find_inputs("score", [named], "all")


@pytest.mark.ray
def test_what_cannot_be_read_has_its_row_also_where_nothing_can(
    command: Command, bundle: Path, tests: Path, tmp_path: Path
) -> None:
    image = next((tests / "NORMAL").iterdir())
    (tmp_path / "broken.png").write_bytes(image.read_bytes()[:200])
    out, log = tmp_path / "scores.json", tmp_path / "drift.jsonl"
    ended = command("score", bundle, tmp_path / "broken.png", "--out", out, "--drift-log", log)
    assert ended.code == 0 and "0 images scored, 1 not scored, 0 flagged" in ended.out
    (row,) = json.loads(out.read_text())
    assert row["status"] == "truncated or damaged PNG" and row["score"] is None and row["id"].startswith("broken-")
    assert not log.exists(), "there is nothing to note"


@pytest.mark.ray
def test_the_table_alone_goes_to_standard_output(command: Command, bundle: Path, tests: Path, tmp_path: Path) -> None:
    shutil.copytree(tests / "NORMAL", tmp_path / "films")
    (tmp_path / "films" / "empty.png").write_bytes(b"")
    ended = command("score", bundle, tmp_path / "films", "--out", "-")
    lines = ended.out.splitlines()
    assert lines[0].startswith('"path","id","score"') and len(lines) == 1 + 24 + 1
    assert "24 images scored, 1 not scored" in ended.err and "The threshold flags" in ended.err
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.ray
def test_folders_and_tables_on_s3(command: Command, bundle: Path, tests: Path, tmp_path: Path, bucket: Bucket) -> None:
    """As from the disk."""
    local, remote = tmp_path / "local.json", tmp_path / "remote.json"
    assert command("score", bundle, tests / "NORMAL", "--out", local, "--order", "path").code == 0
    for image in (tests / "NORMAL").iterdir():
        bucket.put(f"films/{image.name}", image.read_bytes())
    names = sorted(image.name for image in (tests / "NORMAL").iterdir())
    listed = "".join(f"films/{name},{i}\n" for i, name in enumerate(names))
    bucket.put("list.csv", f"path,number\n{listed}".encode())
    given = [bucket.address("films"), bucket.address("list.csv")]
    page = tmp_path / "page.html"
    ended = command("score", bundle, *given, "--out", remote, "--order", "path", "--report", page)
    assert ended.code == 0, ended.err
    assert page.read_text(encoding="utf-8").count('class="layers"') == 24, "each film, read there again"
    near, far = (json.loads(path.read_text()) for path in (local, remote))
    assert [(row["id"], row["score"], row["p"]) for row in near] == [(row["id"], row["score"], row["p"]) for row in far]
    assert [row["number"] for row in far] == [str(i) for i in range(24)]
    assert all(row["path"].startswith(bucket.address("films/")) for row in far)
    assert "no file or folder" in command("score", bundle, bucket.address("none"), "--out", remote).complaint
