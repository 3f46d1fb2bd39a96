"""Images with their distance and evidence maps laid over them: the highest- and lowest-scored test images, odd seeds.

Distances are told in standard deviations of the trusted seeds' patches. Below the seeds' 99th centile nothing is drawn:
a normal film is then clear but for one patch in a hundred.

Shapes: n images, H x W pixels, G and g grid cells a side. Scales are shared by all images, so that colours compare.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swag_ray.report.page.markup import Html, decimal, element, join, p_value, paragraph
from swag_ray.report.page.overlay import blend, data_uri, enlarged, grey_levels, heat_colour, heat_overlay
from swag_ray.report.run.pictures import MappedImages, Overlays
from swag_ray.report.run.read import TestScores

LEAST_SPAN = 1.0  # sd from transparent to brightest at least: where nothing stands out, noise must not shine
WORDS = {1: "anomaly", 0: "normal"}
# Blue pulls towards normal and orange towards anomaly, as everywhere on the page.
NORMAL_RGB, ANOMALY_RGB = np.array([0, 114, 220.0]), np.array([255, 106, 0.0])


def evidence_overlay(grey_HW: NDArray[np.float32], map_gg: NDArray[np.float32], limit: float) -> NDArray[np.float32]:
    """The grey image under its signed evidence: blue towards normal, orange towards anomaly. Returns (H, W, 3)."""
    x_HW = np.clip(enlarged(map_gg, grey_HW.shape) / max(limit, 1e-12), -1, 1).astype(np.float64)
    colour_HW3 = np.where(x_HW[..., None] > 0, ANOMALY_RGB, NORMAL_RGB)
    return blend(grey_HW, colour_HW3, 0.72 * np.abs(x_HW) ** 0.8)


def _finite(maps: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    """The maps with unknown cells at the neutral end, None where nothing is known."""
    if maps is None or not maps.size or not np.isfinite(maps).any():
        return None
    return np.nan_to_num(maps, nan=float(np.nanmin(maps)) if (maps >= 0).all() else 0.0)


def _in_seed_sd(
    distance_nGG: NDArray[np.float32], seed_patches: NDArray[np.float64] | None
) -> tuple[NDArray[np.float32], float, float]:
    """The distances in the seeds' sd, where those are known, and the ends of the colour scale."""
    if seed_patches is None:  # of an older run
        low, high = (float(v) for v in np.percentile(distance_nGG, [25, 99.5]))
        return distance_nGG, low, high
    mean, sd, centile = (float(v) for v in seed_patches)
    z_nGG, low = ((distance_nGG - mean) / max(sd, 1e-12)).astype(np.float32), (centile - mean) / max(sd, 1e-12)
    return z_nGG, low, max(float(np.percentile(z_nGG, 99.5)), low + LEAST_SPAN)


@dataclass(frozen=True)
class Scales:
    """What the colours of all maps of a page mean.

    Attributes:
        span: ends of the distances' scale; None where there are no distance maps.
        limit: where evidence is brightest, either way; None where there are no evidence maps.
        seed_patches: what distances are measured in, as the file has it.
    """

    span: tuple[float, float] | None
    limit: float | None
    seed_patches: NDArray[np.float64] | None

    @classmethod
    def of(cls, overlays: Overlays) -> Scales:
        """Returns the scales that suit a run's test images; odd seeds keep to them."""
        distance, evidence = _finite(overlays.distance_nGG), _finite(overlays.evidence_ngg)
        span = None if distance is None else _in_seed_sd(distance, overlays.seed_patches)[1:]
        limit = None if evidence is None else float(np.percentile(np.abs(evidence), 99))
        return cls(span, limit, overlays.seed_patches)


