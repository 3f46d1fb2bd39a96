"""The trusted images that are least like the others: whoever trusts them should look at these."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from swag_ray.report.page.markup import Column, Html, decimal, element, join, p_value, paragraph, section, table, whole
from swag_ray.report.run.overlays import Scales, strips
from swag_ray.report.run.read import RunRecord

SHOWN = 8
ABOUT = (
    "Every trusted image is taken for a normal one, and a wrong image among them teaches the detector to pass over "
    "others like it. Here are those of {count} that score highest by models that have not seen them. Some always do: "
    "look at them. If one is no normal image, move its file out of the folder of normals and run again."
)


def odd_seeds_section(run: RunRecord) -> Html:
    """The seeds with the highest cross-fitted scores, and where those come from."""
    seeds = run.seeds
    if seeds is None:
        return Html()
    odd = [i for i in np.argsort(-seeds.z_n, kind="stable").tolist() if np.isfinite(seeds.z_n[i])][:SHOWN]
    columns = [
        Column("score, in the seeds' sd", [decimal(seeds.z_n[i], 2, signed=True) for i in odd]),
        Column("p among the seeds", [p_value(seeds.p_n[i]) for i in odd]),
        Column("file", [seeds.path[i] for i in odd], text=True),
    ]
    body = table("Seed", [seeds.id[i] for i in odd], columns)
    if not body:
        return Html()
    text = ABOUT.format(count=whole(len(seeds.id)))
    return section("Trusted images least like the others", paragraph(text), body, _cards(run, odd))


def _cards(run: RunRecord, odd: Sequence[int]) -> Html:
    pictures = run.overlays.odd_seeds if run.overlays is not None else None
    if run.overlays is None or run.seeds is None or pictures is None:
        return Html()
    strip = dict(zip(pictures.id, strips(pictures, Scales.of(run.overlays), "trusted image"), strict=True))
    cards = []
    for index in odd:
        name = run.seeds.id[index]
        if name not in strip:
            continue
        score = decimal(run.seeds.z_n[index], 2, signed=True)
        caption = join(element("strong", f"{score} sd"), element("div", name, class_="name"))
        cards.append(element("figure", strip[name], element("figcaption", caption), class_="card"))
    if not cards:
        return Html()
    note = "Maps by the models that have not seen the image; their colours mean what they mean for the other images."
    return join(paragraph(note, class_="note"), element("div", *cards, class_="cards"))
