"""The page of scored images: the most suspicious first, each with its heatmap and the trusted images most like it.

It is written film by film, so that memory stays flat. The same values give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

from swag_ray.errors import InputError, reason_of, remedy_of
from swag_ray.report.page.document import DISCLAIMER, document_parts
from swag_ray.report.page.markup import Html, decimal, element, join, p_value, paragraph, whole
from swag_ray.report.page.overlay import heat_bar
from swag_ray.report.score.cards import card, isolated
from swag_ray.report.score.script import SCRIPT
from swag_ray.report.score.style import STYLE
from swag_ray.report.score.values import KINDS, STRANGE, UNFLAGGED, UNSCORED, ImageRow, ScorePage
from swag_ray.system.files import whole_file
from swag_ray.wording import clause, plural

HEAT = (
    "Colour: where an image is unlike the trusted ones, in standard deviations of their patches; transparent below "
    "their 99th centile. "
)
NEAREST = "With each: the trusted images most like it, with their distance in standard deviations of the trusted images"
USUAL = "; half of the trusted images lie within {} of their own nearest"
SEPARATOR = " \N{MIDDLE DOT} "


def write_score_page(file: Path, page: ScorePage) -> None:
    """Writes one self-contained page, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    try:
        with whole_file(file) as draft, draft.open("w", encoding="utf-8", errors="backslashreplace") as opened:
            for part in score_page(page):
                opened.write(part)
    except OSError as error:
        raise InputError(f"--report: cannot write '{file}' ({reason_of(error)})", remedy_of(error)) from error


def score_page(page: ScorePage) -> Iterator[str]:
    """Yields the page in parts."""
    title = f"{page.detector} \N{EN DASH} images scored by swag-ray"
    return document_parts(title, _body(page), SCRIPT, STYLE)


def _body(page: ScorePage) -> Iterator[Html]:
    yield Html("<main>")
    yield element("header", element("h1", f"Images scored by {page.detector}"), _about(page), _lead(page))
    yield _warnings(page)
    yield _legend(page)
    yield _filter(page)
    yield from _within(element("ol", class_="films"), (card(film, page.scale) for film in page.films))
    yield from _listed("Further images", page.rows, _scored_row)
    yield from _listed("Not scored", page.unscored, _unscored_row)
    if page.unlisted:
        yield paragraph(f"{clause(page.unlisted, 'further image', 'is', 'are')} in the table alone.", class_="note")
    yield Html("</main>")
    yield _dialog(page)


def _about(page: ScorePage) -> Html:
    total = sum(page.counts.values())
    facts = (page.date, f"detector {page.digest}", plural(total, "image"))
    return join(paragraph(SEPARATOR.join(facts), class_="about"), paragraph(DISCLAIMER, class_="about"))


def _lead(page: ScorePage) -> Html:
    """How many are flagged, and what that means."""
    scored = sum(page.counts.values()) - page.counts[UNSCORED]
    lead = f"{whole(page.flagged)} of {plural(scored, 'scored image')} flagged ({page.p} \N{LESS-THAN OR EQUAL TO} "
    more = []
    if count := page.counts[STRANGE]:
        more.append(f"{clause(count, 'image', 'is', 'are')} unlike anything the detector was made for")
    if count := page.counts[UNSCORED]:
        more.append(f"{clause(count, 'image', 'has', 'have')} no score")
    meaning = f"{page.meaning[:1].upper()}{page.meaning[1:]}."
    verdict = f"{lead}{page.rate:g}){''.join(f'; {text}' for text in more)}."
    return join(paragraph(verdict, class_="verdict"), paragraph(meaning, class_="doubt" if page.doubtful else ""))


def _warnings(page: ScorePage) -> Html:
    lines = [element("li", isolated(line)) for line in page.warnings]
    if not lines:
        return Html()
    return element("section", element("h2", "Warnings"), element("ul", *lines), class_="warnings")


