"""The table of `score`: columns, order, formats, what stands in them where there is no score."""

from __future__ import annotations

import csv
import json
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swag_ray.errors import InputError
from swag_ray.score.inputs import find_inputs
from swag_ray.score.outputs import check_out
from swag_ray.score.rows import ScoredRows, rows_of
from swag_ray.score.scorer import SCORED, ScoredImage
from swag_ray.score.table import ordered, result_table, write_result


def image(path: str, p: float | None, score: float = 1.0, status: str = SCORED) -> ScoredImage:
    there = p is not None
    folds = np.array([score, score + 1]) if there else None
    look = (np.full((32, 32), 7, np.uint8), 40, 50) if there else None
    figures = {"score": score if there else None, "p": p, "score_K": folds, "site_K": folds}
    return ScoredImage(
        path=path, id=f"{path}-0", sha256="0" * 64, status=status, out_of_domain=None, seconds=0.1, look=look, top=None,
        **figures,
    )  # fmt: skip


def rows(*images: ScoredImage) -> ScoredRows:
    detector: Any = SimpleNamespace()
    return ScoredRows(detector, "d" * 16, pa.Table.from_batches([rows_of(images)]), {})


SOME = rows(
    image("c", 0.5), image("broken", None, status="empty file"), image("a", 0.01, 3.0), image("b", 0.01, 9.0),
    image("A", 0.01, 9.0), image("another", None, status="truncated"),
)  # fmt: skip


def test_by_p_then_score_then_path_and_last_what_has_no_score() -> None:
    table = result_table(SOME, 0.05)
    assert ordered(table, "suspicion")["path"].to_pylist() == ["A", "b", "a", "c", "another", "broken"]
    assert ordered(table, "path")["path"].to_pylist() == ["A", "a", "another", "b", "broken", "c"]
    assert table["above_threshold"].to_pylist() == [False, None, True, True, True, None]
    assert "aligned_p" not in table.column_names and set(table["detector"].to_pylist()) == {"d" * 16}


def test_a_sites_p_values_decide_and_do_not_order() -> None:
    table = result_table(SOME, 0.05, np.array([0.05, 0.2, 0.3, 0.4]))
    assert table["aligned_p"].to_pylist() == [0.05, None, 0.2, 0.3, 0.4, None]
    assert table["above_threshold"].to_pylist() == [True, None, False, False, False, None]
    assert ordered(table, "suspicion")["path"].to_pylist()[0] == "A"


def test_columns_of_the_same_name_stand_apart() -> None:
    further = pa.table({"score": range(6), "manifest_score": range(6), "ward": ["x"] * 6})
    names = result_table(SOME, 0.05, None, further).column_names
    assert names[-3:] == ["manifest_score", "manifest_manifest_score", "ward"] and len(set(names)) == len(names)


@given(st.lists(st.tuples(st.sampled_from([None, 0.01, 0.5]), st.floats(-3, 3), st.text(max_size=3)), max_size=9))
def test_every_image_has_its_row_in_any_order(found: list[tuple[float | None, float, str]]) -> None:
    table = result_table(rows(*(image(f"{i}{name}", p, s) for i, (p, s, name) in enumerate(found))), 0.05)
    for order in ("suspicion", "path"):
        assert sorted(ordered(table, order)["path"].to_pylist()) == sorted(table["path"].to_pylist())


def test_what_cannot_be_written_to_is_refused_and_what_was_there_stays(tmp_path: Path) -> None:
    out = tmp_path / "scores.json"
    out.write_text("before")
    for wrong in ("scores", "s.txt", str(tmp_path), str(tmp_path / "none" / "s.csv")):
        with pytest.raises(InputError, match=r"^--out: "):
            check_out(wrong)
    table = result_table(SOME, 0.05, None, pa.table({"odd": [b"\xff"] * 6}))
    write_result(table, str(out))
    assert len(json.loads(out.read_text())) == 6 and json.loads(out.read_text())[1]["score"] is None


def test_whatever_a_tables_own_columns_hold_can_be_written(tmp_path: Path) -> None:
    """As Parquet files hold it; text that a spreadsheet would run is marked, whatever type it has."""
    views = pa.table({
        "path": pa.array(["a.png"] * 6, pa.string_view()), "blob": pa.array([b"\xff"] * 6, pa.binary_view()),
        "tags": pa.array([["=x"]] * 6, pa.list_(pa.string_view())),
    })  # fmt: skip
    pq.write_table(views, tmp_path / "views.parquet")
    further = find_inputs("score", [tmp_path / "views.parquet"]).further
    assert further is not None
    own: dict[str, Any] = {
        "boxes": [[1, 2]] * 5 + [None], "age": [float("nan")] * 6, "bytes": [b"\xff", b"=b", b"", None, b"1", b"2"],
        "text": [b"=b", b"", None, b"c", b"1", b"2"], "ward": pa.array(["=w"] * 6).dictionary_encode(),
        "view": pa.array(["=v"] * 5 + [None], pa.string_view()), "held": [{"at": b"\xff", "on": date(2026, 1, 2)}] * 6,
        "uid": pa.array([b"0" * 16] * 6, pa.binary(16)).cast(pa.uuid()), "for": [timedelta(1)] * 6,
    }  # fmt: skip
    span = pa.array([pa.MonthDayNano([1, 2, 3])] * 6)
    table = result_table(SOME, 0.05, None, further)
    for name, values in own.items():
        table = table.append_column(name, values if isinstance(values, pa.Array) else pa.array(values))
    write_result(table, str(tmp_path / "s.parquet"))
    for name in ("s.csv", "s.json"):
        write_result(table.append_column("span", span), str(tmp_path / name))
    with (tmp_path / "s.csv").open(newline="") as file:
        first, second, *_ = csv.DictReader(file)
    assert first["boxes"] == "[1, 2]" and (first["bytes"], second["bytes"]) == ("ff", "3d62")
    assert first["manifest_path"] == "a.png" and first["blob"] == "ff" and first["tags"] == '["=x"]'
    assert first["text"] == "'=b" and first["ward"] == "'=w" and first["view"] == "'=v"
    assert first["held"] == '{"at": "ff", "on": "2026-01-02"}' and first["uid"].startswith("30303030-")
    assert "NaN" not in (tmp_path / "s.json").read_text()
    assert json.loads((tmp_path / "s.json").read_text())[0]["boxes"] == [1, 2]
    assert json.loads((tmp_path / "s.json").read_text())[1]["bytes"] == "=b"
