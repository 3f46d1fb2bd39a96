"""Where `score` and `calibrate` may write: not over what they read or a run keeps, not twice to one file."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from swag_ray.detector.bundle import load_detector
from swag_ray.errors import InputError
from swag_ray.score.drift import append_to_log
from swag_ray.score.outputs import check_written
from tests.support.command_line import Command
from tests.support.small_disk import SmallDisk


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder of a film and a table of it; only their names are looked at."""
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"none")
    (folder / "list.csv").write_text("path\na.png\n")
    return folder


def test_what_is_read_is_not_written_over(films: Path, tmp_path: Path) -> None:
    given = [str(films / "list.csv"), str(films)]
    with pytest.raises(InputError, match=r"^--out: '.*list\.csv' is read, and would be written over; choose another"):
        check_written([("--out", films / ".." / "films" / "list.csv")], None, given)
    for inside in (films, films / "maps"):
        with pytest.raises(InputError, match=r"^--heatmaps: .* lies in '.*films', of which all is scored"):
            check_written([], inside, given)
    check_written([("--out", tmp_path / "scores.csv")], tmp_path / "maps", [*given, "s3://bucket/films"])


@pytest.mark.ray
def test_what_a_run_keeps_is_not_written_over(
    command: Command, finished: Path, bundle: Path, films: Path, tmp_path: Path
) -> None:
    (tmp_path / "latest").symlink_to(finished)
    log, own = tmp_path / "s.csv", {"config.yaml", "metrics.json", "pool.csv", "report.html", "profile.json"}
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    cases = [
        *(("--drift-log", folder / name, "run") for name in own for folder in (finished, tmp_path / "latest")),
        ("--out", finished / "scores.parquet", "run"), ("--out", finished / "changes.csv", "run"),
        ("--report", finished / "report.html", "run"),
        *(("--out", folder / "detector.json", "detector") for folder in (finished / "detector", bundle)),
    ]  # fmt: skip
    for option, file, owner in cases:
        more = () if option == "--out" else ("--out", log)
        complaint = command("score", finished, films, option, file, *more).complaint
        assert complaint == f"{option}: '{file}' is a file of the {owner} there itself; choose another name"
    for folder in (finished / "detector", finished / "plots" / "more"):
        complaint = command("score", finished, films, "--out", log, "--heatmaps", folder).complaint
        assert complaint == f"--heatmaps: '{folder}' lies in a folder of the run's own; choose another folder"
    for name in ("metrics.json", "detector/model_card.json"):
        complaint = command("calibrate", finished, films, "--out", finished / name).complaint
        assert "there itself; choose another name" in complaint
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before
    check_written([("--out", finished / "new.parquet"), ("--out", tmp_path / "pool.csv")], finished / "maps", [films])


def test_no_two_results_are_one_file(command: Command, films: Path, tmp_path: Path) -> None:
    out, page, partial = tmp_path / "s.csv", tmp_path / "s.html", tmp_path / "s.csv.partial"
    cases = (
        (("--out", out, "--drift-log", out), "--drift-log: '.*s.csv' is where --out writes; choose another place"),
        (("--out", out, "--drift-log", partial), "--drift-log: '.*s.csv.partial' is where --out writes"),
        (("--out", "-", "--report", page, "--drift-log", page), "--drift-log: '.*s.html' is where --report writes"),
        (("--out", out, "--heatmaps", out), "--heatmaps: '.*s.csv' is where --out writes"),
        (("--out", tmp_path / "s.json", "--site", tmp_path / "s.json"), "--out: '.*s.json' is read, and would be"),
    )
    for options, said in cases:
        assert re.match(said, command("score", tmp_path, films, *options).complaint)
    assert {path.name for path in tmp_path.iterdir()} == {"films"}


@pytest.mark.ray
def test_a_line_that_does_not_fit_the_disk_leaves_no_half(bundle: Path, small_disk: Callable[[str], SmallDisk]) -> None:
    detector = load_detector(bundle)
    disk = small_disk("8k")  # two pages
    log, site_TK = disk.path / "drift.jsonl", np.linspace(-9, 9, 400)[:, None] + detector.site_seed_s.mean()
    append_to_log(log, "0" * 16, detector, site_TK[:9])
    first = log.read_bytes()
    (disk.path / "other").write_bytes(b"0" * 4096)
    with pytest.raises(
        InputError, match=r"^--drift-log: cannot write '.*' \(No space left on device\); free space there"
    ):
        append_to_log(log, "0" * 16, detector, site_TK)
    assert log.read_bytes() == first


@pytest.mark.ray
def test_what_cannot_be_written_to_is_refused_before_anything_is_scored(
    command: Command, finished: Path, films: Path, tmp_path: Path, small_disk: Callable[[str], SmallDisk]
) -> None:
    disk = small_disk("64k")
    disk.remount("ro")
    for place in (disk.path / "site.json", tmp_path):
        said = f"--out: cannot write '{place}'; choose another place" if place.suffix else "must end in .json"
        assert said in command("calibrate", finished, films, "--out", place).complaint
    said = command("calibrate", finished, films / "data.json", "--out", films / "data.json").complaint
    assert said == f"--out: '{films / 'data.json'}' is read, and would be written over; choose another file"
    log = disk.path / "drift.jsonl"
    said = command("score", finished, films, "--out", tmp_path / "s.csv", "--drift-log", log).complaint
    assert said == f"--drift-log: cannot write '{log}'; choose another place"


@pytest.mark.ray
def test_a_reader_that_went_away_takes_no_more_than_the_table(bundle: Path, films: Path, tmp_path: Path) -> None:
    (tmp_path / "many.csv").write_text("path\n" + "".join(f"none/{'x' * 200}{i}.png\n" for i in range(600)))
    page = tmp_path / "page.html"
    arguments = ["score", bundle, tmp_path / "many.csv", "--out", "-", "--report", page]
    with subprocess.Popen(
        [sys.executable, "-m", "swag_ray.cli", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as program:  # fmt: skip
        assert program.stdout is not None and program.stderr is not None
        assert program.stdout.readline().startswith('"path","id"')
        program.stdout.close()
        err = program.stderr.read()
    assert program.returncode == 0 and page.exists(), err[-500:]
    assert "0 images scored, 600 not scored" in err and "Ray" not in err
