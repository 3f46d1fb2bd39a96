"""Heatmaps: where an image is unlike the seeds, bank and heads together, in units of the seeds' own patches.

A map is a sum of parts, each less its mean over the seeds at the same place, in the sd of the seeds' patches, times its
weight in the fused score:

    distance  of each patch to the memory bank
    cells     what `core/altered_cells.py` says of each patch; it stands for the auxiliary head, which knows the same
              variants and points worse
    evidence  what the head of the pool's rejects finds at each of its places

The seeds are measured by their own fold's models alone, which have not seen them. The sum is brought to mean 0 and sd 1
over their patches.

Shapes: n images, P = G x G patches, C channels of all strides side by side, K folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.altered_cells import ALTERED, PLAIN, direction
from swag_ray.core.enlarge import enlarge
from swag_ray.core.moments import Moments
from swag_ray.features.reader import FeatureReader, Patches
from swag_ray.models.tasks import ScoreTask
from swag_ray.store.stages import Arrays

if TYPE_CHECKING:
    from swag_ray.detector.detector import Detector

MOST = 1000  # seeds that cells are learnt from, and variants; of 300 of 64 patches, 192 lie above the 99th centile
AT_A_TIME = 100  # images whose patches are in memory
CENTILE = 99  # of the seeds' patches: up to it nothing is drawn
LEAST_SPAN = 1.0  # sd from transparent to brightest at least
PARTS = {"bank": "distance", "auxiliary": "cells", "head": "evidence"}  # of an arm of the fused score


@dataclass(frozen=True)
class HeatPart:
    """A part of the maps.

    Attributes:
        name: `distance`, `cells` or `evidence`.
        weight: of the part, per sd of the seeds' patches.
        location_GG: mean over the seeds at each place.
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
        total_nGG = np.sum([part.of(raw[part.name]) for part in self.parts], axis=0)
        return np.asarray((total_nGG - self.location) / self.sd, np.float32)


@dataclass(frozen=True)
class HeatTask:
    """What a scale is made of.

    Attributes:
        seeds: each with its own fold.
        variants: of the seeds, each with its host's fold; none where nothing is known of where they are altered.
        share_VGG: share of each cell of the variants that is altered.
    """

    seeds: ScoreTask
    variants: ScoreTask
    share_VGG: NDArray[np.float32]

    def __str__(self) -> str:
        return f"{len(self.seeds.rows)} seeds, {len(self.variants.rows)} variants"


def heat_scale(reader: FeatureReader, task: HeatTask, detector: Detector) -> HeatScale:
    """Returns the scale of a detector's maps: of its seeds' patches, each by its own fold's models."""
    weights = {PARTS[arm.name]: arm.weight for arm in detector.arms} or {"distance": 1.0}
    seeds, cells_KC = _some(task.seeds), None
    if "cells" in weights:
        cells_KC = _cells(reader, task, len(detector.models), detector.spec.strides)
        if cells_KC is None:
            del weights["cells"]
    raw = _held_out(reader, seeds, detector, list(weights), cells_KC)
    parts = tuple(_part(name, weight, raw[name]) for name, weight in weights.items())
    plain = HeatScale(parts, 0.0, 1.0, 0.0, LEAST_SPAN, cells_KC)
    total_nGG = plain.maps(raw).astype(np.float64)
    location, sd = float(total_nGG.mean()), max(float(total_nGG.std()), 1e-12)
    low = (float(np.percentile(total_nGG, CENTILE)) - location) / sd
    return replace(plain, location=location, sd=sd, low=low, high=low + max(low, LEAST_SPAN))


def raw_maps(
    detector: Detector, patches: Patches, names: list[str], cells_KC: NDArray[np.float32] | None
) -> dict[str, NDArray[np.float32]]:
    """Returns the values of parts by name, (n, G, G), each the mean over the folds."""
    grid, raw = detector.spec.grid, {}
    for name in names:
        if name == "distance":
            raw[name] = detector.distance_maps(patches)
        elif name == "cells":
            assert cells_KC is not None
            raw[name] = (_side_by_side(patches) @ cells_KC.mean(axis=0)).reshape(-1, grid, grid)
        else:
            evidence = detector.evidence_maps(patches, ("head",))
            assert evidence is not None
            raw[name] = enlarge(evidence, (grid, grid))
    return raw


def _held_out(
    reader: FeatureReader,
    task: ScoreTask,
    detector: Detector,
    names: list[str],
    cells_KC: NDArray[np.float32] | None,
) -> dict[str, NDArray[np.float32]]:
    grid = detector.spec.grid
    raw = {name: np.empty((len(task.rows), grid, grid), np.float32) for name in names}
    for k in np.unique(task.fold):
        own, alone = np.flatnonzero(task.fold == k), detector.of_fold(int(k))
        for part in _blocks(own):
            patches = reader.patches(task.rows.take(part), detector.spec.strides)
            cells = None if cells_KC is None else cells_KC[k : k + 1]
            for name, found in raw_maps(alone, patches, names, cells).items():
                raw[name][part] = found
    return raw


def _part(name: str, weight: float, raw_nGG: NDArray[np.float32]) -> HeatPart:
    location_GG = raw_nGG.mean(axis=0, dtype=np.float64)
    sd = max(float((raw_nGG - location_GG).std()), 1e-12)
    return HeatPart(name, weight, location_GG.astype(np.float32), sd)


def _cells(reader: FeatureReader, task: HeatTask, folds: int, strides: tuple[int, ...]) -> NDArray[np.float32] | None:
    """Each fold's discriminant (K, C), of seeds and variants of the other folds; None where some lack variants."""
    plain: list[list[Moments]] = [[] for _ in range(folds)]
    altered: list[list[Moments]] = [[] for _ in range(folds)]
    no_place_VGG = np.zeros((len(task.seeds.rows), *task.share_VGG.shape[1:]), np.float32)
    for images, share_VGG in ((task.seeds, no_place_VGG), (task.variants, task.share_VGG)):
        some = _some(images)
        for k in np.unique(some.fold):
            for part in _blocks(np.flatnonzero(some.fold == k)):
                x_nPC = _side_by_side(reader.patches(some.rows.take(part), strides))
                share_nP = share_VGG[some.position[part]].reshape(x_nPC.shape[:2])
                for into, chosen in ((plain, share_nP <= PLAIN), (altered, share_nP >= ALTERED)):
                    if chosen.any():
                        into[k].append(Moments.of(x_nPC[chosen]))
    known = [[part for j in range(folds) if j != k for part in altered[j]] for k in range(folds)]
    if not all(known):
        return None
    normal = [[part for j in range(folds) if j != k for part in plain[j]] for k in range(folds)]
    return np.stack([direction(_merged(known[k]), _merged(normal[k])) for k in range(folds)])


def _merged(moments: list[Moments]) -> Moments:
    merged = moments[0]
    for more in moments[1:]:
        merged = merged.merge(more)
    return merged


def _side_by_side(patches: Patches) -> NDArray[np.float32]:
    """All strides of each patch in a row, (n, P, C)."""
    return np.concatenate([patches[stride].astype(np.float32) for stride in sorted(patches)], axis=-1)


def _some(task: ScoreTask) -> ScoreTask:
    """Evenly so many of the images as are measured; `position` says which."""
    index = np.unique(np.linspace(0, len(task.rows) - 1, min(MOST, len(task.rows))).astype(np.int64))
    return ScoreTask(index, task.rows.take(index), task.fold[index])


def _blocks(index: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [index[start : start + AT_A_TIME] for start in range(0, len(index), AT_A_TIME)]


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
