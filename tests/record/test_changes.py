"""changes.csv: with which run a run is compared, and what the comparison says."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from swag_ray.config import Config, to_yaml
from swag_ray.errors import InputError
from swag_ray.record.changes import ChangedImage, Changes, read_changes, write_changes
from swag_ray.record.files import write_csv
from swag_ray.record.run_directory import whole_run

Tiny = Callable[..., Config]
Pool = Sequence[tuple[str, float | None, bool | None]]  # id, score, rejected


def finish(directory: Path, config: Config, pool: Pool, *, named: bool = True) -> Changes | None:
    """What a run does to its folder; the pool as it stands in pool.csv."""
    directory.mkdir(parents=True, exist_ok=True)
    with whole_run(directory) as draft:
        write_csv(draft / "pool.csv", pa.table({
            "path": pa.array([f"unknown/{name}.png" if named else None for name, _, _ in pool], pa.string()),
            "id": [name for name, _, _ in pool],
            "score": pa.array([score for _, score, _ in pool], pa.float64()),
            "rejected": pa.array([rejected for _, _, rejected in pool], pa.bool_()),
            "further": ["x, y\n" for _ in pool],
        }))  # fmt: skip
        write_changes(directory, draft, config)
        (draft / "config.yaml").write_text(to_yaml(config))
        (draft / "metrics.json").write_text("{}")
    return read_changes(directory / "changes.csv")


def rows(directory: Path) -> list[dict[str, Any]]:
    with (directory / "changes.csv").open(newline="") as file:
        return list(csv.DictReader(file))


FIRST: Pool = [("a", 9.0, True), ("b", 8.0, True), ("c", 3.0, False), ("gone", 2.5, False), ("d", 2.0, False),
               ("e", None, False)]  # fmt: skip
SECOND: Pool = [("new1", 9.5, True), ("a", 9.0, True), ("d", 7.0, True), ("new2", 6.0, False), ("b", 5.0, False),
                ("c", 3.0, False), ("e", None, False)]  # fmt: skip


def test_new_images_new_rejects_and_moves_among_those_in_both(tiny: Tiny, tmp_path: Path) -> None:
    assert finish(tmp_path, tiny(), FIRST) is None
    found = finish(tmp_path, tiny(), SECOND)
    assert found == Changes(
        both=5, new=2, gone=1, new_rejected=1, now_rejected=1, no_longer=1,
        became=(ChangedImage("unknown/d.png", 4, 2),),
        moved=(ChangedImage("unknown/d.png", 4, 2), ChangedImage("unknown/b.png", 2, 3),
               ChangedImage("unknown/c.png", 3, 4)),
    )  # fmt: skip
    written = rows(tmp_path)
    assert [row["id"] for row in written] == ["new1", "a", "d", "new2", "b", "c", "e", "gone"]
    assert [row["status"] for row in written] == ["new", "both", "both", "new", *["both"] * 3, "gone"]
    assert [row["rank"] for row in written] == ["", "1", "2", "", "3", "4", "5", ""]
    assert [row["rank_before"] for row in written] == ["", "1", "4", "", "2", "3", "5", ""]
    by_id = {row["id"]: row for row in written}
    assert (by_id["d"]["score_before"], by_id["d"]["score"]) == ("2", "7")
    assert (by_id["d"]["rejected_before"], by_id["d"]["rejected"]) == ("false", "true")
    assert (by_id["gone"]["score_before"], by_id["gone"]["score"], by_id["gone"]["rejected"]) == ("2.5", "", "")
    assert by_id["new1"]["rejected_before"] == "" and by_id["new1"]["score_before"] == ""


def test_the_same_again_takes_no_news_away(tiny: Tiny, tmp_path: Path) -> None:
    finish(tmp_path, tiny(), FIRST)
    assert finish(tmp_path, tiny("controls=[seed_only]"), FIRST) is None, "nothing changed, and nothing was before"
    found = finish(tmp_path, tiny(), SECOND)
    written = (tmp_path / "changes.csv").read_bytes()
    assert finish(tmp_path, tiny("controls=[]"), SECOND) == found is not None
    assert (tmp_path / "changes.csv").read_bytes() == written
    third = finish(tmp_path, tiny(), FIRST)
    assert third is not None and (third.new, third.gone) == (1, 2), "the run before is the last one that differed"


def test_more_rounds_are_compared_and_another_config_is_not(tiny: Tiny, tmp_path: Path) -> None:
    finish(tmp_path, tiny(), FIRST)
    assert finish(tmp_path, tiny("rounds=3"), SECOND) is not None
    assert finish(tmp_path, tiny("gate.budget=5"), FIRST) is None, "by --overwrite"
    assert not (tmp_path / "changes.csv").exists(), "what an earlier run left is no part of it"


@pytest.mark.parametrize("broken", ["unfinished", "no pool.csv", "damaged", "of an older version"])
def test_what_cannot_be_compared_with_is_not(tiny: Tiny, tmp_path: Path, broken: str) -> None:
    finish(tmp_path, tiny(), FIRST)
    if broken == "unfinished":
        (tmp_path / "metrics.json").unlink()
    elif broken == "no pool.csv":
        (tmp_path / "pool.csv").unlink()
    else:
        (tmp_path / "pool.csv").write_text("path,id\na,b\n" if broken == "of an older version" else "path,id\na")
    assert finish(tmp_path, tiny(), SECOND) is None and not (tmp_path / "changes.csv").exists()


def test_a_pool_of_other_names_has_nothing_in_common(tiny: Tiny, tmp_path: Path) -> None:
    """As after `report.anonymous`: nothing of the names that stood there may stay."""
    finish(tmp_path, tiny(), FIRST)
    finish(tmp_path, tiny(), SECOND)
    assert finish(tmp_path, tiny(), [("f00d", 9.0, True), ("beef", 1.0, False)], named=False) is None
    assert not (tmp_path / "changes.csv").exists()
    found = finish(tmp_path, tiny(), [("beef", 9.0, True), ("f00d", 1.0, False)], named=False)
    assert found is not None and found.became == (ChangedImage("beef", 2, 1),)


def test_where_nothing_is_rejected_nothing_is_said_of_it(tiny: Tiny, tmp_path: Path) -> None:
    finish(tmp_path, tiny(), [("a", 2.0, None), ("b", 1.0, None)])
    found = finish(tmp_path, tiny(), [("new", 3.0, None), ("b", 2.0, None), ("a", 1.0, None)])
    assert found is not None and found.new == 1 and len(found.moved) == 2
    assert found.new_rejected is found.now_rejected is found.no_longer is None and not found.became


def test_names_that_a_spreadsheet_would_run_are_told_as_they_are(tiny: Tiny, tmp_path: Path) -> None:
    finish(tmp_path, tiny(), [("=1+1", 2.0, False), ("NULL", 1.0, False)], named=False)
    found = finish(tmp_path, tiny(), [("NULL", 2.0, True), ("=1+1", 1.0, False)], named=False)
    assert found is not None and [image.name for image in found.moved] == ["NULL", "=1+1"]
    assert [row["id"] for row in rows(tmp_path)] == ["NULL", "'=1+1"]


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    assert read_changes(tmp_path / "changes.csv") is None
    (tmp_path / "changes.csv").write_text("path,id\na,b\n")
    with pytest.raises(InputError, match=r"changes\.csv: is damaged"):
        read_changes(tmp_path / "changes.csv")
