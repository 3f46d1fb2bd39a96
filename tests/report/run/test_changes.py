"""What the page and the terminal say of the run that the folder held before."""

from __future__ import annotations

from pathlib import Path

import pytest

from swag_ray.record.changes import ChangedImage, Changes
from swag_ray.report.run.changes import changes_lines
from tests.report.run.fixture import page, rank_pool, write_run

IMAGE = ChangedImage("unknown/film<7>.png", 37, 12)


def changes(**found: object) -> Changes:
    facts: dict[str, object] = {"both": 1400, "new": 0, "gone": 0, "new_rejected": 0, "now_rejected": 0, "no_longer": 0,
                                "became": (), "moved": ()} | found  # fmt: skip
    return Changes(**facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (changes(), ["the pool has the same images.", "1,400 in both, none stand out that did not, no rank moved."]),
        (changes(new=12, new_rejected=3, now_rejected=2, no_longer=1, moved=(IMAGE,)),
         ["12 pool images are new (3 of them stand out).", "2 stand out that did not, 1 no longer does, the largest "
          "move is from rank 37 to 12 (unknown/film<7>.png)."]),
        (changes(new=1, new_rejected=1, gone=2), ["1 pool image is new (it stands out) and 2 images are no longer in"]),
        (changes(new=2, new_rejected=None, now_rejected=None, no_longer=None, moved=(IMAGE,)),
         ["2 pool images are new.", "Of the 1,400 in both, the largest move is from"]),
    ],
)  # fmt: skip
def test_it_is_said_in_a_sentence_or_two(found: Changes, said: list[str]) -> None:
    lines = changes_lines(found)
    assert len(lines) == 2
    for part, line in zip(said, lines, strict=False):
        assert part in line


HEAD = "path,id,status,rank,rank_before,score,score_before,rejected,rejected_before\n"


@pytest.mark.parametrize("labels", [True, False])
def test_a_short_section_where_there_was_a_run_before(tmp_path: Path, labels: bool) -> None:
    folder = write_run(tmp_path / "run", labels=labels, published=None)
    if not labels:
        rank_pool(folder)
    assert "Since the run before" not in page(folder).text
    rows = [
        "u/new.png,new,new,,,9,,true,\n",
        "u/b<i>.png,b,both,1,2,8,3,true,false\n",
        "u/a.png,a,both,2,1,7,8,true,true\n",
    ]
    (folder / "changes.csv").write_text(HEAD + "".join(rows))
    text = page(folder).text
    for part in ("1 pool image is new (it stands out)", "Of the 2 in both, 1 stands out that did not",
                 "Stand out now, and did not", "Largest moves", "u/b<i>.png", "u/a.png", "changes.csv"):  # fmt: skip
        assert part in text, part