def strips(images: MappedImages, scales: Scales, what: str) -> list[Html]:
    """Returns each image beside its maps. `what`: what the images are."""
    distance, evidence = _finite(images.distance_nGG), _finite(images.evidence_ngg)
    if distance is not None:
        distance = _in_seed_sd(distance, scales.seed_patches)[0]
    found = []
    for index, name in enumerate(images.id):
        grey_HW = grey_levels(images.image_nHW[index])
        pictures = [(what, grey_HW)]
        if distance is not None and scales.span is not None:
            pictures.append(("distance map", heat_overlay(grey_HW, distance[index], *scales.span)))
        if evidence is not None and scales.limit is not None:
            pictures.append(("evidence map", evidence_overlay(grey_HW, evidence[index], scales.limit)))
        drawn = [element("img", src=data_uri(pixels), alt=f"{which} of {name}") for which, pixels in pictures]
        found.append(element("div", *drawn, class_="strip"))
    return found


def gallery(
    overlays: Overlays | None, scores: TestScores | None, rate: float | None, *, lowest_alone: bool = False
) -> Html:
    """Both halves as rows of cards, each the image beside its maps, under a legend of the two colour scales. With
    `lowest_alone`, the second half and no legend.
    """
    if overlays is None or not overlays.id:
        return Html()
    kinds = dict(zip(scores.id, scores.kind, strict=True)) if scores is not None else {}
    scales = Scales.of(overlays)
    cards = [
        _card(overlays, index, strip, kinds.get(overlays.id[index]), rate)
        for index, strip in enumerate(strips(overlays, scales, "image"))
    ]
    half = (len(cards) + 1) // 2
    if lowest_alone:
        return element("div", *cards[half:], class_="cards") if cards[half:] else Html()
    return join(
        legend(scales),
        element("h3", "Highest-scored"), element("div", *cards[:half], class_="cards"),
        *((element("h3", "Lowest-scored"), element("div", *cards[half:], class_="cards")) if cards[half:] else ()),
    )  # fmt: skip


def _card(overlays: Overlays, index: int, strip: Html, kind: str | None, rate: float | None) -> Html:
    name, label = overlays.id[index], int(overlays.label_n[index])
    words = [WORDS[label] + (f" ({kind})" if kind else "")] if label in WORDS else []
    p = float(overlays.p_n[index]) if overlays.p_n is not None else float("nan")
    flagged = rate is not None and p <= rate
    mistake = {(0, True): "false alarm", (1, False): "missed"}.get((label, flagged))
    if rate is not None and np.isfinite(p) and mistake:
        words.append(mistake)
    facts = [f"score {text}" for text in [decimal(float(overlays.score_n[index]))] if text]
    facts += [f"p {'' if text.startswith('<') else '= '}{text}" for text in [p_value(p)] if text]
    caption = join(
        element("strong", ", ".join(words)) if words else Html(),
        element("div", ", ".join(facts)) if facts else Html(),
        element("div", name, class_="name"),
    )
    return element(
        "figure", strip, element("figcaption", caption), class_="card wrong" if mistake and words[1:] else "card"
    )


def legend(scales: Scales) -> Html:
    """Returns what the colours of the maps mean."""
    lines = [paragraph("Each image stands beside its maps. A colour means the same in every card.")]
    if scales.span is not None:
        low, high = scales.span
        bar = join(f"{low:.2f} ", _bar(list(heat_colour(np.linspace(0, 1, 6)))), f" {high:.2f}")
        title = "Distance map: how far each patch lies from the memory bank"
        if scales.seed_patches is not None:
            title += ", in standard deviations of the trusted seeds' patches from their mean; transparent below the "
            title += "seeds' 99th centile"
        lines.append(_scale(title, bar))
    if scales.limit is not None:
        bar = join(f"\N{MINUS SIGN}{scales.limit:.2g} (normal) ", _bar([NORMAL_RGB, np.full(3, 136.0), ANOMALY_RGB]),
                   f" +{scales.limit:.2g} (anomaly)")  # fmt: skip
        lines.append(_scale("Evidence map: what each location adds to the score through the heads", bar))
    return join(*lines)


def _bar(stops: list[NDArray[np.float64]]) -> Html:
    colours = ", ".join("rgb({:.0f}, {:.0f}, {:.0f})".format(*rgb) for rgb in stops)
    return element("span", class_="scale", style=f"background: linear-gradient(to right, {colours})")


def _scale(title: str, bar: Html) -> Html:
    return paragraph(f"{title}. ", element("span", bar, class_="range"), class_="note")
