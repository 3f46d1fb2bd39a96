"""Patch features of several strides as one row of numbers per image."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from swag_ray.errors import InputError


def pool_features(features: Mapping[int, NDArray[np.floating]], grid: int = 4) -> NDArray[np.float32]:
    """Average every stride's grid of patches to `grid` x `grid` places and lay all strides side by side.

    Args:
        features: {stride: (N, P, C)}, P a square number, the same for all strides or not.
        grid: side g of the pooled grid; it must divide the stored grid's side.

    Returns:
        (N, D) float32.

    Raises:
        InputError: `grid` does not divide the stored grid.
    """
    rows = []
    for _, patches_NPC in sorted(features.items()):
        count, places, channels = patches_NPC.shape
        side = math.isqrt(places)
        if side * side != places:
            raise ValueError(f"{places} patches are no square grid")
        if grid < 1 or side % grid:
            raise InputError(f"head.grid: {grid} does not divide backbone.grid {side}", f"choose a divisor of {side}")
        step = side // grid
        # One row of cells at a time: a float32 copy of the whole table would be the largest array of the run.
        blocks_NgsgsC = patches_NPC.reshape(count, grid, step, grid, step, channels)
        pooled_NggC = np.empty((count, grid, grid, channels), np.float32)
        for row in range(grid):
            pooled_NggC[:, row] = blocks_NgsgsC[:, row].astype(np.float32).mean(axis=(1, 3))
        rows.append(pooled_NggC.reshape(count, -1))
    return np.concatenate(rows, axis=1)