def _legend(page: ScorePage) -> Html:
    """What the pictures mean, and the switch of the heatmaps, which needs no script."""
    parts = []
    if page.scale is not None:
        box = element("input", type="checkbox", id="heat", checked="checked")
        parts = [element("label", box, " Heatmaps"), paragraph(HEAT, heat_bar(*page.scale), class_="note")]
    if page.trusted:
        usual = decimal(page.usual_distance, 2)
        parts.append(paragraph(NEAREST, USUAL.format(usual) if usual else "", ".", class_="note"))
    parts += [paragraph(text, class_="note") for text in page.missing]
    return element("div", *parts, class_="legend") if parts else Html()


def _filter(page: ScorePage) -> Html:
    """The form that the script shows and reads."""
    boxes = [
        element(
            "label",
            element("input", type="checkbox", value=kind, checked="checked"),
            f" {kind} ({whole(page.counts[kind])})",
        )
        for kind in KINDS
        if page.counts[kind]
    ]
    search = element("input", type="search", placeholder="path, id or column", aria_label="find path, id or column")
    return element("form", search, *boxes, element("output"), id="filter", hidden="hidden", role="search")


Cells = Callable[[ImageRow], dict[str, str | None]]  # by the title of their column


def _listed(title: str, rows: Iterable[ImageRow], cells: Cells) -> Iterator[Html]:
    """A section with a row an image; nothing where there is none."""
    waiting = iter(rows)
    first = next(waiting, None)
    if first is None:
        return
    heads = (element("th", head, scope="col", class_="text") for head in cells(first))
    yield Html(f'<section class="listed">{element("h2", title)}<div class="scroll"><table>')
    yield element("thead", element("tr", *heads))
    yield from _within(element("tbody"), (_row(row, cells(row)) for row in chain((first,), waiting)))
    yield Html("</table></div></section>")


def _row(row: ImageRow, cells: dict[str, str | None]) -> Html:
    held = (element("td", cell or "", class_="text") for cell in cells.values())
    return element("tr", *held, data_kind=row.kind)


def _scored_row(row: ImageRow) -> dict[str, str | None]:
    figures: dict[str, str | None] = {"": f"{row.rank}.", "score": decimal(row.score), "p": p_value(row.p)}
    if row.aligned_p is not None:
        figures["aligned p"] = p_value(row.aligned_p)
    flag = row.kind if row.kind != UNFLAGGED else ""
    return figures | {"flag": f"{flag}: {row.out_of_domain}" if row.out_of_domain else flag} | _names(row)


def _unscored_row(row: ImageRow) -> dict[str, str | None]:
    return {"reason": row.status} | _names(row)


def _names(row: ImageRow) -> dict[str, str | None]:
    further = join(*(element("div", isolated(f"{name}: {value}", "find")) for name, value in row.further.items()))
    return {"path": isolated(row.path, "find"), "id": isolated(row.id, "find"), "columns": further}


def _dialog(page: ScorePage) -> Html:
    """Where the script shows one image, large; a button's value is the key that does the same."""
    keys = {"ArrowLeft": ("previous", "\N{LEFTWARDS ARROW}"), "ArrowRight": ("next", "\N{RIGHTWARDS ARROW}")}
    keys["+"] = ("nearer, and back", "zoom (+)")
    if page.scale is not None:
        keys["h"] = ("heatmap on or off", "heatmap (h)")
    buttons = [
        element("button", text, type="button", value=key, aria_label=said, title=said)
        for key, (said, text) in keys.items()
    ]
    close = element("button", "Close", type="button", class_="close")
    head = element("header", element("h2"), *buttons, close)
    return element("dialog", head, element("div", class_="facts"), element("div", class_="stage", tabindex="0"))


def _within(outer: Html, parts: Iterable[Html]) -> Iterator[Html]:
    """An element around what comes one by one; nothing where nothing comes."""
    start, end = outer[: outer.index("</")], outer[outer.index("</") :]
    begun = False
    for part in parts:
        yield part if begun else Html(start + part)
        begun = True
    if begun:
        yield Html(end)
