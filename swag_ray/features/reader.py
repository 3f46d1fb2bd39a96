"""Frozen features: how an image becomes one row of a shard, and how rows are read back.

A shard is one Parquet file of a few dozen images: float16 features as fixed-size binary, one column per stride, beside
the statistics that the shortcut controls need. A feature depends only on the image's bytes and the fingerprint: every
batch has the same size (the last is padded), so an image's bits do not depend on its neighbours, its shard or who
computed it.

Shapes: N images, P patches, C channels of one stride.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.pooling import pool_features
from swag_ray.core.shortcuts import ImageStatistics
from swag_ray.features.shards import DamagedShard, fixed, patches, read_shard
from swag_ray.store.store import Store

T = TypeVar("T")

Patches = dict[int, NDArray[np.float16]]


@dataclass(frozen=True)
class Rows:
    """Where images' features are: parallel arrays of shard number and row in that shard, one entry an image."""

    shard_N: NDArray[np.int32]
    row_N: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.shard_N)

    def take(self, index: NDArray[Any]) -> Rows:
        return Rows(self.shard_N[index], self.row_N[index])

    def joined(self, other: Rows) -> Rows:
        return Rows(np.concatenate([self.shard_N, other.shard_N]), np.concatenate([self.row_N, other.row_N]))


class FeatureReader:
    """Reads rows of one feature set.

    Args:
        root: the store's root.
        fingerprint: the feature set.
        shards: names of its shard files; `Rows.shard_N` counts in this list.
        cache_bytes: pooled features kept between calls, so that the folds and rounds of a small pool pool them once.
        memo_bytes: of what `memo` keeps.
    """

    def __init__(
        self,
        root: str,
        fingerprint: str,
        shards: Sequence[str],
        cache_bytes: int = 512 * 2**20,
        memo_bytes: int = 256 * 2**20,
    ) -> None:
        self.store = Store(root)
        self.fingerprint = fingerprint
        self.shards = list(shards)
        self.cache_bytes, self.memo_bytes = cache_bytes, memo_bytes
        self._memo: dict[Hashable, tuple[Any, int]] = {}
        self._pooled: dict[tuple[int, tuple[int, ...], int], NDArray[np.float32]] = {}

    def memo(self, key: Hashable, size: int, make: Callable[[], T]) -> T:
        """What `make` gives, kept between tasks under a key that says all it depends on; the least used go first.

        Args:
            size: bytes that it takes, roughly.
        """
        found = self._memo.pop(key, None) or (make(), size)
        self._memo[key] = found
        while len(self._memo) > 1 and sum(held for _, held in self._memo.values()) > self.memo_bytes:
            del self._memo[next(iter(self._memo))]
        kept: T = found[0]
        return kept

    def patches(self, rows: Rows, strides: Sequence[int]) -> Patches:
        """Features of these images, in their order.

        Returns:
            {stride: (N, P, C) float16}.
        """
        out: Patches = {}
        for shard in np.unique(rows.shard_N):
            where = np.flatnonzero(rows.shard_N == shard)
            for stride, whole in self._patches(shard, strides).items():
                if stride not in out:
                    out[stride] = np.empty((len(rows), *whole.shape[1:]), np.float16)
                out[stride][where] = whole[rows.row_N[where]]
        return out

    def pooled(self, rows: Rows, strides: Sequence[int], grid: int) -> NDArray[np.float32]:
        """All strides of these images averaged to `grid` x `grid` places, side by side: (N, D), in their order."""
        out: NDArray[np.float32] | None = None
        for shard in np.unique(rows.shard_N):
            where = np.flatnonzero(rows.shard_N == shard)
            whole = self._pooled_shard(int(shard), tuple(strides), grid)
            if out is None:
                out = np.empty((len(rows), whole.shape[1]), np.float32)
            out[where] = whole[rows.row_N[where]]
        if out is None:
            raise ValueError("no rows to pool")
        return out

    def _pooled_shard(self, shard: int, strides: tuple[int, ...], grid: int) -> NDArray[np.float32]:
        key = (shard, strides, grid)
        found = self._pooled.get(key)
        if found is None:
            found = pool_features(self._patches(shard, strides), grid)
            # A pool larger than the cache would push out each shard before it is read again: keep the first ones.
            if sum(a.nbytes for a in self._pooled.values()) + found.nbytes <= self.cache_bytes:
                self._pooled[key] = found
        return found

    def statistics(self, rows: Rows, file_bytes_N: NDArray[np.int64]) -> ImageStatistics:
        """What the shortcut controls need of these images."""
        count = len(rows)
        thumbnail, grey = np.zeros((count, 32, 32), np.uint8), np.zeros((count, 7), np.float32)
        border, size = np.zeros(count, np.float32), np.zeros((count, 2), np.int32)
        for shard in np.unique(rows.shard_N):
            where = np.flatnonzero(rows.shard_N == shard)
            index = rows.row_N[where]
            path = self._path(shard)
            table = read_shard(self.store, path, ["width", "height", "border", "grey", "thumbnail"])
            thumbnails, greys = fixed(table.column("thumbnail"), np.uint8), fixed(table.column("grey"), np.float32)
            if thumbnails.shape[1] != thumbnail.shape[1] * thumbnail.shape[2] or greys.shape[1] != grey.shape[1]:
                raise DamagedShard(path, "statistics of another size")
            thumbnail[where] = thumbnails[index].reshape(-1, 32, 32)
            grey[where] = greys[index]
            border[where] = table.column("border").to_numpy()[index]
            size[where] = np.stack([table[name].to_numpy() for name in ("width", "height")], axis=1)[index]
        return ImageStatistics(thumbnail, grey, border, size, file_bytes_N)

    def _patches(self, shard: int, strides: Sequence[int]) -> Patches:
        path = self._path(shard)
        return patches(path, read_shard(self.store, path, [f"stride_{s}" for s in strides]), strides)

    def _path(self, shard: int) -> str:
        return self.store.path("features", self.fingerprint, self.shards[shard])
