"""Heatmaps: where an image is unlike the seeds, bank and heads together, in units of the seeds' own patches.

A map is a sum of parts in sd of the seeds' patches, those of the arms that score:

    distance  of each patch to the memory bank
    cells     what `core/altered_cells.py` says of each patch; it stands for the auxiliary head, which knows the same
              variants and points worse
    evidence  what the head of the pool's rejects finds at each of its places

Weights are not those of the fused score. That a head ranks images well does not mean that it points: weighed as it
scores, the head of rejects alone would decide most peaks (`tests/benchmarks/heatmap_study.py`).
The sum is brought to mean 0 and sd 1 over the seeds' patches; `heat_scale.py` measures them.

Shapes: n images, P = G x G patches, C channels of all strides side by side, K folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from swag_ray.features.reader import Patches
from swag_ray.store.stages import Arrays

CENTILE = 99  # of the seeds' patches: up to it nothing is drawn
WEIGHTS = {"distance": 1.0, "cells": 1.0, "evidence": 0.5}
SMOOTHING = 0.7  # cells, sd: what is altered seldom ends where a cell does
LEAST_SPAN = 1.0  # sd from transparent to brightest at least
PARTS = {"bank": "distance", "auxiliary": "cells", "head": "evidence"}  # of an arm of the fused score


@dataclass(frozen=True)
class HeatPart:
    """A part of the maps.

    Attributes:
        name: `distance`, `cells` or `evidence`.
        weight: of the part, per sd of the seeds' patches.
        location_GG: mean over the seeds: of evidence at each place, where a head has weights of its own; of the others
            over all places.
        sd: of the seeds' patches about it.
    """

    name: str
    weight: float
    location_GG: NDArray[np.float32]
    sd: float

    def of(self, raw_nGG: NDArray[np.float32]) -> NDArray[np.float64]:
        """Returns what values of this part add to the maps."""
        return self.weight * (raw_nGG.astype(np.float64) - self.location_GG) / self.sd


@dataclass(frozen=True)
class HeatScale:
    """What makes maps of values, and what their colours mean.

    Attributes:
        parts: what is added up.
        location, sd: of the sum over the seeds' patches.
        low: 99th centile of the seeds' patches, in sd of the maps: a normal film is clear up to it but for one patch in
            a hundred.
        high: where colour is brightest: twice as far from the seeds' mean, and a whole sd above `low` at least.
        cells_KC: each fold's discriminant of altered cells; None where no part needs it.
    """

    parts: tuple[HeatPart, ...]
    location: float
    sd: float
    low: float
    high: float
    cells_KC: NDArray[np.float32] | None = None

    def of_fold(self, k: int) -> HeatScale:
        """Returns the same by fold k's models alone."""
        return self if self.cells_KC is None else replace(self, cells_KC=self.cells_KC[k : k + 1])

    def maps(self, raw: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Returns maps (n, G, G) of the values of all parts by name, each (n, G, G)."""
        total_nGG = smoothed(np.sum([part.of(raw[part.name]) for part in self.parts], axis=0))
        return np.asarray((total_nGG - self.location) / self.sd, np.float32)


def smoothed(map_nGG: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns maps (n, G, G) under a Gaussian of `SMOOTHING` cells; at the rim of what there is."""
    cell = np.arange(map_nGG.shape[1])
    share_GG = np.exp(-0.5 * ((cell[:, None] - cell) / SMOOTHING) ** 2)
    share_GG /= share_GG.sum(axis=1, keepdims=True)
    return np.asarray(share_GG @ map_nGG @ share_GG.T)


def heat_arrays(scale: HeatScale) -> Arrays:
    """Returns all of it by name, for a bundle; `heat_of` is the inverse."""
    arrays: Arrays = {
        "parts": np.array([part.name for part in scale.parts]),
        "weights": np.array([part.weight for part in scale.parts]),
        "sds": np.array([part.sd for part in scale.parts]),
        "locations": np.stack([part.location_GG for part in scale.parts]),
        "sum": np.array([scale.location, scale.sd]),
        "span": np.array([scale.low, scale.high]),
    }
    return arrays if scale.cells_KC is None else arrays | {"cells": scale.cells_KC}


def heat_of(arrays: Arrays) -> HeatScale:
    """Returns the scale of `heat_arrays`. Raises ValueError, TypeError or LookupError where they are none."""
    held = zip(*(arrays[name] for name in ("parts", "weights", "locations", "sds")), strict=True)
    parts = tuple(HeatPart(str(name), float(weight), location_GG, float(sd)) for name, weight, location_GG, sd in held)
    (location, sd), (low, high) = (map(float, arrays[name]) for name in ("sum", "span"))
    return HeatScale(parts, location, sd, low, high, arrays.get("cells"))


def side_by_side(patches: Patches) -> NDArray[np.float32]:
    """Returns all strides of each patch in a row, (n, P, C)."""
    return np.concatenate([patches[stride].astype(np.float32) for stride in sorted(patches)], axis=-1)
