"""What the threshold means, in words: how many normal images it flags, of those like the trusted ones and of these.

Shapes: none; figures of one call.
"""

from __future__ import annotations

from dataclasses import dataclass

from swag_ray.core.local_normals import rank_rates
from swag_ray.core.shift import Shift, sentence
from swag_ray.detector.detector import Detector
from swag_ray.detector.site import Site
from swag_ray.wording import plural


@dataclass(frozen=True)
class Told:
    """What is said of the images of a call, all together.

    Attributes:
        rate: share of normals to flag.
        meaning: what the threshold means for them, a sentence.
        doubtful: whether that is a warning.
        warnings: what is doubtful of them, a line each.
    """

    rate: float
    meaning: str
    doubtful: bool
    warnings: tuple[str, ...]


def threshold_sentence(
    detector: Detector, rate: float, images: int, shift: Shift | None, site: Site | None
) -> tuple[str, bool]:
    """Returns what the threshold means for the images of a call, in a sentence, and whether that is a warning.

    Args:
        rate: share of normals to flag.
        images: that have a score.
        shift: of these to what the detector is set to; None where they are too few to tell.
        site: what it is set to; None for the trusted images.
    """
    flags = f"the threshold flags {_share(rate)}"
    if site is None:
        low, high = rank_rates(len(detector.seed_s), rate)
        if not high:
            return f"the threshold can flag nothing: {plural(len(detector.seed_s), 'trusted image')} are too few", False
        means = f"{flags} images like your trusted ones ({low:.1%} to {high:.1%} of them, in 90 of 100 cases)"
    elif (rates := site.rates(detector, rate)) is not None:
        means = (
            f"at this site {flags} normal images ({rates[0]:.1%} to {rates[1]:.1%} of them, in 90 of 100 cases), by "
            f"{plural(site.n, 'known normal')}"
        )
    else:
        means = f"at this site {flags} normal images, as far as {plural(site.n, 'unlabelled image')} can tell"
    like, doubtful = sentence(shift, images, "the trusted images" if site is None else "the site")
    return f"{means}; {_of_these(like)}{_advice(shift, site) if doubtful else ''}", doubtful


def _share(rate: float) -> str:
    """A rate as people say it: about 1 in 20."""
    nearest = round(1 / rate)
    return f"about 1 in {nearest}" if abs(1 / rate - nearest) < 0.05 * nearest and nearest > 1 else f"{rate:.1%} of"


def _of_these(like: str) -> str:
    return like.replace("they ", "these ", 1)


def _advice(shift: Shift | None, site: Site | None) -> str:
    if shift is None or shift.doubt is not None:
        return "; known normals of this place tell: swag-ray calibrate --normals"
    if site is not None:
        return ", so calibrate again"
    more = "more" if shift.alignment.shift > 0 else "fewer"
    return f", so it flags {more} of their normals; swag-ray calibrate sets it for this place"
