"""HTML from values: everything that is not already `Html` is escaped, and what is unknown leaves no trace."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swag_ray.wording import duration

MINUS = "\N{MINUS SIGN}"
THIN = "\N{NARROW NO-BREAK SPACE}"
VOID = {"br", "img", "input", "meta"}
LEVEL = 0.05  # of a test


class Html(str):
    """Text that is markup already. Any other string is escaped where it enters the page."""


def element(name: str, /, *children: str, **attributes: str) -> Html:
    """`<name attributes>children</name>`; a trailing underscore in an attribute's name is dropped (`class_`)."""
    head = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for key, value in attributes.items() if value
    )
    return Html(f"<{name}{head}>") if name in VOID else Html(f"<{name}{head}>{join(*children)}</{name}>")


def join(*children: str) -> Html:
    return Html("".join(child if isinstance(child, Html) else html.escape(child) for child in children))


def section(title: str, *children: str) -> Html:
    """A titled section, or nothing where every child is empty."""
    body = join(*children)
    if not body:
        return Html()
    return element("section", element("h2", title), body)


def paragraph(*children: str, class_: str = "") -> Html:
    body = join(*children)
    return element("p", body, class_=class_) if body else Html()


def number(value: object) -> float | None:
    """The value as a finite float, or None: null, NaN, text and truth values are not figures."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def decimal(value: object, digits: int = 3, *, signed: bool = False) -> str | None:
    """Fixed decimals. What would round up to a perfect 1 is shown as greater than the largest figure below it."""
    x = number(value)
    if x is None:
        return None
    if 1 - 0.5 * 10**-digits <= x < 1 and not signed:
        return f">{1 - 10**-digits:.{digits}f}"
    text = f"{x:+.{digits}f}" if signed else f"{x:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def p_value(value: object) -> str | None:
    x = number(value)
    if x is None:
        return None
    if x < 0.001:
        return "<0.001"
    digits = 3
    while x != LEVEL == round(x, digits) and digits < 9:  # 0.0498 must not be shown as the level that it is below
        digits += 1
    return f"{x:.{digits}f}"


def percent(value: object, digits: int = 1) -> str | None:
    """A share as per cent. A share above zero is never shown as zero."""
    x = number(value)
    if x is None:
        return None
    while 0 < x < 0.5 * 10 ** -(digits + 2) and digits < 4:
        digits += 1
    return f"{100 * x:.{digits}f}{THIN}%"


def whole(value: object) -> str | None:
    x = number(value)
    return None if x is None else f"{round(x):,}".replace("-", MINUS)


def seconds(value: object) -> str | None:
    x = number(value)
    return None if x is None else duration(x, THIN)


Format = Callable[[object], str | None]  # a figure as text, None where it is none


@dataclass(frozen=True)
class Column:
    """One column of a table: its title, a cell per row (None: not known), the group of columns it stands in."""

    title: str
    cells: Sequence[str | None]
    group: str = ""
    text: bool = False


def table(
    corner: str,
    stubs: Sequence[str],
    columns: Sequence[Column],
    *,
    caption: str = "",
    strong: Sequence[bool] | None = None,
    sortable: bool = False,
) -> Html:
    """A table that scrolls by itself on a narrow screen. Columns without one known cell are left out.

    Args:
        corner: title of the first column.
        stubs: first cell of every row.
        columns: the others.
        caption: a sentence above the table.
        strong: rows to emphasise.
        sortable: a long table: its own window with a standing head, to be sorted by the page's script.
    """
    shown = [column for column in columns if any(cell is not None for cell in column.cells)]
    if not shown or not stubs:
        return Html()
    head = [element("tr", element("th", corner, scope="col"), *(_title(column) for column in shown))]
    if any(column.group for column in shown):
        head.insert(0, _groups(shown))
    body = []
    for index, stub in enumerate(stubs):
        cells = [element("td", c.cells[index] or "", class_="text" if c.text else "") for c in shown]
        emphasis = "strong" if strong is not None and strong[index] else ""
        body.append(element("tr", element("th", stub, scope="row"), *cells, class_=emphasis))
    kind = "sortable" if sortable else ""
    inner = element("table", element("thead", *head), element("tbody", *body), class_=kind)
    # The caption stands outside, so that it does not scroll away with a wide table.
    scroll = element("div", inner, class_="scroll tall" if sortable else "scroll", tabindex="0",
                     role="region", aria_label=caption or corner)  # fmt: skip
    return join(paragraph(caption, class_="note"), scroll)


def _title(column: Column) -> Html:
    kind = "text" if column.text else "short" if len(column.title) < 10 else ""
    return element("th", column.title, scope="col", class_=kind)


def _groups(columns: Sequence[Column]) -> Html:
    cells: list[Html] = [element("td")]
    start = 0
    for index in range(1, len(columns) + 1):
        if index == len(columns) or columns[index].group != columns[start].group:
            name = columns[start].group
            width = str(index - start)
            kind = "group" if name else ""
            cells.append(element("th" if name else "td", name, colspan=width, class_=kind))
            start = index
    return element("tr", *cells)
