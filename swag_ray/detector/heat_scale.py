"""What heatmaps are measured in: learnt from seeds and their variants, none by a model that has seen it.

Shapes: n images, P = G x G patches, C channels of all strides side by side, V variants, K folds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.altered_cells import ALTERED, PLAIN, direction
from swag_ray.core.moments import Moments
from swag_ray.detector.detector import Detector
from swag_ray.detector.heatmap import CENTILE, LEAST_SPAN, PARTS, WEIGHTS, HeatPart, HeatScale, side_by_side
from swag_ray.features.reader import FeatureReader
from swag_ray.models.tasks import ScoreTask

MOST = 1000  # seeds that cells are learnt from, and variants; of 300 of 64 patches, 192 lie above the 99th centile
AT_A_TIME = 100  # images whose patches are in memory


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
    names = [PARTS[arm.name] for arm in detector.arms] or ["distance"]
    cells_KC = None
    if "cells" in names:
        cells_KC = _cells(reader, task, len(detector.models), detector.spec.strides)
        if cells_KC is None:
            names.remove("cells")
    raw = _held_out(reader, _some(task.seeds), detector, names, cells_KC)
    parts = tuple(_part(name, raw[name]) for name in names)
    plain = HeatScale(parts, 0.0, 1.0, 0.0, LEAST_SPAN, cells_KC)
    total_nGG = plain.maps(raw).astype(np.float64)
    location, sd = float(total_nGG.mean()), max(float(total_nGG.std()), 1e-12)
    low = (float(np.percentile(total_nGG, CENTILE)) - location) / sd
    return replace(plain, location=location, sd=sd, low=low, high=low + max(low, LEAST_SPAN))


def heatmaps_of(reader: FeatureReader, task: ScoreTask, detector: Detector) -> NDArray[np.float32]:
    """Returns the heatmaps of these images, mean over the folds: (n, G, G)."""
    blocks = [task.rows.take(part) for part in _blocks(np.arange(len(task.rows)))]
    return np.concatenate([detector.heatmaps(reader.patches(rows, detector.spec.strides)) for rows in blocks])


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
            for name, found in alone.heat_parts(patches, names, cells).items():
                raw[name][part] = found
    return raw


def _part(name: str, raw_nGG: NDArray[np.float32]) -> HeatPart:
    location_GG = raw_nGG.mean(axis=0, dtype=np.float64)
    if name != "evidence":
        location_GG[:] = location_GG.mean()
    sd = max(float((raw_nGG - location_GG).std()), 1e-12)
    return HeatPart(name, WEIGHTS[name], location_GG.astype(np.float32), sd)


def _cells(reader: FeatureReader, task: HeatTask, folds: int, strides: tuple[int, ...]) -> NDArray[np.float32] | None:
    """Each fold's discriminant (K, C), of seeds and variants of the other folds; None where some lack variants."""
    plain: list[list[Moments]] = [[] for _ in range(folds)]
    altered: list[list[Moments]] = [[] for _ in range(folds)]
    no_place_VGG = np.zeros((len(task.seeds.rows), *task.share_VGG.shape[1:]), np.float32)
    for images, share_VGG in ((task.seeds, no_place_VGG), (task.variants, task.share_VGG)):
        some = _some(images)
        for k in np.unique(some.fold):
            for part in _blocks(np.flatnonzero(some.fold == k)):
                x_nPC = side_by_side(reader.patches(some.rows.take(part), strides))
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


def _some(task: ScoreTask) -> ScoreTask:
    """Evenly so many of the images as are measured; `position` says which."""
    index = np.unique(np.linspace(0, len(task.rows) - 1, min(MOST, len(task.rows))).astype(np.int64))
    return ScoreTask(index, task.rows.take(index), task.fold[index])


def _blocks(index: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [index[start : start + AT_A_TIME] for start in range(0, len(index), AT_A_TIME)]
