"""Scored images as an Arrow table, which is small enough to keep for all of them and exact enough to go on from.

Shapes: n images that have a score, N all of them, K folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from swag_ray.detector.detector import Detector
from swag_ray.images.oddities import Looks, looks_of
from swag_ray.score.scorer import SCORED, ScoredImage

ROWS = pa.schema(
    {
        "path": pa.string(), "id": pa.string(), "sha256": pa.string(), "status": pa.string(),
        "score": pa.float64(), "p": pa.float64(),
        "score_K": pa.list_(pa.float64()), "site_K": pa.list_(pa.float64()),
        "out_of_domain": pa.string(), "seconds": pa.float64(), "top": pa.int32(),
        # Of its look: a digest of the thumbnail, 8 x 8 grey levels, whether it is blank.
        "look": pa.binary(16), "small": pa.binary(64), "blank": pa.bool_(),
    }
)  # fmt: skip


def rows_of(images: Sequence[ScoredImage]) -> pa.RecordBatch:
    """Returns a row an image, of the columns `ROWS`."""
    seen = [image.look for image in images if image.look is not None]
    looks = iter(range(len(seen)))
    of_seen = looks_of(seen, len(seen))
    columns: dict[str, list[object]] = {name: [] for name in ROWS.names}
    for image in images:
        for name in ("path", "id", "sha256", "status", "score", "p", "out_of_domain", "seconds", "top"):
            columns[name].append(getattr(image, name))
        for name in ("score_K", "site_K"):
            value = getattr(image, name)
            columns[name].append(None if value is None else value.tolist())
        i = next(looks) if image.look is not None else None
        columns["look"].append(None if i is None else of_seen.digest_NB[i].tobytes())
        columns["small"].append(None if i is None else of_seen.small_ND[i].tobytes())
        columns["blank"].append(None if i is None else bool(of_seen.blank_N[i]))
    return pa.RecordBatch.from_arrays([pa.array(columns[f.name], f.type) for f in ROWS], schema=ROWS)


@dataclass(frozen=True)
class ScoredRows:
    """Images that a detector has scored.

    Attributes:
        detector, digest: the detector, and what names it.
        table: of the columns `ROWS`, a row an image.
        left_out: files in the folders that are no images, by reason.
    """

    detector: Detector
    digest: str
    table: pa.Table
    left_out: dict[str, int]

    @property
    def scored_N(self) -> NDArray[np.bool_]:
        """Which images have a score, (N,)."""
        return np.asarray(pc.equal(self.table["status"], SCORED).to_numpy())

    @property
    def good(self) -> pa.Table:
        """Rows of images that have a score."""
        return self.table.filter(pc.equal(self.table["status"], SCORED))

    @property
    def unreadable(self) -> tuple[str, ...]:
        """`path: reason` of the others."""
        others = self.table.filter(pc.not_equal(self.table["status"], SCORED))
        return tuple(f"{row['path']}: {row['status']}" for row in others.select(["path", "status"]).to_pylist())

    @property
    def score_nK(self) -> NDArray[np.float64]:
        """Scores of the good rows by every fold."""
        return _by_fold(self.good["score_K"])

    @property
    def site_nK(self) -> NDArray[np.float64]:
        """Their site scores by every fold."""
        return _by_fold(self.good["site_K"])

    @property
    def looks(self) -> Looks:
        """Of the good rows."""
        good = self.good
        return Looks(
            _bytes(good["look"], 16), _bytes(good["small"], 64), np.asarray(good["blank"].to_numpy(), dtype=np.bool_)
        )


def _by_fold(column: pa.ChunkedArray) -> NDArray[np.float64]:
    whole = column.combine_chunks()
    if not len(whole):
        return np.empty((0, 0))
    return np.asarray(whole.flatten().to_numpy(zero_copy_only=False)).reshape(len(whole), -1)


def _bytes(column: pa.ChunkedArray, width: int) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(column.to_pylist()), np.uint8).reshape(-1, width)
