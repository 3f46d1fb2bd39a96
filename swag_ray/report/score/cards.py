"""An image with its pictures, as the page shows it."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np

from swag_ray.report.page.markup import Html, decimal, element, join, p_value, paragraph
from swag_ray.report.page.overlay import data_uri, heat_layer
from swag_ray.report.score.values import FLAGGED, STRANGE, Film, ImageRow, TrustedImage

Scale = tuple[float, float]


def card(film: Film, scale: Scale | None) -> Html:
    """Returns the film: its pictures, what is said of it, the trusted images most like it."""
    row = film.row
    return element(
        "li",
        element("article", _pictures(film, scale), _words(film), _nearest(film.nearest), aria_label=row.path),
        class_="film", data_kind=row.kind,
    )  # fmt: skip


def isolated(text: str, class_: str = "") -> Html:
    """Text from outside, whose direction of writing stays its own. The page's filter looks into class `find`."""
    return element("bdi", text, class_=class_)


def _pictures(film: Film, scale: Scale | None) -> Html:
    if film.picture_HW is None:
        return element("p", f"No picture: {film.note}.", class_="none")
    grey = element("img", src=data_uri(film.picture_HW.astype(np.float32)), alt=f"image {film.row.path}")
    layers = [grey]
    if film.heat_GG is not None and scale is not None:
        layers.append(element("img", src=heat_layer(film.heat_GG, *scale), alt="its heatmap", class_="heat"))
    height, width = film.picture_HW.shape
    picture = element("span", *layers, class_="layers", style=f"--ratio: {width / height:.4f}")
    return element("button", picture, type="button", class_="zoom", aria_label=f"enlarge image {film.row.rank}")


def _words(film: Film) -> Html:
    row = film.row
    heat = None if film.heat_GG is None else decimal(float(film.heat_GG.max()), 1)
    facts = {"score": decimal(row.score), "p": p_value(row.p), "aligned p": p_value(row.aligned_p)}
    facts["heatmap"] = f"up to {heat} sd" if heat is not None else None
    said = [_fact(name, value) for name, value in facts.items() if value is not None]
    said += [_fact(name, isolated(value, "find")) for name, value in row.further.items()]
    return element(
        "div",
        element("h2", element("span", f"{row.rank}.", class_="rank"), " ", isolated(_file(row.path)), _flag(row)),
        paragraph(STRANGE.capitalize(), ": ", row.out_of_domain, class_="strange") if row.out_of_domain else Html(),
        element("dl", *said),
        element("p", isolated(row.path, "find"), class_="name"),
        element("p", isolated(row.id, "find"), class_="name id"),
        class_="words",
    )


def _file(path: str) -> str:
    return PurePosixPath(path).name or path


def _flag(row: ImageRow) -> Html:
    """A word for what is marked; colour alone says nothing."""
    if row.kind not in (FLAGGED, STRANGE):
        return Html()
    return join(" ", element("span", row.kind, class_="mark" if row.kind == FLAGGED else "mark quiet"))


def _fact(name: str, value: str) -> Html:
    return element("div", element("dt", isolated(name)), element("dd", value))


def _nearest(nearest: tuple[TrustedImage, ...]) -> Html:
    if not nearest:
        return Html()
    return element("ul", *(_trusted(image) for image in nearest), class_="nearest", aria_label="trusted images like it")


def _trusted(image: TrustedImage) -> Html:
    name = image.name if image.path is None else _file(image.path)
    picture = Html()
    if image.picture_HW is not None:
        picture = element("img", src=data_uri(image.picture_HW.astype(np.float32)), alt="")
    return element(
        "li",
        picture, element("span", f"distance {decimal(image.distance, 2)}", class_="distance"),
        element("span", isolated(name), class_="name", title=image.path or ""),
    )  # fmt: skip
