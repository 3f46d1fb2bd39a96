"""Latent outliers: the pool's rejects, picked without a label, and how many images they amount to.

A pool image is a reject where it is more likely abnormal than not (`core/posterior.py`), and counts as much as it is
likely to be. Such a local rule needs no minimum: with few seeds a far image is still far, and a clean pool has none.

Shapes: m pool images, N train images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.array_checks import Floats


def reject_weights(eta_m: Floats, least: float) -> Floats:
    """Returns how much each pool image counts as a reject (m,): its probability of being abnormal, 0 below `least`.

    One minus `eta` is the local false discovery rate (Efron et al. 2001).
    """
    if not 0 < least <= 1:
        raise ValueError(f"a probability above 0 is needed, not {least}")
    return np.where(eta_m >= least, eta_m, 0.0)


def draw_rejects(reject_M: NDArray[np.int64], maximum: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """At most `maximum` of the rejects, uniformly, ascending; all of them where they are no more than that.

    The generator is used only where something is drawn, so a run below the maximum does not depend on it.
    """
    if maximum < 1:
        raise ValueError(f"at least one reject must be drawn, not {maximum}")
    if len(reject_M) <= maximum:
        return np.sort(reject_M)
    return np.sort(generator.choice(reject_M, size=maximum, replace=False))
