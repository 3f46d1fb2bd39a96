"""Published figures stand beside their own test set, and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from swag_ray.images.folders import list_folder
from swag_ray.report.run.paper_figures import TestSet, difference
from tests.report.run.fixture import as_published, configure, page
from tests.support.images import real_set


@pytest.mark.parametrize("published, rows", [("pneumonia", 3), ("covid", 2), (None, 0)])
def test_published_figures_beside_ours(
    run: Path, monkeypatch: pytest.MonkeyPatch, published: str | None, rows: int
) -> None:
    configure(run, published=published)
    if published:
        as_published(run, monkeypatch, published)
    text = page(run).text
    assert len(re.findall(r"Published(?: baseline|, 5 rounds)", text)) == 2 * rows
    assert ("a single run each, thresholds picked on test labels" in text) == bool(rows)
    assert ("class and source coincide" in text) == (published == "covid")
    assert "are left out" not in text


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"normals": 234}, "it holds 234 normals and 195 anomalies, this run's 117 and 195."),
        ({"names": "another digest"}, "the file names are others."),
    ],
)
def test_published_figures_are_of_their_own_films_alone(
    drawn_run: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], why: str
) -> None:
    """The paper's figures stood under anybody's films, in both tables, the plot, and beside other methods' figures."""
    as_published(drawn_run, monkeypatch, "pneumonia", **changed)
    text = page(drawn_run).text
    warning = f"left out, as this is not the published test set: {why}"
    assert warning in text
    for word in ("Published baseline", "published points", "Diamonds", "PANDA", "thresholds picked on test labels"):
        assert word not in text, word


def test_without_file_names_no_test_set_is_known(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_published(run, monkeypatch, "pneumonia")
    scores = pq.read_table(run / "scores.parquet").drop_columns(["path"])
    pq.write_table(scores, run / "scores.parquet")
    text = page(run).text
    assert "by which it is known, are not recorded" in text and "Published baseline" not in text


@pytest.mark.data
def test_the_complete_chest_xray_test_split_is_the_published_one() -> None:
    listing = list_folder(real_set("chest_xray"), normal="NORMAL", anomaly=["PNEUMONIA"], group=None)
    test = listing.table.filter(pc.equal(listing.table["split"], "test"))
    paths, labels = test["path"].to_pylist(), [int(label) for label in test["label"].to_pylist()]
    assert difference("pneumonia", TestSet.of(paths, labels)) == ""
    assert difference("pneumonia", TestSet.of([*paths[:-1], "other.jpeg"], labels)) == "the file names are others"
