"""What the images of an experiment look like, from the thumbnails that their shards hold: read once, then a stage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from swag_ray.features.reader import FeatureReader, Rows
from swag_ray.images.oddities import Looks, looks_of
from swag_ray.store.stages import Result, digest, stage_key

Look = tuple[NDArray[np.uint8], int, int]


def read_looks(reader: FeatureReader, rows: Rows, sha256: pa.ChunkedArray) -> Looks:
    """Returns the looks of these images, in their order.

    Args:
        reader: of their feature set.
        rows: where they are, (N,).
        sha256: digests of the files, (N,): what the result is named by.
    """

    def compute() -> Result:
        order = np.argsort(rows.shard_N, kind="stable")  # one shard's thumbnails in memory at a time
        found = looks_of(_thumbnails(reader, rows.take(order)), len(rows)).take(np.argsort(order))
        return Result({"digest": found.digest_NB, "small": found.small_ND, "blank": found.blank_N})

    key = stage_key("looks", {"fingerprint": reader.fingerprint, "images": digest(sha256)})
    a: dict[str, NDArray[Any]] = reader.store.stage("looks", key, compute).arrays
    return Looks(a["digest"], a["small"], a["blank"])


def _thumbnails(reader: FeatureReader, rows: Rows) -> Iterator[Look]:
    """Thumbnail, width and height of images that are sorted by shard."""
    starts = np.flatnonzero(np.diff(rows.shard_N, prepend=-1))
    for part in np.split(np.arange(len(rows)), starts[1:]):
        if not len(part):
            continue
        of_shard = reader.statistics(rows.take(part), np.zeros(len(part), np.int64))
        for thumbnail_HW, (width, height) in zip(of_shard.thumbnail_NHW, of_shard.size_N2, strict=True):
            yield thumbnail_HW, int(width), int(height)
