"""Frozen features: how an image becomes one row of a shard, and how rows are read back.

A shard is one Parquet file of a few dozen images: float16 features as fixed-size binary, one column per stride, beside
the statistics that the shortcut controls need. A feature depends only on the image's bytes and the fingerprint: every
batch has the same size (the last is padded), so an image's bits do not depend on its neighbours, its shard or who
computed it.

Shapes: N images, P patches, C channels of one stride.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from swag_ray.core.head import pool_features
from swag_ray.core.shortcuts import ImageStatistics, image_statistics
from swag_ray.data.shards import DAMAGE, damaged, read_shard
from swag_ray.stages import VERSIONS, Arrays, Result, Store, digest, stage_key

if TYPE_CHECKING:
    from swag_ray.core.backbone import Backbone

T = TypeVar("T")
BATCH, GPU_BATCH = 4, 64  # a core is fastest when a batch's maps stay in its cache, a GPU when it is full
Patches = dict[int, NDArray[np.float16]]


@dataclass(frozen=True)
class FeatureSpec:
    """What a feature depends on besides the image's bytes.

    Attributes:
        backbone, weights: timm name and where its weights come from; `weights_digest` says which they are.
        image_size: pixels a side after resizing.
        strides, grid: the maps taken and the side of their common grid.
    """

    backbone: str
    weights: str
    weights_digest: str
    image_size: int
    strides: tuple[int, ...]
    grid: int

    @property
    def fingerprint(self) -> str:
        """Names the folder of shards; the path of the weights is not in it, their content is."""
        return digest(
            [VERSIONS["features"], self.backbone, self.weights_digest, self.image_size, list(self.strides), self.grid],
            ["grey", "bilinear antialias", "mean pool 3", "float16", "fused", BATCH, GPU_BATCH],
        )

    def weights_in(self, store: Store) -> Arrays:
        """The backbone's tensors, weights and normalisation, by name: found and checked once, then a stage like others,
        so that neither an actor nor a later run needs the package, the file or the hub that they came from.

        Raises:
            InputError: unknown model or stride, or weights that cannot be had here.
        """

        def compute() -> Result:
            from swag_ray.core.backbone import build_backbone

            backbone = build_backbone(self.backbone, self.weights, self.strides, self.grid, fused=False)
            return Result({name: tensor.numpy() for name, tensor in backbone.state_dict().items()})

        reads = {"name": self.backbone, "weights": self.weights_digest, "strides": self.strides, "grid": self.grid}
        return store.stage("backbone", stage_key("backbone", reads), compute).arrays

    def build(self, weights: Arrays) -> Backbone:
        """The backbone, ready to run, from what `weights_in` gave or a detector bundle keeps."""
        from swag_ray.core.backbone import restore_backbone

        return restore_backbone(self.backbone, self.strides, self.grid, weights)


def extract(backbone: Backbone, images: Iterable[bytes], image_size: int) -> Iterator[dict[str, Any]]:
    """Decode and embed images in batches of a fixed size.

    Yields:
        One dict an image, in order: `error` (None or why it cannot be read), `features` {stride: (P, C) float16} or
        None, `statistics` or None, `width`, `height`.
    """
    import torch

    from swag_ray.data.decode import ImageError, read_grey

    device = next(backbone.parameters()).device
    batch = BATCH if device.type == "cpu" else GPU_BATCH
    pending: list[dict[str, Any]] = []
    pixels: list[torch.Tensor] = []

    def flush() -> Iterator[dict[str, Any]]:
        if pixels:
            filled = pixels + [torch.zeros_like(pixels[0])] * (batch - len(pixels))
            features = {s: f.cpu().numpy() for s, f in backbone(torch.stack(filled).to(device)).items()}
            good = (row for row in pending if row["error"] is None)
            for i, row in enumerate(good):
                row["features"] = {stride: f[i] for stride, f in features.items()}
        yield from pending
        pending.clear()
        pixels.clear()

    for data in images:
        row: dict[str, Any] = {"error": None, "features": None, "statistics": None, "width": 0, "height": 0}
        try:
            decoded = read_grey(data, image_size)
            row |= {"width": decoded.width, "height": decoded.height}
            row["statistics"] = image_statistics(decoded.image_1HW[0].numpy())
            pixels.append(decoded.image_1HW)
        except ImageError as error:
            row["error"] = str(error)
        pending.append(row)
        if len(pixels) == batch:
            yield from flush()
    yield from flush()


def shard_table(sha256: Sequence[str], rows: Sequence[dict[str, Any]], strides: Sequence[int]) -> pa.Table:
    """The rows of `extract` as the table that a shard file holds."""

    def binary(values: list[Any]) -> pa.Array:
        width = next((len(v) for v in values if v is not None), 1)
        return pa.array(values, pa.binary(width))

    thumbnail, grey, border = zip(*(row["statistics"] or (None, None, None) for row in rows), strict=True)
    columns: dict[str, pa.Array] = {
        "sha256": pa.array(sha256, pa.string()),
        "error": pa.array([row["error"] for row in rows], pa.string()),
        "width": pa.array([row["width"] for row in rows], pa.int32()),
        "height": pa.array([row["height"] for row in rows], pa.int32()),
        "border": pa.array(border, pa.float32()),
        "grey": binary([None if g is None else g.tobytes() for g in grey]),
        "thumbnail": binary([None if t is None else t.tobytes() for t in thumbnail]),
    }
    shape = {}
    for stride in strides:
        values = [row["features"][stride] if row["features"] else None for row in rows]
        columns[f"stride_{stride}"] = binary([v.tobytes() if v is not None else None for v in values])
        shape[f"channels_{stride}"] = str(next((v.shape[1] for v in values if v is not None), 0))
    return pa.table(columns).replace_schema_metadata(shape)


@dataclass(frozen=True)
class Rows:
    """Where images' features are: parallel arrays of shard number and row in that shard, one entry an image."""

    shard_N: NDArray[np.int32]
    row_N: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.shard_N)

    def take(self, index: NDArray[Any]) -> Rows:
        return Rows(self.shard_N[index], self.row_N[index])


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
            with self._reading(shard, [f"stride_{s}" for s in strides]) as table:
                for stride, whole in _patches(table, strides).items():
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
            with self._reading(shard, [f"stride_{s}" for s in strides]) as table:
                found = pool_features(_patches(table, strides), grid)
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
            with self._reading(shard, ["width", "height", "border", "grey", "thumbnail"]) as table:
                thumbnail[where] = _fixed(table.column("thumbnail"), np.uint8)[index].reshape(-1, 32, 32)
                grey[where] = _fixed(table.column("grey"), np.float32)[index]
                border[where] = table.column("border").to_numpy()[index]
                size[where] = np.stack([table[name].to_numpy() for name in ("width", "height")], axis=1)[index]
        return ImageStatistics(thumbnail, grey, border, size, file_bytes_N)

    @contextmanager
    def _reading(self, shard: int, columns: list[str]) -> Iterator[pa.Table]:
        """The shard's columns, while rows are taken from them. Whatever goes wrong then is damage."""
        path = self._path(shard)
        try:
            yield read_shard(self.store, path, columns)
        except DAMAGE as error:
            raise damaged(path, error) from error

    def _path(self, shard: int) -> str:
        return self.store.path("features", self.fingerprint, self.shards[shard])


def _patches(table: pa.Table, strides: Sequence[int]) -> Patches:
    """A shard's features: {stride: (rows, P, C)}; those of unreadable images mean nothing."""
    out: Patches = {}
    for stride in strides:
        channels = int((table.schema.metadata or {})[f"channels_{stride}".encode()])
        flat = _fixed(table.column(f"stride_{stride}"), np.float16)
        out[stride] = flat.reshape(len(flat), -1, channels)
    return out


def _fixed(column: pa.ChunkedArray, dtype: Any) -> NDArray[Any]:
    """A fixed-size binary column as a (rows, values) array, without a copy where it is one chunk."""
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0)
    width = array.type.byte_width
    data = np.frombuffer(array.buffers()[1], np.uint8)[array.offset * width : (array.offset + len(array)) * width]
    return data.view(dtype).reshape(len(array), -1)
