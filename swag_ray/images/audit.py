"""Labels of the images: for controls, purity and evaluation alone.

Shapes: N train images (seed and pool), T test images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from swag_ray.images.split import POOL, SEED, TEST, Split


@dataclass(frozen=True)
class Audit:
    """What is known of the truth, for controls, purity and evaluation alone: 1 anomaly, 0 normal, NaN unknown.

    Attributes:
        label_N, label_T: labels of own and test images.
        kind_T: sub-kind of a test anomaly, "" where there is none.
        path_T, bytes_T: test files and their sizes; `bytes_N` of the own images.
        mask_T: where a test image's mask is, as its manifest says it; "" where there is none.
    """

    label_N: NDArray[np.float64]
    label_T: NDArray[np.float64]
    kind_T: NDArray[np.str_]
    path_T: NDArray[np.str_]
    bytes_T: NDArray[np.int64]
    bytes_N: NDArray[np.int64]
    mask_T: NDArray[np.str_]

    @property
    def anomaly_N(self) -> NDArray[np.bool_]:
        return self.label_N == 1

    @property
    def known_T(self) -> NDArray[np.int64]:
        """Test rows that have a label: no figure that needs one may count the others, as normals or as anything."""
        return np.flatnonzero(~np.isnan(self.label_T))

    @property
    def anomaly_T(self) -> NDArray[np.bool_]:
        """Whether a test image is a known anomaly; take `known_T` of it."""
        return self.label_T == 1


def build_audit(table: pa.Table, split: Split) -> Audit:
    """The labels of a split table, in the order of its cohort.

    Args:
        table: readable images, sorted by id.
        split: role of each row of the table.
    """
    train = np.flatnonzero((split.role_N == SEED) | (split.role_N == POOL))
    test = np.flatnonzero(split.role_N == TEST)
    label = table.column("label").cast(pa.float64()).to_numpy()  # NaN where null
    size = table.column("file_bytes").to_numpy()
    files = table.select(["kind", "path"]).take(pa.array(test))
    return Audit(
        label_N=label[train], label_T=label[test], bytes_T=size[test], bytes_N=size[train],
        kind_T=np.array([kind or "" for kind in files.column("kind").to_pylist()], dtype=str),
        path_T=np.array(files.column("path").to_pylist(), dtype=str),
        mask_T=np.array(_masks(table, test), dtype=str),
    )  # fmt: skip


def _masks(table: pa.Table, test: NDArray[np.int64]) -> list[str]:
    if "mask" not in table.column_names:
        return [""] * len(test)
    return [(mask or "").strip() for mask in table.column("mask").take(pa.array(test)).to_pylist()]
