"""Has a stream of images shifted against a reference? Looked at again and again, with few false alarms a year.

Images are taken in blocks of about a hundred in the order that they came, the shift of each block is fitted
(`alignment`), and an alarm is a shift that its own chance does not explain. Who looks often enough sees a chance shift,
so the looks share a budget: of a yearly chance of `ALARMS` for a false alarm, each block may spend as much as the time
it took (alpha spending, Lan and DeMets 1983), the first block as much as a day.

Shapes: n reference scores, T images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.alignment import Alignment, align, spread
from swag_ray.core.array_checks import Floats
from swag_ray.core.seeding import numpy_generator

# Chance of a false alarm in a year by what resampling shows of chance. It does not show anomalies that look nearly
# normal, which move a fit now and then: of 180 simulated years with a tenth or a third of them 7 had an alarm.
ALARMS = 0.02
BLOCK = 100  # images
DAY, YEAR = 1.0, 365.0  # days


@dataclass(frozen=True)
class Block:
    """Images that came one after the other.

    Attributes:
        day: when the last of them came, in days from the first of all.
        images: how many.
        alignment: how they lie to the reference.
        sd: of its shift, by chance.
        limit: sds beyond which a shift is an alarm.
    """

    day: float
    images: int
    alignment: Alignment
    sd: float
    limit: float

    @property
    def alarm(self) -> bool:
        """Whether chance does not explain the shift."""
        return abs(self.alignment.shift) > self.limit * self.sd


def course(
    reference_n: Floats, arrivals: Iterable[tuple[float, NDArray[np.float64]]], known: int | None = None
) -> Iterator[Block]:
    """Yields the blocks of a stream; images at its end that fill none wait for more.

    Args:
        reference_n: scores that the place's normals have, (n,).
        arrivals: (day, scores (T,)) in the order of time, one fold's score an image.
        known: images that the reference's place was found from, where they are fewer than its scores.
    """
    from scipy.stats import norm

    waiting: list[NDArray[np.float64]] = []
    count, looked = 0, 0.0
    for day, score_T in arrivals:
        waiting.append(score_T)
        count += len(score_T)
        if count < BLOCK:
            continue
        block_T1 = np.concatenate(waiting)[:, None]
        waiting, count = [], 0
        found = align(reference_n, block_T1)
        chance = spread(found, reference_n, len(block_T1), numpy_generator(0, "drift"), known)
        budget = ALARMS * min(1.0, max(day - looked, DAY if looked == 0 else 0.0) / YEAR)
        looked = max(day, DAY if looked == 0 else looked)
        limit = float(norm.isf(budget / 2)) if budget > 0 else np.inf
        yield Block(day, len(block_T1), found, chance.sd, limit)
