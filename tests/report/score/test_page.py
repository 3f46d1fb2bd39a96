"""The page of scored images: what it shows of plain values, and what it lets nobody do."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from swag_ray.errors import InputError
from swag_ray.report.page.overlay import heat_overlay
from swag_ray.report.score.page import score_page, write_score_page
from swag_ray.report.score.values import (
    FLAGGED,
    KINDS,
    STRANGE,
    UNFLAGGED,
    UNSCORED,
    Film,
    ImageRow,
    ScorePage,
    TrustedImage,
)
from tests.support.html import Page

SCALE = (2.5, 5.0)
GREY = np.full((60, 90), 90, np.uint8)


def row(rank: int, **others: Any) -> ImageRow:
    plain = ImageRow(
        rank, f"/films/{rank}.png", f"{rank}-abc", "scored", 3.0 - rank / 10, rank / 20, None, rank < 2, None, {}
    )
    return replace(plain, **others)


def heat(peak: float = 6.0) -> np.ndarray[Any, np.dtype[np.float32]]:
    heat_GG = np.zeros((8, 8), np.float32)
    heat_GG[2, 5] = peak
    return heat_GG


NEAR = (
    TrustedImage("t1-aa", "/trusted/t1.png", 1.25, GREY),
    TrustedImage("t2-bb", "/trusted/t2.png", 1.5, None),
    TrustedImage("t3-cc", None, 2.0, None),
)
GONE = row(2, flagged=False)
FILMS = (
    Film(row(1, further={"ward": "B 12", "age": "61"}), GREY, heat(), NEAR),
    Film(GONE, note="its file has changed since it was scored"),
    Film(row(3, out_of_domain="brighter than any"), GREY, heat(0)),
)
UNREAD = row(0, path="/films/broken.png", score=None, p=None, flagged=False, status="empty file")
PAGE = ScorePage(
    detector="pneumonia", digest="0123456789abcdef", date="2026-01-02 03:04 UTC", rate=0.05, p="p",
    counts={FLAGGED: 1, UNFLAGGED: 2, STRANGE: 1, UNSCORED: 1}, flagged=1,
    meaning="the threshold flags about 1 in 20 images like your trusted ones", doubtful=False,
    warnings=("2 images are blank",),
    scale=SCALE, trusted=True, usual_distance=0.75, missing=("The 3 most suspicious images have pictures.",),
    films=FILMS, rows=(row(4),), unscored=(UNREAD,),
)  # fmt: skip


def markup(page: ScorePage) -> str:
    return "".join(score_page(page))


def without_code(text: str) -> str:
    return re.sub(r"<(style|script)>.*?</\1>", "", text, flags=re.S)


def pictures(text: str) -> list[Any]:
    """The pictures of a page, decoded."""
    found = re.findall(r'src="data:image/(?:jpeg|png);base64,([^"]+)"', text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


def test_every_part_stands_in_order_and_nothing_is_loaded() -> None:
    text = markup(PAGE)
    page = Page(text)
    parts = [
        "Images scored by pneumonia", "2026-01-02 03:04 UTC", "detector 0123456789abcdef", "5 images",
        "Research software, not a medical device.", "1 of 4 scored images flagged (p \N{LESS-THAN OR EQUAL TO} 0.05)",
        "1 image is unlike anything the detector was made for", "1 image has no score",
        "The threshold flags about 1 in 20 images", "2 images are blank", "2.5", "5.0", "trusted images most like",
        "half of the trusted images lie within 0.75",
        "flagged (1)", "not flagged (2)", "out of domain (1)", "not scored (1)",
        "1. 1.png", "flagged", "score 2.900", "p 0.050", "up to 6.0 sd", "ward", "B 12", "age", "61", "/films/1.png",
        "1-abc",
        "distance 1.25", "t1.png", "distance 1.50", "t2.png", "distance 2.00", "t3-cc",
        "No picture: its file has changed since it was scored.", "2.png", "3.png", "Out of domain: brighter than any",
        "Further images", "4.", "/films/4.png", "Not scored", "empty file", "/films/broken.png",
    ]  # fmt: skip
    end = 0
    for part in parts:
        end = page.text.find(part, end)
        assert end >= 0, part
    assert page.open == [] and len(page.ids) == len(set(page.ids))
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert not re.search(r"https?:|url\(|@import|fetch\(|innerHTML", text)


def test_the_filter_finds_every_image_by_its_kind_and_words() -> None:
    text = without_code(markup(PAGE))
    assert re.findall(r'data-kind="([^"]+)"', text) == [FLAGGED, UNFLAGGED, STRANGE, UNFLAGGED, UNSCORED]
    assert set(re.findall(r'type="checkbox" value="([^"]+)"', text)) == set(KINDS)
    found = re.findall(r'<bdi class="find">([^<]*)</bdi>', text)
    assert {"B 12", "61", "/films/1.png", "1-abc", "/films/4.png", "4-abc", "/films/broken.png"} <= set(found)
    listed = without_code(markup(replace(PAGE, rows=(row(4, further={"ward": "x"}),))))
    assert '<bdi class="find">ward: x</bdi>' in listed


def test_a_picture_lies_under_its_own_map() -> None:
    """The film is the file's; the layer over it is clear but about the peak, and gives `heat_overlay`'s colours."""
    film, layer, trusted, other, clear = pictures(markup(PAGE))
    assert film.shape == (60, 90) and abs(film.astype(int) - 90).max() <= 2 and trusted.shape == other.shape == (60, 90)
    alpha = layer[..., 3]
    side = layer.shape[0] // 8
    inside = np.zeros_like(alpha, bool)
    inside[1 * side : 4 * side, 4 * side : 7 * side] = True
    peak = np.unravel_index(alpha.argmax(), alpha.shape)
    assert (peak[0] // side, peak[1] // side) == (2, 5) and not alpha[~inside].any() and not clear[..., 3].any()
    drawn = heat_overlay(np.full(alpha.shape, 90, np.float32), heat(), *SCALE)
    share = alpha[..., None] / 255
    np.testing.assert_allclose(layer[..., :3] * share + 90 * (1 - share), drawn, atol=2)


class Attributes(HTMLParser):
    """Tags and the names of their attributes, as a browser reads them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, list[str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, [name for name, _ in attrs]))


