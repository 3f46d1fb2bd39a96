"""Figures as SVG: a file in fixed colours, and inline markup whose colours follow the page's light or dark theme."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

# MPLBACKEND may name a backend that is not installed here, as a notebook's kernel does: importing would then fail, and
# no backend is used for drawing to a file. A valid one is kept for whoever shares this process.
try:
    backend = os.environ.pop("MPLBACKEND", None)
    import matplotlib
finally:
    if backend is not None:
        os.environ["MPLBACKEND"] = backend
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = backend
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from swag_ray.report.page.colours import COLOURS
from swag_ray.report.page.markup import Html, element

SMALL = 3.4  # inches; three beside each other on a desktop page
WIDTH = 5.5  # inches; a viewBox of 396 points reads well both in half a desktop page and across a phone

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # real text: selectable, and in the page's own typeface
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,  # "+1" above an axis is read over
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "path.simplify": True,
}


@dataclass(frozen=True)
class Plot:
    """A drawn plot: file stem, SVG text, a description for those who cannot see it, and the caption under it."""

    name: str
    svg: str
    description: str
    caption: str


@dataclass(frozen=True)
class Drawing:
    """The same, not yet written as SVG."""

    name: str
    figure: Figure
    description: str
    caption: str

    def plot(self) -> Plot:
        return Plot(self.name, svg(self.figure, self.name), self.description, self.caption)


@contextmanager
def figure(height: float, panels: int = 1, width: float = WIDTH) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of `panels` stacked axes in the page's style, without any pyplot state; sizes in inches."""
    with matplotlib.rc_context(_SETTINGS):
        drawing = Figure(figsize=(width, height), layout="constrained", facecolor=COLOURS["paper"])
        grid = drawing.subplots(panels, 1, sharex=True, squeeze=False)
        axes: list[Axes] = list(grid[:, 0])
        for axis in axes:
            _style(axis)
        yield drawing, axes


def _style(axis: Axes) -> None:
    axis.set_facecolor("none")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color(COLOURS["line"])
    axis.tick_params(color=COLOURS["line"], labelcolor=COLOURS["quiet"], length=3)
    axis.xaxis.label.set_color(COLOURS["quiet"])
    axis.yaxis.label.set_color(COLOURS["quiet"])


def legend(axis: Axes, place: Literal["lower left", "lower right", "upper left"], columns: int = 1) -> None:
    """The axes' legend without a frame, where anything is named."""
    handles, labels = axis.get_legend_handles_labels()
    if labels:
        options: dict[str, Any] = {"frameon": False, "handlelength": 2.4, "borderaxespad": 0.2}
        axis.legend(handles, labels, loc=place, ncols=columns, labelcolor=COLOURS["ink"], **options)


def svg(drawing: Figure, name: str) -> str:
    """The figure as a standalone SVG file, the same bytes every time; `name` keeps its ids apart from others'."""
    buffer = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        drawing.savefig(buffer, format="svg", metadata=metadata)
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", buffer.getvalue(), flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'xlink:href="#', f'xlink:href="#{name}-', text)
    return re.sub(r"url\(#", f"url(#{name}-", text)


def inline(text: str, description: str) -> Html:
    """An SVG file's text as markup for the page: no prologue, no namespaces, colours by CSS variable."""
    body = text[text.index("<svg") :]
    opening, rest = body.split(">", 1)
    box = re.search(r'viewBox="([\d. -]+)"', opening)
    if box is None:
        raise ValueError("the SVG has no viewBox")
    rest = rest[: rest.rindex("</svg>")].replace("xlink:href=", "href=")
    rest = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", rest)
    for tone, colour in COLOURS.items():
        rest = rest.replace(colour, f"var(--{tone})")
    return element("svg", Html(rest), viewBox=box.group(1), role="img", aria_label=description)


def show(plots: Mapping[str, Plot], *names: str, small: bool = False) -> Html:
    """The named plots that there are, beside each other where there is room."""
    drawn = [
        element("figure", inline(plot.svg, plot.description), element("figcaption", plot.caption), class_="plot")
        for plot in (plots[name] for name in names if name in plots)
    ]
    return element("div", *drawn, class_="plots small" if small else "plots") if drawn else Html()
