"""`swag-ray score`: the bundle, copied anywhere, scores as the run scored its test images; the unreadable is told."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from swag_ray.config import Config
from swag_ray.detector.bundle import load_detector
from swag_ray.run.run import run_experiment
from tests.support.command_line import Command, borrowed

pytestmark = pytest.mark.ray
Tiny = Callable[..., Config]
Row = dict[str, Any]
MEANING = re.compile(
    r"The threshold flags about 1 in 20 images like your trusted ones \(\d+\.\d% to \d+\.\d% of them, in 90 of 100 "
    r"cases\); whether these score like the trusted images takes 50 images or more to tell"
)


def recorded(run: Path) -> dict[str, Row]:
    """scores.parquet by file name."""
    return {Path(row["path"]).name: row for row in pq.read_table(run / "scores.parquet").to_pylist()}


def assert_same(rows: list[Row], run: Path, rate: float = 0.05) -> None:
    """Every test image once, with the run's score and p, bit for bit."""
    wanted = recorded(run)
    assert sorted(Path(row["path"]).name for row in rows) == sorted(wanted)
    for row in rows:
        expected = wanted[Path(row["path"]).name]
        assert (row["score"], row["p"]) == (expected["incremental"], expected["p"])
        assert row["above_threshold"] == (row["p"] <= rate) and row["seconds"] > 0


def test_a_copied_bundle_scores_as_the_run_did(command: Command, bundle: Path, finished: Path, tests: Path) -> None:
    out = bundle.parent / "scores.parquet"
    ended = command("score", bundle, tests, "--out", out)
    assert (ended.code, ended.err) == (0, "")
    rows = pq.read_table(out).to_pylist()
    assert_same(rows, finished)
    flagged = sum(row["above_threshold"] for row in rows)
    told, meaning = ended.out.splitlines()
    assert told == f"48 images scored, {flagged} flagged (p <= 0.05), written to {out}" and MEANING.fullmatch(meaning)
    assert rows == sorted(rows, key=lambda row: (row["p"], -row["score"], row["path"])), "the most suspicious first"
    assert len({row["score"] for row in rows}) > 40, "scores that tell images apart"


def test_a_rate_that_no_p_reaches_is_told(command: Command, bundle: Path, tests: Path) -> None:
    described = json.loads((bundle / "detector.json").read_text())
    (bundle / "detector.json").write_text(json.dumps(described | {"rate": 0.001}))
    ended = command("score", bundle, tests, "--out", bundle.parent / "scores.csv")
    assert ended.code == 0 and "0 flagged (p <= 0.001)" in ended.out
    assert "score: no image can be flagged, whatever it shows" in ended.err and "the rate is 0.001" in ended.err