def named(name: str) -> ScorePage:
    """A page in which everything that can be called so is."""
    near = TrustedImage(name, f"/t/{name}", 1.0, None)
    shown = row(1, path=name, id=name, out_of_domain=name, further={name: name})
    return replace(
        PAGE, detector=name, meaning=name, warnings=(name,), missing=(name,),
        films=(Film(shown, GREY, heat(), (near,)), Film(shown, note=name)), rows=(shown,),
        unscored=(replace(shown, score=None, status=name),),
    )  # fmt: skip


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>", '" onerror="alert(1)', "'><img src=x onerror=alert(1)>", "</style><b>",
        "</script>", "&lt;b&gt;", "\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe", "\udcff.png", "x" * 1000,
    ],
)  # fmt: skip
def test_no_name_leaves_its_place(hostile: str, tmp_path: Path) -> None:
    write_score_page(tmp_path / "page.html", named(hostile))
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert Attributes(text).found == Attributes(markup(named("n"))).found
    page = Page(text)
    assert page.open == [] and page.text.count(hostile.encode("utf-8", "backslashreplace").decode()) >= 12


def test_what_there_is_not_leaves_no_trace() -> None:
    bare = replace(
        PAGE, counts=dict.fromkeys(KINDS, 0) | {UNFLAGGED: 1}, flagged=0, warnings=(), scale=None,
        trusted=False, usual_distance=None, missing=("No heatmaps: this detector keeps no scale.",),
        films=(Film(row(2), GREY),), rows=(), unscored=(),
    )  # fmt: skip
    text = without_code(markup(bare))
    for absent in (
        "Warnings", "Further images", "Not scored", "Heatmaps", "heat", "With each", "distance", "aligned p", "None",
        "nan", "no score", "unlike", "flagged (0)", "not scored",
    ):  # fmt: skip
        assert absent not in text.replace("No heatmaps: this detector keeps no scale.", ""), absent
    assert "No heatmaps: this detector keeps no scale." in text and len(pictures(text)) == 1
    nothing = without_code(markup(replace(bare, films=())))
    assert "<ol" not in nothing and Page(nothing).open == []


def test_a_site_is_told_by_its_own_p() -> None:
    told = replace(PAGE, p="aligned p", films=(Film(row(1, aligned_p=0.21)),), rows=(row(4, aligned_p=0.4),))
    text = Page(markup(told)).text
    assert "flagged (aligned p" in text and "aligned p 0.210" in text and "0.400" in text


def test_the_same_values_give_the_same_bytes_and_films_are_taken_one_by_one(tmp_path: Path) -> None:
    taken: list[int] = []

    def films() -> Iterator[Film]:
        for film in FILMS:
            taken.append(film.row.rank)
            yield film

    parts = score_page(replace(PAGE, films=films()))
    before = ""
    while not taken:
        before += next(parts)
    assert taken == [1], "no more than is written"
    assert before + "".join(parts) == markup(PAGE)
    write_score_page(tmp_path / "a.html", PAGE)
    assert (tmp_path / "a.html").read_bytes() == markup(PAGE).encode()


def test_a_page_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("before")

    def films() -> Iterator[Film]:
        yield FILMS[0]
        raise InputError("a film", "that fails")

    with pytest.raises(InputError, match="a film"):
        write_score_page(file, replace(PAGE, films=films()))
    assert file.read_text() == "before" and list(tmp_path.iterdir()) == [file]
    with pytest.raises(InputError, match="--report: cannot write"):
        write_score_page(tmp_path / "absent" / "page.html", PAGE)
