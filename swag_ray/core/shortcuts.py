"""How far trivial image properties alone tell anomalies from normals: reported beside a result, never used for one.

A result that a thumbnail, the border or the file's size reaches as well says more about how the data was collected than
about disease.

Legend: N images, H x W an image, side 32 of a thumbnail, Q = 7 grey statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

THUMBNAIL = 32
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
GREY = ("mean", "sd", "q05", "q25", "q50", "q75", "q95")
FRAME = 0.05  # of each side: where markers, collimation and letterboxes are, and lungs are not
CHUNK = 1024  # test thumbnails compared at once

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ImageStatistics:
    """Trivial properties of N images.

    Attributes:
        thumbnail_NHW: (N, 32, 32) uint8.
        grey_NQ: (N, 7) float32: mean, sd and the 5, 25, 50, 75, 95 % quantiles of the grey values, 0..255.
        border_N: (N,) mean grey value of the outer 5 % frame.
        size_N2: (N, 2) width and height in pixels of the original file.
        file_bytes_N: (N,) size of the file.
    """

    thumbnail_NHW: NDArray[np.uint8]
    grey_NQ: NDArray[np.float32]
    border_N: NDArray[Any]
    size_N2: NDArray[Any]
    file_bytes_N: NDArray[Any]

    def __post_init__(self) -> None:
        count = len(self.thumbnail_NHW)
        shapes = {
            "thumbnail_NHW": (count, THUMBNAIL, THUMBNAIL),
            "grey_NQ": (count, len(GREY)),
            "border_N": (count,),
            "size_N2": (count, 2),
            "file_bytes_N": (count,),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name}: expected {shape}, found {getattr(self, name).shape}")


def image_statistics(grey_HW: Any) -> tuple[NDArray[np.uint8], NDArray[np.float32], float]:
    """Thumbnail, grey statistics and border of one image.

    Shape:
        grey_HW: (H, W) uint8, a numpy array or a torch tensor in host memory, each side at least 32.

    Returns:
        thumbnail (32, 32) uint8 of block means, grey statistics (7,) float32 in the order of `GREY`, mean of the frame.

    Raises:
        ValueError: another type, or an image smaller than its thumbnail.
    """
    grey = np.asarray(grey_HW)
    if grey.dtype != np.uint8 or grey.ndim != 2 or min(grey.shape) < THUMBNAIL:
        raise ValueError(f"grey_HW: expected (H, W) uint8 of at least {THUMBNAIL}, found {grey.shape} {grey.dtype}")
    return _thumbnail(grey), _grey(grey), _border(grey)


def shortcut_aucs(
    label_T: NDArray[np.bool_], stats_test: ImageStatistics, stats_seed: ImageStatistics
) -> dict[str, float]:
    """Two-sided ROC-AUC, max(a, 1 - a), of each trivial property on the test images.

    `grey` and `image_size` are the largest of several (7 grey statistics; width, height, aspect), each alone: a
    pessimistic choice, made on the labels on purpose.

    Args:
        stats_seed: of the trusted seeds; `thumbnail_1nn` is the distance to the nearest of their thumbnails.

    Returns:
        {thumbnail_1nn, grey, border, image_size, file_bytes}.

    Raises:
        ValueError: labels of one class or another length, no seeds, a property that is not finite.
    """
    from swag_ray.core.metrics import roc_auc, two_sided  # scikit-learn, which no actor needs

    width_N, height_N = np.asarray(stats_test.size_N2, dtype=np.float64).T
    candidates: dict[str, list[NDArray[Any]]] = {
        "thumbnail_1nn": [nearest_distance(stats_test.thumbnail_NHW, stats_seed.thumbnail_NHW)],
        "grey": list(stats_test.grey_NQ.T),
        "border": [stats_test.border_N],
        "image_size": [width_N, height_N, width_N / height_N],
        "file_bytes": [stats_test.file_bytes_N],
    }
    return {
        name: max(two_sided(roc_auc(label_T, value_N)) for value_N in values) for name, values in candidates.items()
    }


def nearest_distance(query_NHW: NDArray[np.uint8], reference_MHW: NDArray[np.uint8]) -> Floats:
    """Euclidean distance of each image to the nearest reference image, on grey values.

    Raises:
        ValueError: no reference.
    """
    if not len(reference_MHW):
        raise ValueError("reference_MHW: no images to compare with")
    # float64 holds these sums of integers exactly, so that a copy of a reference has distance 0.
    query_ND = query_NHW.reshape(len(query_NHW), -1).astype(np.float64)
    reference_MD = reference_MHW.reshape(len(reference_MHW), -1).astype(np.float64)
    reference_squares_M = (reference_MD**2).sum(axis=1)
    nearest_N = np.empty(len(query_ND))
    for start in range(0, len(query_ND), CHUNK):
        rows = query_ND[start : start + CHUNK]
        squared_BM = reference_squares_M - 2 * rows @ reference_MD.T
        nearest_N[start : start + CHUNK] = squared_BM.min(axis=1) + (rows**2).sum(axis=1)
    return np.asarray(np.sqrt(nearest_N))


def _thumbnail(grey_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    edges = [np.linspace(0, side, THUMBNAIL + 1).astype(np.int64) for side in grey_HW.shape]
    sums = np.add.reduceat(grey_HW, edges[0][:-1], axis=0, dtype=np.int64)
    sums = np.add.reduceat(sums, edges[1][:-1], axis=1)
    means: Floats = np.rint(sums / np.outer(np.diff(edges[0]), np.diff(edges[1])))
    return means.astype(np.uint8)


def _grey(grey_HW: NDArray[np.uint8]) -> NDArray[np.float32]:
    # There are 256 possible values: one histogram gives all seven figures without sorting the pixels.
    times = np.bincount(grey_HW.ravel(), minlength=256)
    value, count = np.arange(256), grey_HW.size
    mean = (times * value).sum() / count
    sd = np.sqrt((times * (value - mean) ** 2).sum() / count)
    position = np.array(QUANTILES) * (count - 1)
    rank = np.stack([np.floor(position), np.ceil(position)])
    low, high = np.searchsorted(np.cumsum(times), rank, side="right")
    return np.array([mean, sd, *(low + (high - low) * (position - rank[0]))], dtype=np.float32)


def _border(grey_HW: NDArray[np.uint8]) -> float:
    rows, columns = (max(1, round(FRAME * side)) for side in grey_HW.shape)
    inner = grey_HW[rows:-rows, columns:-columns]
    frame_sum = int(grey_HW.sum(dtype=np.int64)) - int(inner.sum(dtype=np.int64))
    return frame_sum / (grey_HW.size - inner.size)
