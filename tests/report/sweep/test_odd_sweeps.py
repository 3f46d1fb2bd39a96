"""The page of a sweep that is unfinished, small, odd, huge or damaged: what it copes with, and what it refuses."""

from __future__ import annotations

import csv
import re
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from swag_ray.errors import InputError
from swag_ray.report.sweep.page import write_sweep_report
from swag_ray.report.sweep.read import SEED_ONLY, TEST, read_sweep, short_names
from tests.report.sweep.fixture import (
    GRID,
    ONE,
    POOL,
    RANDOM,
    failed,
    grid_rows,
    page,
    page_of,
    random_rows,
    trial,
    write_sweep,
)


def test_a_sweep_under_way(tmp_path: Path) -> None:
    rows = grid_rows()
    rows = [*rows[:73], *(failed(row) for row in rows[73:78])]
    parsed = page_of(tmp_path, rows, planned=120)
    for said in ("73 of 120 trials done, 5 failed, 42 left", "5 trials failed", "42 trials left",
                 "fewer than 5 seeds", "Failed trials", "Trials 73, 74, 75, 76, 77: InputError: no such"):  # fmt: skip
        assert said in parsed.text, said


def test_a_first_choice_that_lacks_seeds_is_told(undrawn: None, tmp_path: Path) -> None:
    rows = grid_rows(datasets=ONE)
    best = max((r for r in rows), key=lambda row: row[POOL])
    arm = [best[name] for name in GRID]
    rows = [r for r in rows if [r[name] for name in GRID] != arm or r is best]
    assert "the first-ranked among them" in page_of(tmp_path, rows).text


def test_nothing_is_done_yet(tmp_path: Path) -> None:
    assert "No trial is done yet." in page_of(tmp_path, [failed(r, "E") for r in grid_rows(seeds=1)[:3]]).text
    schema = {"trial": pa.int64(), "status": pa.string(), "dataset": pa.string(), "random_seed": pa.int64()}
    pq.write_table(pa.table({k: pa.array([], t) for k, t in schema.items()}), tmp_path / "trials.parquet")
    parsed = page(tmp_path)
    assert "No trial is done yet." in parsed.text and "0 of 3 trials done, 3 left" in parsed.text


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_trials(tmp_path: Path, count: int) -> None:
    parsed = page_of(tmp_path, grid_rows(seeds=1, datasets=ONE)[:count])
    assert "no interval and no test is possible" in parsed.text
    assert ("there is one arm" in parsed.text) == (count == 1)
    assert ("Main effects" in parsed.text) == (count == 2) and "Interactions" not in parsed.text


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_seeds_for_a_test(tmp_path: Path, seeds: int) -> None:
    parsed = page_of(tmp_path, grid_rows(seeds=seeds))
    assert parsed.text.count("no test is possible") >= 4 and "p, corrected" not in parsed.text
    assert "Main effects" in parsed.text and "Interactions" in parsed.text


@pytest.mark.parametrize(
    "absent", ["incremental.", "baselines.", "totals.", "contamination.", "last_round.", "seconds", "error", "name"]
)
def test_missing_columns(tmp_path: Path, absent: str) -> None:
    rows = [{k: v for k, v in row.items() if not k.startswith(absent)} for row in grid_rows(seeds=3, datasets=ONE)]
    assert "Trials" in page_of(tmp_path, rows).text


def test_null_and_nan_figures(undrawn: None, tmp_path: Path) -> None:
    rows = grid_rows(seeds=3)
    for index, row in enumerate(rows):
        row[(POOL, TEST, "totals.purity", SEED_ONLY)[index % 4]] = (None, float("nan"))[index % 2]
    assert "trials lack last_round.pool_roc_auc" in page_of(tmp_path, rows).text


def test_constant_and_absent_fields(tmp_path: Path) -> None:
    search = {**GRID, "memory.whitening": [0.1], "never.ran": [1, 2]}
    rows = [{**row, "memory.whitening": 0.1} for row in grid_rows(seeds=3, datasets=ONE)]
    parsed = page_of(tmp_path, rows, search=search)
    assert "--set memory.whitening=0.1" in (tmp_path / "sweep.html").read_text(encoding="utf-8")
    assert parsed.tags.count("svg") == 2 + 3 + 3 + 1, "no plot of a field with one value"


def test_lists_nulls_and_truth_values(tmp_path: Path) -> None:
    search = {"backbone.strides": [[8], [8, 16]], "gate.tau_relaxed": [None, 0.5], "head.on": [True, False]}
    rows = [row | {"gate.tau_relaxed": str(row["gate.tau_relaxed"])} if row["gate.tau_relaxed"] != "null" else row
            for row in grid_rows(search, seeds=3, datasets=ONE)]  # fmt: skip
    base = {"backbone": {"strides": [8, 16]}, "gate": {"tau_relaxed": None}, "head": {"on": True}}
    parsed = page_of(tmp_path, rows, search=search, base=base)
    assert "strides [8, 16], tau_relaxed null, on true" in parsed.text
    sweep = read_sweep(tmp_path)
    assert sweep.reference[1] and sweep.fields[0].values == ("[8]", "[8, 16]")


def test_pairs_beyond_the_cap_are_counted(undrawn: None, tmp_path: Path) -> None:
    search = {name: [0, 1] for name in ("a.x", "b.x", "c", "d", "e")}
    parsed = page_of(tmp_path, grid_rows(search, seeds=2, datasets=ONE), search=search)
    assert "4 more pairs with smaller interactions left out." in parsed.text
    assert short_names(list(search)) == ["a.x", "b.x", "c", "d", "e"]
    assert short_names(["backbone.name", "head.rate"]) == ["backbone.name", "rate"]


