"""Mean and spread of trusted rows, by which all others are standardised.

Shapes: C channels (or columns).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOOR = 1e-2  # of the typical sd
CONSTANT = 1e-6  # features are float16 of order 1: below this a channel does not vary


def floored_sd(sd_C: NDArray[Any]) -> NDArray[np.float32]:
    """The sd to divide by: of a channel that the trusted rows hold nearly constant, a share of the typical one.

    Such a channel is noise. Divided by its own sd it would rule every distance and logit as soon as an image comes in
    which it varies.

    Shape:
        sd_C: (C,) float64, not negative. Returns (C,).
    """
    alive_C = sd_C > CONSTANT
    floor = FLOOR * float(np.median(sd_C[alive_C])) if alive_C.any() else 1.0
    return np.maximum(sd_C, floor).astype(np.float32)
