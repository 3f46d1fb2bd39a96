"""Pixel ROC-AUC and PRO against what they say, written out threshold by threshold."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from numpy.typing import NDArray

from swag_ray.core import localisation
from swag_ray.core.enlarge import enlarge
from swag_ray.core.localisation import localise

Masks = list[NDArray[np.bool_]]


def regions(mask: NDArray[np.bool_]) -> list[list[tuple[int, int]]]:
    """Flood fill over eight neighbours."""
    left, found = {(int(y), int(x)) for y, x in np.argwhere(mask)}, []
    while left:
        queue, region = deque([left.pop()]), []
        while queue:
            y, x = queue.popleft()
            region.append((y, x))
            near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            queue.extend(near)
        found.append(region)
    return found


def brute(maps: NDArray[np.float32], masks: Masks) -> tuple[float, float]:
    large = [enlarge(m[None], mask.shape)[0] for m, mask in zip(maps, masks, strict=True)]
    plain = np.concatenate([m[~mask] for m, mask in zip(large, masks, strict=True)])
    marked = np.concatenate([m[mask] for m, mask in zip(large, masks, strict=True)])
    auc = np.mean([(value > plain).mean() + (value == plain).mean() / 2 for value in marked])
    every = [np.array([m[place] for place in region]) for m, mask in zip(large, masks, strict=True)
             for region in regions(mask)]  # fmt: skip
    x, y = [0.0], [0.0]
    for threshold in np.unique(np.concatenate([plain, marked]))[::-1]:
        x.append(float((plain >= threshold).mean()))
        y.append(float(np.mean([(values >= threshold).mean() for values in every])))
    area = 0.0
    for left, right, low, high in zip(x, x[1:], y, y[1:], strict=False):
        end = min(right, 0.3)
        if end <= left:
            continue
        top = low + (high - low) * (end - left) / (right - left)
        area += (end - left) * (low + top) / 2
    return float(auc), area / 0.3


def drawn(seed: int, images: int = 4) -> tuple[NDArray[np.float32], Masks]:
    generator = np.random.default_rng(seed)
    masks: Masks = []
    for _ in range(images):
        mask = np.zeros((int(generator.integers(9, 24)), int(generator.integers(9, 24))), bool)
        for _ in range(generator.integers(0, 3)):
            y, x = (int(generator.integers(0, side - 3)) for side in mask.shape)
            mask[y : y + generator.integers(1, 4), x : x + generator.integers(1, 4)] = True
        masks.append(mask)
    masks[0][2:4, 2:4] = masks[0][6, 6] = masks[0][7, 7] = True  # the last two touch at a corner: one region
    maps = generator.normal(size=(images, 4, 4)).astype(np.float32)
    maps += np.stack([enlarge(mask[None].astype(np.float32), (4, 4))[0] for mask in masks]) * 3
    return maps, masks


@pytest.mark.parametrize("seed", range(6))
def test_both_are_what_they_say(seed: int) -> None:
    maps, masks = drawn(seed)
    found = localise(maps, masks)
    assert found.images == len(masks)
    assert (found.pixel_roc_auc, found.pro) == pytest.approx(brute(maps, masks), abs=2e-3)


def test_maps_of_few_values_have_ties() -> None:
    maps, masks = drawn(7)
    maps = np.rint(maps / 2)
    masks = [mask[:8, :8] for mask in masks]
    maps = np.repeat(np.repeat(maps, 2, axis=1), 2, axis=2)  # 8 x 8, so that nothing lies between two values
    found = localise(maps, masks)
    assert (found.pixel_roc_auc, found.pro) == pytest.approx(brute(maps, masks), abs=1e-9)


def test_the_best_and_the_worst() -> None:
    mask = np.zeros((8, 8), bool)
    mask[2:5, 3:6] = True
    perfect = localise(mask[None].astype(np.float32), [mask])
    assert perfect.pixel_roc_auc == 1 and perfect.pro == pytest.approx(1)
    worst = localise(-mask[None].astype(np.float32), [mask])
    assert worst.pixel_roc_auc == 0 and worst.pro == 0
    flat = localise(np.zeros((1, 8, 8), np.float32), [mask])
    assert flat.pixel_roc_auc == 0.5 and flat.pro == pytest.approx(localisation.MOST_FALSE / 2)


def test_a_small_region_counts_as_much_as_a_large_one() -> None:
    mask = np.zeros((16, 16), bool)
    mask[:8, :8], mask[14, 14] = True, True
    only_large = np.zeros((16, 16), np.float32)
    only_large[:8, :8] = 1
    found = localise(only_large[None], [mask])
    assert found.pro == pytest.approx(0.5 + 0.5 * 0.15, abs=1e-6) and found.pixel_roc_auc is not None
    assert found.pixel_roc_auc > 0.98


def test_what_does_not_exist_is_none() -> None:
    maps = np.zeros((1, 4, 4), np.float32)
    for mask in (np.zeros((8, 8), bool), np.ones((8, 8), bool)):
        found = localise(maps, [mask])
        assert (found.pixel_roc_auc, found.pro, found.images) == (None, None, 1)
    with pytest.raises(ValueError, match="finite"):
        localise(maps * np.nan, [np.ones((8, 8), bool)])
    with pytest.raises(ValueError, match="argument 2"):
        localise(maps, [])