def test_many_values_and_long_names(tmp_path: Path) -> None:
    search = {"backbone.name": [f"a_backbone_with_a_very_long_name_{n}" for n in range(14)], "rounds": [1, 3]}
    parsed = page_of(tmp_path, grid_rows(search, seeds=2, datasets=ONE), search=search)
    assert "The first 12 of 28 arms" in parsed.text


def test_text_from_files_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('$x^$')</script>&\""
    rows = [{**row, "dataset": evil, "name": evil, "method": evil, evil: index % 2}
            for index, row in enumerate(grid_rows(seeds=3, datasets=ONE))]  # fmt: skip
    rows[-1] = failed(rows[-1], f"{evil}\n{evil}")
    search = {**GRID, evil: [0, 1], "method": [evil]}
    parsed = page_of(tmp_path, rows, name=evil, search=search, algorithm=evil, metric=POOL)
    assert parsed.tags.count("script") == 1 and parsed.text.count(evil) > 5


@pytest.mark.parametrize(
    "text", ["a\x00b\x1b[31m", "\u0440\u0435\u043d\u0442\u0433\u0435\u043d", "_hidden", "", "x" * 4000]
)
def test_names_of_any_kind(tmp_path: Path, text: str) -> None:
    rows = [{**row, "dataset": text, "method": f"{text}{row['method']}"} for row in grid_rows(seeds=2, datasets=ONE)]
    assert "ranks first of 12 arms" in page_of(tmp_path, rows).text


def test_alike_errors_stand_together(undrawn: None, tmp_path: Path) -> None:
    rows = [failed(row, f"ValueError: fold {index % 2}\nTraceback") for index, row in enumerate(grid_rows())]
    text = page_of(tmp_path, rows).text
    assert text.count("ValueError: fold") == 2 and "and 20 more" in text
    rows = [failed(row, f"ValueError: fold {index}") for index, row in enumerate(grid_rows())]
    assert "70 more kinds of error; all are in trials.csv." in page_of(tmp_path, rows).text
    text = page_of(tmp_path, [failed(row, "ValueError: " + 600 * "x" + " end") for row in grid_rows()]).text
    assert "All of it" in text and "x end" not in text, "a long line is cut, and stands whole where it unfolds"


def test_a_thousand_trials(tmp_path: Path) -> None:
    search = {**RANDOM, **{f"extra.field_{n}": {"uniform": [0, 1]} for n in range(5)}}
    generator = np.random.default_rng(0)
    rows = [{**row, **{f"extra.field_{n}": float(generator.random()) for n in range(5)}}
            for row in random_rows(1000, datasets=("pneumonia", "covid"))]  # fmt: skip
    write_sweep(tmp_path, rows, search=search, algorithm="random")
    start = time.perf_counter()
    path = write_sweep_report(tmp_path)
    assert time.perf_counter() - start < 60, "seconds, with room for a busy machine"
    assert path.stat().st_size < 5e6


@pytest.mark.parametrize("name", ["sweep.yaml", "trials.parquet"])
@pytest.mark.parametrize("content", [None, b"", b"{not json: [", b"[1, 2]"])
def test_a_missing_or_damaged_file_is_one_line(tmp_path: Path, name: str, content: bytes | None) -> None:
    write_sweep(tmp_path, [trial(0, "pneumonia", 0, {"rounds": 1})])
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(name)) as caught:
        write_sweep_report(tmp_path)
    assert "\n" not in str(caught.value) and not (tmp_path / "sweep.html").exists()


@pytest.mark.parametrize("key", ["search", "base", "datasets"])
def test_a_key_of_the_wrong_shape_is_named(tmp_path: Path, key: str) -> None:
    write_sweep(tmp_path, grid_rows(seeds=1), **{key: ["text"]})
    with pytest.raises(InputError, match=key):
        write_sweep_report(tmp_path)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    write_sweep(tmp_path, grid_rows(seeds=1))
    pq.write_table(pq.read_table(tmp_path / "trials.parquet").drop_columns(["status"]), tmp_path / "trials.parquet")
    with pytest.raises(InputError, match=r"trials\.parquet.*status"):
        write_sweep_report(tmp_path)


def test_a_bare_sweep_file_is_enough(undrawn: None, tmp_path: Path) -> None:
    write_sweep(tmp_path, grid_rows(seeds=3, datasets=ONE))
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"name": "bare"}), encoding="utf-8")
    text = page(tmp_path).text
    assert "bare" in text and "there is one arm" in text and "36 of 36 trials done" in text


def test_a_spreadsheet_runs_nothing_of_the_trials(undrawn: None, tmp_path: Path) -> None:
    row = trial(0, "=HYPERLINK(1)", 0, {"gate.budget": -3, "backbone.name": "-0.5"})
    page_of(tmp_path, [row, failed(trial(1, "pneumonia", 0, {}), "@x: no")])
    first, second = csv.DictReader((tmp_path / "trials.csv").open(encoding="utf-8"))
    assert (first["dataset"], first["gate.budget"], first["backbone.name"]) == ("'=HYPERLINK(1)", "-3", "-0.5")
    assert second["error"] == "'@x: no"


def test_a_sweep_of_before_shows_no_secret_of_its_loggers(undrawn: None, tmp_path: Path) -> None:
    loggers = {"wandb": {"api_key": "QUIET"}, "mlflow": {"tracking_uri": "https://u:QUI/ET@host"}}
    page_of(tmp_path, grid_rows(), loggers=loggers)
    found = (tmp_path / "sweep.html").read_text(encoding="utf-8")
    assert "QUI" not in found and "https://***@host" in found