def test_files_and_folders_in_three_formats(
    command: Command, finished: Path, tests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swag_ray.score.chunks.CHUNK", 3)  # several batches, one of them without a readable image
    few = sorted((tests / "NORMAL").iterdir())[:3]
    mixed = tmp_path / "mixed" / "below"
    mixed.mkdir(parents=True)
    shutil.copy(few[0], mixed / "COPY.PNG")
    for name in ("a.png", "b.jpg", "c.jpeg"):
        (mixed / name).write_bytes(b"")
    (mixed / "notes.txt").write_text("not asked for")
    (mixed / ".hidden.png").write_bytes(b"")
    (mixed / ".ipynb_checkpoints").mkdir()
    shutil.copy(few[1], mixed / ".ipynb_checkpoints" / "copy-checkpoint.png")
    (mixed / "gone.png").symlink_to(tmp_path / "nowhere.png")
    asked = [*few, few[0], tmp_path / "mixed", "/proc/self/mem"]
    read: dict[str, list[Row]] = {}
    for suffix in ("csv", "json", "parquet"):
        out = tmp_path / f"scores.{suffix}"
        ended = command("score", finished, *asked, "--out", out, "--quiet", "--order", "path")
        assert (ended.code, ended.out) == (0, "")
        skipped = [line.removeprefix("swag-ray: skipped ") for line in ended.err.splitlines()]
        assert [re.sub(r"^.*/", "", line) for line in skipped[:3]] == [
            f"{n}: empty file" for n in ("a.png", "b.jpg", "c.jpeg")
        ]
        assert skipped[3].startswith("/proc/self/mem: "), "whatever cannot be read is named"
        assert skipped[4:] == ["swag-ray: left out 1 file of another type (.txt), 1 link that leads nowhere"]
        match suffix:
            case "csv":
                with out.open(newline="") as file:
                    read[suffix] = [typed(row) for row in csv.DictReader(file)]
            case "json":
                read[suffix] = json.loads(out.read_text())
            case _:
                read[suffix] = pq.read_table(out).to_pylist()
    names = sorted([*(str(path) for path in few), str(mixed / "COPY.PNG")])
    for suffix, every in read.items():
        assert list(every[0]) == [
            "path", "id", "score", "p", "above_threshold", "status", "out_of_domain", "detector", "seconds",
        ]  # fmt: skip
        without = [row for row in every if row["status"] != "scored"]
        empty = [Path(row["path"]).name for row in without if row["status"] == "empty file"]
        assert empty == ["a.png", "b.jpg", "c.jpeg"]
        assert len(without) == 4 and all(
            row[key] is None for row in without for key in ("score", "p", "above_threshold")
        )
        read[suffix] = [row for row in every if row["status"] == "scored"]
    for rows in read.values():
        assert [row["path"] for row in rows] == names, "each once"
        by_name = {Path(row["path"]).name: row for row in rows}
        copy, original = by_name["COPY.PNG"], by_name[few[0].name]
        assert copy["score"] == pytest.approx(original["score"], abs=1e-6), "the same image under another name"
        assert copy["id"] == f"COPY-{hashlib.sha256(few[0].read_bytes()).hexdigest()[:8]}"
    plain = [[(row["path"], row["above_threshold"]) for row in rows] for rows in read.values()]
    assert plain[0] == plain[1] == plain[2]
    for name in ("score", "p"):
        columns = np.array([[row[name] for row in rows] for rows in read.values()])
        assert np.allclose(columns, columns[0], atol=1e-9)


def typed(row: dict[str, str]) -> Row:
    return row | {name: float(row[name]) if row[name] else None for name in ("score", "p", "seconds")} | {
        "above_threshold": {"true": True, "false": False, "": None}[row["above_threshold"].lower()]
    }  # fmt: skip


def test_what_cannot_be_scored_is_one_line_and_writes_nothing(
    command: Command, finished: Path, tests: Path, tmp_path: Path
) -> None:
    out, image, empty = tmp_path / "s.csv", next((tests / "NORMAL").iterdir()), tmp_path / "empty"
    empty.mkdir()
    cases = {
        (
            finished,
            image,
            tmp_path / "s.txt",
        ): r"^--out: '.*/s\.txt' must end in \.csv, .*, or be - for CSV on the terminal$",
        (finished, image, tmp_path / "none" / "s.csv"): r"^--out: no folder '.*/none'; make it first$",
        (finished, tmp_path / "no.png", out): r"^score: no file or folder '.*/no\.png'$",
        (finished, empty, out): r"^score: no image \(\.jpeg, \.jpg, .*\.gif, .*\.ima\) in .*/empty$",
        (empty, image, out): r"^detector: '.*/empty' holds no detector\.json \(No such file .*\); give a run directory",
    }
    for (run, images, place), said in cases.items():
        complaint = command("score", run, images, "--out", place).complaint
        assert re.search(said, complaint), complaint
        assert not place.exists()


@pytest.mark.parametrize("name", ["arrays.npz", "backbone.safetensors", "detector.json", "trusted.npz"])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_a_damaged_bundle_never_scores(
    command: Command, bundle: Path, tests: Path, tmp_path: Path, name: str, damage: str
) -> None:
    path = bundle / name
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        os.truncate(path, len(data) // 2)
    else:
        data[len(data) // 2] ^= 0x10 if name != "detector.json" else 0xFF
        path.write_bytes(data)
    complaint = command("score", bundle, tests / "NORMAL", "--out", tmp_path / "s.csv").complaint
    assert complaint.startswith("detector: ") and name in complaint
    assert not (tmp_path / "s.csv").exists()


def test_a_bundle_of_another_format(command: Command, bundle: Path, tests: Path, tmp_path: Path) -> None:
    record = json.loads((bundle / "detector.json").read_text())
    (bundle / "detector.json").write_text(json.dumps(record | {"format": 99}))
    complaint = command("score", bundle, tests, "--out", tmp_path / "s.csv").complaint
    assert complaint.endswith("has format 99, this version reads 3; it is newer: update swag-ray")
    (bundle / "detector.json").write_text(json.dumps(record | {"format": 2}))
    complaint = command("score", bundle, tests, "--out", tmp_path / "s.csv").complaint
    assert complaint.endswith("this version reads 3; it is older: run again, or score with the version of the run")


@pytest.mark.parametrize("method", ["contrast", "published"])
def test_the_bundle_of_a_head_and_of_an_adapter(
    command: Command, tiny: Tiny, finished: Path, session_store: Path, tests: Path, tmp_path: Path, method: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Heads of so few images of so few pixels need not have a weight; here they have one, good or not."""
    store = borrowed(session_store, tmp_path / "store")
    monkeypatch.setattr("swag_ray.methods.contrast_fit.head_weight", lambda found: (0.4, "made up"))
    monkeypatch.setattr("swag_ray.methods.auxiliary_fit.auxiliary_weight", lambda *found: (0.7, "made up"))
    overrides = ["rounds=1", "controls=[]"]
    if method == "contrast":
        overrides += ["outliers.probability=0.1"]
    else:
        overrides += ["adapter.dim=8", "adapter.warmup_epochs=1", "adapter.round_epochs=1", "swag.samples=2"]
    run = run_experiment(tiny(*overrides, method=method, store=store), tmp_path / "run")
    assert run.metrics["incremental"]["score_used"] == {"contrast": "fused", "published": "bank"}[method]
    arms = [arm.name for arm in load_detector(tmp_path / "run" / "detector").arms]
    assert arms == (["bank", "auxiliary", "head"] if method == "contrast" else [])
    ended = command("score", tmp_path / "run", tests, "--out", tmp_path / "s.parquet")
    assert (ended.code, ended.err) == (0, "")
    assert_same(pq.read_table(tmp_path / "s.parquet").to_pylist(), tmp_path / "run")


@pytest.mark.parametrize(
    "name", ["hf-hub:someone/model", "hf_hub:someone/model", "local-dir:/tmp/model", "no_such_net"]
)
def test_a_bundle_never_asks_a_network(
    command: Command, bundle: Path, tests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked = []

    def refuse(*arguments: Any, **options: Any) -> Any:
        asked.append(arguments)
        raise OSError("no network in this test")

    for where in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, where, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    out = tmp_path / "scores.csv"
    assert command("score", bundle, tests / "NORMAL", "--out", out).code == 0 and not asked
    record = json.loads((bundle / "detector.json").read_text())
    record["spec"]["backbone"] = name
    (bundle / "detector.json").write_text(json.dumps(record))
    out.unlink()
    assert "does not fit this timm" in command("score", bundle, tests / "NORMAL", "--out", out).complaint
    assert not asked and not out.exists()


def test_a_spreadsheet_runs_no_file_name(command: Command, bundle: Path, tests: Path, tmp_path: Path) -> None:
    image = next(tests.rglob("*.png"))
    folder = tmp_path / "=cmd|calc!A1"
    folder.mkdir()
    shutil.copy(image, folder / "a.png")
    out = tmp_path / "scores.csv"
    with contextlib.chdir(tmp_path):
        assert command("score", bundle, folder.name, "--out", out).code == 0
    (row,) = csv.DictReader(out.open())
    assert row["path"] == f"'{folder.name}/a.png" and 0 < float(row["p"]) <= 1
    assert (out.stat().st_mode & 0o777) == 0o600, "file names of patients"


def test_nothing_in_a_bundle_is_unpickled(bundle: Path) -> None:
    """A bundle comes from anywhere; loading it must run nothing of it."""
    import hashlib

    np.savez(bundle / "arrays.npz", seed_fold=np.array([{"a": 1}], dtype=object))
    record = json.loads((bundle / "detector.json").read_text())
    record["sha256"]["arrays.npz"] = hashlib.sha256((bundle / "arrays.npz").read_bytes()).hexdigest()
    (bundle / "detector.json").write_text(json.dumps(record))
    with pytest.raises(Exception, match="is damaged or missing"):
        load_detector(bundle)
