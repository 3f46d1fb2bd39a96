"""The run's trusted images as a few numbers each, so that a new image can be told the three that look most like it.

An image is its patch features averaged to 2 x 2 places: where something lies counts, exactly where does not, as no two
patients lie alike. Only the bank's strides are taken, so that "alike" is what the bank that scores means by it. Each
channel is in units of the seeds' sd: raw, the few channels of large values would decide alone. Of the seeds' leading
directions the first 128 are kept, so that 5,000 seeds take 1.3 MB whatever the backbone's width (of 402 X-rays they
hold 92 % of the variance, and 91 of 100 of the three nearest; 32 directions 70). Distances are Euclid's: length tells
how unusual an image is, which vectors of unit length would forget.

Shapes: n seeds, N images, D pooled channels, R directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.moments import floored_sd
from swag_ray.core.pooling import pool_features
from swag_ray.features.reader import FeatureReader, Patches, Rows
from swag_ray.features.spec import FeatureSpec
from swag_ray.models.tasks import ScoreTask
from swag_ray.store.stages import Arrays

DIRECTIONS = 128
LEARNT_FROM = 1000  # seeds that directions are found in
AT_A_TIME = 100  # seeds whose patches are in memory
LARGEST = 60_000.0  # that float16 holds


@dataclass(frozen=True)
class Neighbour:
    """A trusted image beside a new one.

    Attributes:
        id: as in the run's tables.
        path: where it lay when the run was made; None in a bundle of an anonymous run.
        distance: root mean square over the channels, in sd of the seeds.
    """

    id: str
    path: str | None
    distance: float


@dataclass(frozen=True)
class View:
    """How an image becomes a vector.

    Attributes:
        strides: maps that are taken, in ascending order.
        grid: places a side that they are averaged to.
        mean_D, sd_D: of the seeds.
        axes_DR: leading directions of their standardised channels, orthonormal.
    """

    strides: tuple[int, ...]
    grid: int
    mean_D: NDArray[np.float32]
    sd_D: NDArray[np.float32]
    axes_DR: NDArray[np.float32]

    def embed(self, patches: Patches) -> NDArray[np.float32]:
        """Returns vectors (N, R) of {stride: (N, P, C)} features; of the strides, those that it takes."""
        pooled_ND = pool_features({s: patches[s] for s in self.strides}, self.grid)
        return np.asarray((pooled_ND - self.mean_D) / self.sd_D @ self.axes_DR)


@dataclass(frozen=True)
class Trusted:
    """The seeds of a run.

    Attributes:
        id_n: as in the run's tables.
        path_n: an absolute path or an s3:// address each; None where the run is anonymous.
        embedding_nR: float16.
        view: how they were embedded.
        pictures: whether the run's report may show images.
    """

    id_n: NDArray[np.str_]
    path_n: NDArray[np.str_] | None
    embedding_nR: NDArray[np.float16]
    view: View
    pictures: bool

    def nearest(self, patches: Patches, count: int) -> list[tuple[Neighbour, ...]]:
        """Returns the `count` seeds most like each image, the nearest first; of equals, as the run lists them.

        Args:
            patches: {stride: (N, P, C) float16}, all strides of the detector.
        """
        seeds_nR = self.embedding_nR.astype(np.float32)
        found = []
        for image_R in self.view.embed(patches):
            square_n = ((seeds_nR - image_R) ** 2).sum(axis=1)
            distance_n = np.sqrt(square_n / len(self.view.mean_D))
            found.append(tuple(self._neighbour(i, distance_n[i]) for i in np.argsort(square_n, kind="stable")[:count]))
        return found

    @cached_property
    def usual_distance(self) -> float | None:
        """Median distance of a seed to the seed nearest to it, of at most 200 seeds; None of a single one."""
        seeds_nR = self.embedding_nR.astype(np.float32)
        if len(seeds_nR) < 2:
            return None
        nearest = []
        for i in np.unique(np.linspace(0, len(seeds_nR) - 1, min(200, len(seeds_nR))).astype(np.int64)):
            square_n = ((seeds_nR - seeds_nR[i]) ** 2).sum(axis=1)
            square_n[i] = np.inf
            nearest.append(square_n.min() / len(self.view.mean_D))
        return float(np.sqrt(np.median(nearest)))

    def _neighbour(self, i: int, distance: float) -> Neighbour:
        return Neighbour(str(self.id_n[i]), None if self.path_n is None else str(self.path_n[i]), float(distance))


def embed_seeds(
    reader: FeatureReader, task: ScoreTask, spec: FeatureSpec, strides: Sequence[int]
) -> tuple[View, NDArray[np.float16]]:
    """Returns how these seeds are embedded, learnt from them (of more than 1,000 from 1,000, evenly), and their
    vectors (n, R). Memory stays that of 1,000 pooled images and of the vectors.

    Args:
        task: seeds.
        strides: those of the bank.
    """
    grid = 2 if spec.grid % 2 == 0 else 1
    some = np.unique(np.linspace(0, len(task.rows) - 1, min(LEARNT_FROM, len(task.rows))).astype(np.int64))
    parts = [pool_features(patches, grid) for _, patches in _blocks(reader, task.rows.take(some), strides)]
    view = _view(np.concatenate(parts).astype(np.float64), tuple(sorted(strides)), grid)
    embedding_nR = np.empty((len(task.rows), view.axes_DR.shape[1]), np.float16)
    for block, patches in _blocks(reader, task.rows, strides):
        embedding_nR[block] = view.embed(patches).clip(-LARGEST, LARGEST)
    return view, embedding_nR


def _view(pooled_nD: NDArray[np.float64], strides: tuple[int, ...], grid: int) -> View:
    mean_D, sd_D = pooled_nD.mean(axis=0), floored_sd(pooled_nD.std(axis=0))
    _, _, vt = np.linalg.svd((pooled_nD - mean_D) / sd_D, full_matrices=False)
    return View(strides, grid, mean_D.astype(np.float32), sd_D, vt[:DIRECTIONS].T.astype(np.float32))


def _blocks(reader: FeatureReader, rows: Rows, strides: Sequence[int]) -> Iterator[tuple[NDArray[np.int64], Patches]]:
    """Which images, and their patches: in the order of the shards, so that each is read once or twice."""
    order = np.lexsort((rows.row_N, rows.shard_N))
    for start in range(0, len(order), AT_A_TIME):
        block = order[start : start + AT_A_TIME]
        yield block, reader.patches(rows.take(block), strides)


def view_arrays(view: View) -> Arrays:
    """Returns its arrays by name; `view_of` is the inverse."""
    return {
        "strides": np.array(view.strides), "grid": np.array(view.grid), "mean": view.mean_D, "sd": view.sd_D,
        "axes": view.axes_DR,
    }  # fmt: skip


def view_of(arrays: Arrays) -> View:
    """Returns the view of `view_arrays`. Raises LookupError or TypeError where they are none."""
    strides = tuple(int(s) for s in arrays["strides"])
    return View(strides, int(arrays["grid"]), arrays["mean"], arrays["sd"], arrays["axes"])


def trusted_arrays(trusted: Trusted) -> Arrays:
    """Returns its arrays by name, for a bundle; `trusted_of` is the inverse."""
    arrays: Arrays = {"id": trusted.id_n, "embedding": trusted.embedding_nR}
    arrays |= view_arrays(trusted.view) | {"pictures": np.array(trusted.pictures)}
    return arrays if trusted.path_n is None else arrays | {"path": trusted.path_n}


def trusted_of(arrays: Arrays) -> Trusted:
    """Returns the trusted images of `trusted_arrays`.

    Raises:
        LookupError, TypeError, ValueError: arrays that are missing or do not belong together.
    """
    view = view_of(arrays)
    trusted = Trusted(arrays["id"], arrays.get("path"), arrays["embedding"], view, bool(arrays["pictures"]))
    n, channels, directions = len(trusted.id_n), len(view.mean_D), view.axes_DR.shape[-1]
    shapes: dict[str, Any] = {
        "id": (n,), "path": (n,), "embedding": (n, directions), "mean": (channels,), "sd": (channels,),
        "axes": (channels, directions),
    }  # fmt: skip
    wrong = [name for name, shape in shapes.items() if name in arrays and arrays[name].shape != shape]
    if wrong:
        raise ValueError(f"trusted images: {', '.join(wrong)} of another shape")
    return trusted
