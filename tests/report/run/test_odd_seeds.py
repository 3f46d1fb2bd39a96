"""A wrong image among the trusted: the report names the seeds that are least like the others."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swag_ray.errors import InputError
from swag_ray.report.run.page import write_report
from tests.report.run.fixture import SEEDS, configure, page

TITLE = "Trusted images least like the others"


def told(run: Path) -> str:
    """The markup of the section."""
    markup = write_report(run).read_text(encoding="utf-8")
    start = markup.index(TITLE)
    return markup[start : markup.index("</section>", start)]


def cells(section: str) -> list[list[str]]:
    body = section[section.index("<tbody>") : section.index("</tbody>")]
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in body.split("</tr>")[:-1]]


def test_the_highest_scored_seeds_are_listed(run: Path) -> None:
    seeds = pq.read_table(run / "seeds.parquet").to_pylist()
    highest = sorted(seeds, key=lambda row: -row["z"])[:8]
    found = cells(told(run))
    assert [row[0] for row in found] == [row["id"] for row in highest]
    assert found[0][1:3] == ["+4.50", f"{2 / (SEEDS + 1):.3f}"]
    assert found[0][3] == highest[0]["path"]
    text = page(run).text
    assert f"those of {SEEDS} that score highest" in text and "move its file out of the folder of normals" in text


def test_they_stand_beside_their_maps_the_oddest_first(run: Path) -> None:
    section = told(run)
    oddest = cells(section)[0][0]
    shown = re.findall(r'alt="([a-z ]*) of ([^"]*)"', section)
    assert len(shown) == 24
    assert shown[:3] == [(what, oddest) for what in ("trusted image", "distance map", "evidence map")]
    assert section.index("+4.50 sd") < section.index("sd</strong>", section.index("+4.50 sd") + 15)
    configure(run, images=False)
    assert "<img" not in told(run) and cells(told(run))[0][0] == oddest


def test_pictures_go_by_the_name_of_the_seed(run: Path) -> None:
    """Files of another order, or of seeds that the table does not hold, must not lend a seed their picture."""
    path = run / "plots" / "overlays.npz"
    before = told(run)
    with np.load(path) as file:
        held = {name: file[name] for name in file.files}
    for name in [name for name in held if name.startswith("seed.")]:
        held[name] = held[name][::-1]
    held["seed.id"][0] = "somebody else"
    np.savez(path, **held)
    after = told(run)
    by_name = [
        {alt: src for src, alt in re.findall(r'src="([^"]*)" alt="([^"]*)"', section)} for section in (before, after)
    ]
    assert len(by_name[1]) == 21 and by_name[1].items() <= by_name[0].items()


def test_without_paths_the_table_has_no_such_column(run: Path) -> None:
    seeds = pq.read_table(run / "seeds.parquet")
    pq.write_table(seeds.set_column(1, "path", pa.nulls(len(seeds), pa.string())), run / "seeds.parquet")
    assert all(len(row) == 3 for row in cells(told(run)))


def test_a_run_of_before_has_no_such_section(run: Path) -> None:
    (run / "seeds.parquet").unlink()
    assert TITLE not in page(run).text


@pytest.mark.parametrize("content", [b"", b"PAR1 cut short"])
def test_a_damaged_table_is_one_line(run: Path, content: bytes) -> None:
    (run / "seeds.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"seeds\.parquet"):
        write_report(run)


def test_a_table_without_scores_is_one_line(run: Path) -> None:
    pq.write_table(pq.read_table(run / "seeds.parquet").drop_columns(["z"]), run / "seeds.parquet")
    with pytest.raises(InputError, match=r"seeds\.parquet.*no column z"):
        write_report(run)
