"""`calibrate`, `score --site`, `drift`: a place's threshold, found and used, and every way in which it cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from swag_ray.core.alignment import align, aligned_p
from swag_ray.core.local_normals import place_of, place_p, rank_p
from swag_ray.detector.bundle import digest_of, load_detector
from swag_ray.score.score import score_images
from tests.support.command_line import Command

pytestmark = pytest.mark.ray
Row = dict[str, Any]


@pytest.fixture
def train(tests: Path) -> Path:
    """Train images of both classes."""
    return tests.parent / "train"


@pytest.fixture
def brighter(tests: Path, train: Path, tmp_path: Path) -> Path:
    """Copies of 120 normals as another scanner gives them."""
    folder = tmp_path / "brighter"
    folder.mkdir()
    for path in sorted([*(train / "NORMAL").iterdir(), *(tests / "NORMAL").iterdir()])[:120]:
        levels = np.asarray(Image.open(path).convert("L")).astype(float)
        Image.fromarray((60 + 0.75 * levels).astype(np.uint8)).save(folder / path.name)
    return folder


def scored(command: Command, *arguments: Any, out: Path) -> list[Row]:
    ended = command("score", *arguments, "--out", out, "--quiet", "--order", "path")
    assert ended.code == 0, ended.err
    rows: list[Row] = json.loads(out.read_text())
    return rows


def test_an_unlabelled_batch_moves_the_threshold(
    command: Command, finished: Path, brighter: Path, tmp_path: Path
) -> None:
    site, out = tmp_path / "site.json", tmp_path / "scores.json"
    ended = command("calibrate", finished, brighter, "--out", site)
    assert ended.code == 0 and f"written to {site}" in ended.out and f"--site {site}" in ended.out
    detector, site_TK = load_detector(finished / "detector"), score_images("score", finished, [brighter]).site_nK
    found, record = align(detector.site_seed_s, site_TK), json.loads(site.read_text())
    assert record["kind"] == "aligned" and record["n"] == len(site_TK)
    assert record["detector"] == digest_of(finished / "detector") and record["date"].startswith("20")
    assert (record["a"], record["contamination"], record["residual"]) == (
        found.shift, found.contamination, found.residual
    )  # fmt: skip
    assert record["interval"][0] < record["a"] < record["interval"][1]

    rows = scored(command, finished, brighter, "--site", site, out=out)
    expected = aligned_p(found, detector.site_seed_s, detector.seed_fold, site_TK)
    assert [row["aligned_p"] for row in rows] == expected.tolist()
    assert [row["above_threshold"] for row in rows] == (expected <= detector.rate).tolist()
    plain = scored(command, finished, brighter, out=out)
    assert [(row["score"], row["p"]) for row in rows] == [(row["score"], row["p"]) for row in plain]
    assert "aligned_p" not in plain[0]
    flagged = [sum(row["above_threshold"] for row in found) for found in (plain, rows)]
    assert flagged[1] < flagged[0], "another scanner is no disease"


@pytest.mark.parametrize("count", [30, 110])
def test_known_normals_set_the_threshold(
    command: Command, finished: Path, brighter: Path, tmp_path: Path, count: int
) -> None:
    known = sorted(brighter.iterdir())[:count]
    site, out = tmp_path / "site.json", tmp_path / "scores.json"
    ended = command("calibrate", finished, *known, "--normals", "--out", site)
    assert ended.code == 0 and f"{count} known normals" in ended.out and "in 90 of 100 cases" in ended.out
    detector, score_mK = load_detector(finished / "detector"), score_images("score", finished, known).score_nK
    record = json.loads(site.read_text())
    assert record["kind"] == "normals" and record["n"] == count and ("scores" in record) == (count >= 100)
    assert record["mean"] == pytest.approx(score_mK.mean())
    assert record["sd"] == pytest.approx(score_mK.std() * np.sqrt(count / (count - 1)))
    rows = scored(command, finished, *known, "--site", site, out=out)
    expected = (
        rank_p(score_mK.mean(axis=1), score_mK)
        if count >= 100
        else place_p(place_of(score_mK), detector.seed_s, detector.seed_fold, score_mK)
    )
    np.testing.assert_allclose([row["aligned_p"] for row in rows], expected)
    assert np.mean([row["above_threshold"] for row in rows]) < 0.12


def test_score_says_whether_the_batch_is_like_the_seeds(
    command: Command, finished: Path, brighter: Path, tests: Path, tmp_path: Path
) -> None:
    out, site = tmp_path / "scores.csv", tmp_path / "site.json"
    shifted = command("score", finished, brighter, "--out", out)
    assert "these do not score like the trusted images: shifted by" in shifted.err
    assert "swag-ray calibrate" in shifted.err and "these do not score like" in shifted.out
    assert command("calibrate", finished, brighter, "--out", site).code == 0
    here = command("score", finished, brighter, "--site", site, "--out", out)
    assert (
        "score like" not in here.err
        and "these score like the site: shift" in here.out
        and "At this site the threshold flags about 1 in 20 normal images" in here.out
        and "(aligned p <= 0.05)" in here.out
    )
    few = command("score", finished, tests / "NORMAL", "--out", out)
    assert few.err == "" and "takes 50 images or more to tell" in few.out


def test_images_unlike_anything_seen_say_so(command: Command, finished: Path, tests: Path, tmp_path: Path) -> None:
    odd, out = tmp_path / "odd", tmp_path / "scores.json"
    odd.mkdir()
    plain = sorted((tests / "NORMAL").iterdir())[:3]
    levels = np.asarray(Image.open(plain[0]).convert("L"))
    Image.fromarray(255 - levels).save(odd / "negative.png")
    noise = np.random.default_rng(0).integers(0, 255, (300, 900)).astype(np.uint8)
    Image.fromarray(noise).save(odd / "noise.png")
    ended = command("score", finished, *plain, odd, "--out", out)
    rows = {Path(row["path"]).name: row["out_of_domain"] for row in json.loads(out.read_text())}
    assert all(rows[path.name] is None for path in plain)
    assert "inverted" in rows["negative.png"] and rows["noise.png"]
    assert "2 images are unlike anything the detector was made for (out_of_domain)" in ended.err


def test_another_rate(command: Command, finished: Path, tests: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.json"
    rows = scored(command, finished, tests, "--rate", "0.3", out=out)
    assert [row["above_threshold"] for row in rows] == [row["p"] <= 0.3 for row in rows]
    assert any(row["p"] > 0.05 and row["above_threshold"] for row in rows)
    for rate in ("0", "1", "-2", "nan"):
        assert "is no share of normals" in command("score", finished, tests, "--out", out, "--rate", rate).complaint


def test_images_that_cannot_tell_are_refused_with_what_would_help(
    command: Command, finished: Path, brighter: Path, tmp_path: Path
) -> None:
    site, few = tmp_path / "site.json", sorted(brighter.iterdir())
    said = command("calibrate", finished, *few[:40], "--out", site).complaint
    assert "40 images cannot tell" in said and "--normals: 100 hold a nominal 5% between" in said
    said = command("calibrate", finished, *few[:19], "--normals", "--out", site).complaint
    assert "19 known normals cannot tell" in said and "20 or more can" in said
    assert not site.exists()
    assert "must end in .json" in command("calibrate", finished, brighter, "--out", tmp_path / "site.csv").complaint
    assert "no folder" in command("calibrate", finished, brighter, "--out", tmp_path / "no" / "site.json").complaint


def test_a_site_of_another_detector_or_none_is_refused(
    command: Command, finished: Path, brighter: Path, tests: Path, tmp_path: Path
) -> None:
    site, out = tmp_path / "site.json", tmp_path / "scores.csv"
    assert command("calibrate", finished, brighter, "--out", site).code == 0
    record = json.loads(site.read_text())
    for text, said in (
        (json.dumps(record | {"detector": "0" * 16}), "was made with another detector"),
        ("{}", "is no site"), ("[1]", "is no site"), ("nothing", "is no site"),
        (json.dumps(record | {"a": "far"}), "is no site"),
    ):  # fmt: skip
        site.write_text(text)
        assert said in command("score", finished, tests, "--site", site, "--out", out).complaint
    assert "cannot read" in command("score", finished, tests, "--site", tmp_path / "no.json", "--out", out).complaint
    assert not out.exists()


def test_a_drift_log_and_its_course(
    command: Command, finished: Path, brighter: Path, train: Path, tmp_path: Path
) -> None:
    log, out = tmp_path / "drift.jsonl", tmp_path / "scores.csv"
    for images in (train / "NORMAL", brighter):
        assert command("score", finished, images, "--drift-log", log, "--out", out).code == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [set(line) for line in lines] == [
        {"time", "detector", "n", "a", "interval", "contamination", "residual", "scores", "call"}
    ] * 2
    assert all(sum(line["scores"].values()) == line["n"] for line in lines)
    assert not any(path.stem in log.read_text() for path in brighter.iterdir()), "no name"
    lines[1]["time"] = lines[0]["time"].replace("20", "21", 1)  # long after
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ended = command("drift", finished, log, "--json")
    course = json.loads(ended.out)
    assert ended.code == 1 and course["alarms"] >= 1 and course["blocks"][-1]["alarm"]
    assert course["images"] == sum(line["n"] for line in lines)
    table = command("drift", finished, log)
    assert table.code == 1 and "shifted against the trusted images" in table.out

    small = tmp_path / "small.jsonl"
    for images in sorted((train / "NORMAL").iterdir())[:2]:
        assert command("score", finished, images, "--drift-log", small, "--out", out).code == 0
    assert "a" not in json.loads(small.read_text().splitlines()[0])
    few = command("drift", finished, small)
    assert few.code == 0 and "too few images to tell: 100 fill a block" in few.out


def test_a_log_that_is_none_is_refused_before_anything_is_scored(
    command: Command, finished: Path, tests: Path, tmp_path: Path
) -> None:
    log, out = tmp_path / "drift.jsonl", tmp_path / "scores.csv"
    record = {"time": "2026-01-01T00:00:00+00:00", "detector": "0" * 16, "n": 1, "scores": {"3": 1}}
    for text, said in (("holiday notes\n", "is none of a drift log"), (json.dumps(record) + "\n", "another detector")):
        log.write_text(text)
        assert said in command("score", finished, tests, "--drift-log", log, "--out", out).complaint
        assert said in command("drift", finished, log).complaint
        assert log.read_text() == text and not out.exists()
    assert "cannot read" in command("drift", finished, tmp_path / "no.jsonl").complaint
    gone = tmp_path / "no" / "drift.jsonl"
    assert "no folder" in command("score", finished, tests, "--drift-log", gone, "--out", out).complaint
