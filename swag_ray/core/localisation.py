"""How well maps point at what masks mark: pixel ROC-AUC and per-region overlap (PRO).

PRO is the mean over regions of the share of the region that lies above a threshold, integrated over the thresholds'
false-positive rates from 0 to `MOST_FALSE`, and divided by it: a small region counts as much as a large one.

Source: Bergmann et al. 2020, "Uninformed Students" (arXiv 1911.02357), section 4. Regions are 8-connected.

Pixels are counted by level, of which there are `LEVELS` between the lowest and the highest cell of all maps: memory
does not grow with the images, and values that share a level count as equal.

Shapes: n images, G x G cells, H x W pixels of an image's own, L levels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label as connected
from sklearn.metrics import auc, roc_auc_score

from swag_ray.core.enlarge import enlarge

LEVELS = 2**16
MOST_FALSE = 0.3  # where the paper's integral ends
EIGHT = np.ones((3, 3), np.int8)  # neighbours of a pixel


@dataclass(frozen=True)
class Localisation:
    """Attributes:
    pixel_roc_auc: chance that a marked pixel lies above one that is not; None where all are alike.
    pro: per-region overlap; None without a region, or without a pixel outside.
    images: how many took part.
    """

    pixel_roc_auc: float | None
    pro: float | None
    images: int


def localise(map_nGG: NDArray[np.float32], masks: Iterable[NDArray[np.bool_]]) -> Localisation:
    """Returns how well maps point.

    Args:
        map_nGG: of the images, finite; larger is more anomalous. Each is enlarged to its mask, bilinear.
        masks: (H, W) of each image, true where it is abnormal, in their order.

    Raises:
        ValueError: maps that are not finite, or more or fewer masks than maps.
    """
    if not np.isfinite(map_nGG).all():
        raise ValueError("maps must be finite")
    low, high = (float(map_nGG.min()), float(map_nGG.max())) if map_nGG.size else (0.0, 0.0)
    plain_L, marked_L = np.zeros(LEVELS, np.int64), np.zeros(LEVELS, np.int64)
    overlap_L, regions = np.zeros(LEVELS), 0
    for map_GG, mask_HW in zip(map_nGG, masks, strict=True):
        height, width = mask_HW.shape
        share_HW = (enlarge(map_GG[None], (height, width))[0].astype(np.float64) - low) / max(high - low, 1e-12)
        level_HW = np.rint(np.clip(share_HW, 0, 1) * (LEVELS - 1)).astype(np.int64)
        plain_L += np.bincount(level_HW[~mask_HW], minlength=LEVELS)
        marked_L += np.bincount(level_HW[mask_HW], minlength=LEVELS)
        region_HW, found = connected(mask_HW, EIGHT)
        size_R = np.bincount(region_HW.ravel(), minlength=found + 1)
        weight = 1 / size_R[region_HW[mask_HW]]
        overlap_L += np.bincount(level_HW[mask_HW], weight, minlength=LEVELS)
        regions += found
    if not plain_L.any() or not marked_L.any():
        return Localisation(None, None, len(map_nGG))
    return Localisation(_roc_auc(plain_L, marked_L), _pro(plain_L, overlap_L / regions), len(map_nGG))


def _roc_auc(plain_L: NDArray[np.int64], marked_L: NDArray[np.int64]) -> float:
    level = np.arange(LEVELS)
    marked = np.repeat([False, True], LEVELS)
    return float(roc_auc_score(marked, np.tile(level, 2), sample_weight=np.concatenate([plain_L, marked_L])))


def _pro(plain_L: NDArray[np.int64], overlap_L: NDArray[np.float64]) -> float:
    """Area under the mean overlap over the false-positive rate, up to `MOST_FALSE` of it."""
    false = np.concatenate([[0.0], np.cumsum(plain_L[::-1]) / plain_L.sum()])
    overlap = np.concatenate([[0.0], np.cumsum(overlap_L[::-1])])
    end = np.interp(MOST_FALSE, false, overlap)
    inside = false < MOST_FALSE
    x, y = np.append(false[inside], MOST_FALSE), np.append(overlap[inside], end)
    return float(auc(x, y) / MOST_FALSE)
