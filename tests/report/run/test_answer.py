"""The page of a run that is told nothing of its pool: the answer first, then what to look at and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from swag_ray.errors import InputError
from swag_ray.report.run.ranking import MOST, read_ranking
from tests.report.run.fixture import change_metrics, metrics, page, rank_pool, write_run


@pytest.fixture
def unknown(tmp_path: Path) -> Path:
    folder = write_run(tmp_path / "run", labels=False, published=None)
    rank_pool(folder)
    change_metrics(folder, contamination={"estimate": 0.692, "fitted": 0.66, "low": 0.62})
    return folder


def test_the_answer_comes_first_and_what_to_do_behind_the_warnings(unknown: Path) -> None:
    text = page(unknown).text
    parts = [
        "About 678 of the 980 pool images look abnormal (69.2", "in all likelihood no fewer than 607",
        "stand out clearly", "pool images were admitted, how many of them anomalies is not known",
        "The most suspicious of the pool",
        "All 980 images", "Head of the ranking", "What was admitted", "Trusted images least like the others",
        "Warnings", "What to do next", "role test", "swag-ray score runs/", "Rounds", "How it was run",
    ]  # fmt: skip
    places = [text.find(part) for part in parts]
    assert -1 not in places and places == sorted(places), dict(zip(parts, places, strict=True))
    for word in ("no ranking of a labelled test set", "Summary", "ROC-AUC", "None", " nan"):
        assert word not in text, word


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"estimate": 0.001, "low": 0.0}, "About 1 of the 980 pool images looks abnormal (0.1"),
        ({"estimate": 0.001, "low": 0.0}, "though no number of them is certain"),
        ({"estimate": 0.0, "low": 0.0}, "None of the 980 pool images need be abnormal"),
        ({}, "How many of the 980 pool images look abnormal is not known"),
    ],
)
def test_how_many_look_abnormal(unknown: Path, found: dict[str, Any], said: str) -> None:
    change_metrics(unknown, contamination=found)
    assert said in page(unknown).text


def test_with_a_label_in_the_pool_the_figures_come_first(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    rank_pool(folder)
    text = page(folder).text
    assert "look abnormal" not in text and "What to do next" not in text
    assert text.find("Warnings") < text.find("Summary") < text.find("Rounds")


def test_a_run_from_before_pool_csv_has_the_answer_without_the_ranking(unknown: Path) -> None:
    (unknown / "pool.csv").unlink()
    change_metrics(unknown, dataset={"split": {"seed": 120, "pool": 980}})
    text = page(unknown).text
    assert "About 678 of the 980" in text and "Head of the ranking" not in text and "What was admitted" not in text


def test_the_ranking_holds_its_ends_and_counts_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the blocks; names with line breaks and those that a spreadsheet would run are what they were."""
    folder = write_run(tmp_path / "run", labels=False, published=None)
    ids = rank_pool(folder)
    text = (folder / "pool.csv").read_text().replace(f"unknown/{ids[0]}.jpeg", "'=1+1\nx.png").replace("unknown/", "u/")
    (folder / "pool.csv").write_text(text)
    monkeypatch.setattr("swag_ray.report.run.ranking.BLOCK", 4096)
    found = read_ranking(folder / "pool.csv")
    rounds = pq.read_table(folder / "rounds.parquet").to_pandas()
    assert found.count == len(ids) and found.rejected == metrics(folder)["rounds"][-1]["rejects"]
    assert [image.rank for image in found.first] == list(range(1, MOST + 1)) and found.first[0].name == "=1+1\nx.png"
    assert [image.name for image in found.first[1:]] == [f"u/{name}.jpeg" for name in ids[1:MOST]]
    ever = set(rounds["id"][rounds["admitted"]])
    assert [image.name for image in found.admitted] == [f"u/{x}.jpeg" for x in ids if x in ever][:MOST]
    (folder / "pool.csv").write_text("path,id\na,b\n")
    with pytest.raises(InputError, match=r"pool\.csv: cannot be read"):
        read_ranking(folder / "pool.csv")
