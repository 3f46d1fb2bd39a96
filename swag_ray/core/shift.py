"""Does a batch of images score like the place that a detector is set to? What is said of it.

Shapes: T images, K folds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.alignment import CENTILES_P, Alignment, Spread, align, spread
from swag_ray.core.array_checks import Floats
from swag_ray.core.seeding import numpy_generator

FEWEST = 50  # images that tell anything
FEWEST_NORMALS = 15  # that the fitted range must hold by the fit's own share of anomalies


@dataclass(frozen=True)
class Shift:
    """How a batch lies to a reference: the seeds, or a site.

    Attributes:
        images: T.
        sd: of the reference's scores, the unit of what is said.
        alignment, spread: the fit, and what chance alone makes of it.
    """

    images: int
    sd: float
    alignment: Alignment
    spread: Spread

    @property
    def found(self) -> bool:
        """Whether the batch is shifted: 0 lies outside the interval."""
        return not self.spread.low <= 0 <= self.spread.high

    @property
    def text(self) -> str:
        """Returns the shift with its interval: "+0.82 sd (0.61 to 1.03)"."""
        a, low, high = (value / self.sd for value in (self.alignment.shift, self.spread.low, self.spread.high))
        return f"{a:+.2f} sd ({low:.2f} to {high:.2f})"

    @property
    def doubt(self) -> str | None:
        """Returns why the fit is not to be believed; None where it is."""
        normals = self.images * (1 - self.alignment.contamination) * float(np.ptp(CENTILES_P))
        if normals < FEWEST_NORMALS:
            abnormal = f"{self.alignment.contamination:.0%} of them are abnormal"
            return f"by the fit {abnormal}, and what is left are too few normals"
        if self.alignment.residual > self.spread.residual:
            residuals = f"residual {self.alignment.residual:.2f} sd, by chance up to {self.spread.residual:.2f}"
            return (
                f"their low scores are spread otherwise than the reference's ({residuals}): too many anomalies may "
                "look normal, or these normals differ"
            )
        return None


def shift_of(reference_n: Floats, score_TK: NDArray[np.float64], known: int | None = None) -> Shift | None:
    """Returns how a batch lies to a reference; None where it has too few images to tell.

    Args:
        known: images that the reference's place was found from, where they are fewer than its scores.
    """
    if len(score_TK) < FEWEST:
        return None
    found = align(reference_n, score_TK)
    chance = spread(found, reference_n, len(score_TK), numpy_generator(0, "shift"), known)
    return Shift(len(score_TK), float(reference_n.std(ddof=1)), found, chance)


def sentence(shift: Shift | None, images: int, place: str) -> tuple[str, bool]:
    """Returns whether a batch scores like a place, in a sentence, and whether that is a warning.

    Args:
        images: that have a score.
        place: what the detector is set to: "the trusted images", "the site".
    """
    if shift is None:
        return f"whether they score like {place} takes {FEWEST} images or more to tell", False
    if shift.doubt is not None:
        return f"whether they score like {place} cannot be told: {shift.doubt}", True
    if shift.found:
        return f"they do not score like {place}: shifted by {shift.text}", True
    return f"they score like {place}: shift {shift.text}", False
