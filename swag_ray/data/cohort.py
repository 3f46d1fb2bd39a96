"""Who is who in one experiment, without a label: trusted seeds, pool, test, and the fold of each.

Shapes: N own images (seed and pool), T test images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from swag_ray.data.features import Rows
from swag_ray.data.split import POOL, SEED, TEST, Split
from swag_ray.stages import digest, stage_key


@dataclass(frozen=True)
class Cohort:
    """The images that the method sees. Labels are elsewhere, in `Audit`, and only controls and evaluation read them.

    Attributes:
        key: stands for all of this in stage keys.
        id_N, seed_N, fold_N, rows_N: id, whether trusted, fold and features of the own images, sorted by id.
        id_T, rows_T: the same of the test images, which every fold scores.
        folds: K.
    """

    key: str
    id_N: NDArray[np.str_]
    seed_N: NDArray[np.bool_]
    fold_N: NDArray[np.int8]
    rows_N: Rows
    id_T: NDArray[np.str_]
    rows_T: Rows
    folds: int

    @property
    def seeds(self) -> NDArray[np.int64]:
        """Own rows of the seeds."""
        return np.flatnonzero(self.seed_N)

    @property
    def pool(self) -> NDArray[np.int64]:
        """Own rows of the pool images."""
        return np.flatnonzero(~self.seed_N)


@dataclass(frozen=True)
class Audit:
    """What is known of the truth, for controls, purity and evaluation alone: 1 anomaly, 0 normal, NaN unknown.

    Attributes:
        label_N, label_T: labels of own and test images.
        kind_T: sub-kind of a test anomaly, "" where there is none.
        path_T, bytes_T: test files and their sizes; `bytes_N` of the own images.
    """

    label_N: NDArray[np.float64]
    label_T: NDArray[np.float64]
    kind_T: NDArray[np.str_]
    path_T: NDArray[np.str_]
    bytes_T: NDArray[np.int64]
    bytes_N: NDArray[np.int64]

    @property
    def anomaly_N(self) -> NDArray[np.bool_]:
        return self.label_N == 1

    @property
    def anomaly_T(self) -> NDArray[np.bool_]:
        return self.label_T == 1


def build_cohort(table: pa.Table, split: Split, rows: Rows, folds: int, fingerprint: str) -> tuple[Cohort, Audit]:
    """Order the images of a split table into own and test images.

    Args:
        table: readable images, sorted by id.
        split: role and fold of each row of the table.
        rows: features of each row of the table.
    """
    own = np.flatnonzero((split.role_N == SEED) | (split.role_N == POOL))
    test = np.flatnonzero(split.role_N == TEST)
    column = {
        name: np.asarray(table.column(name).to_pylist(), dtype=object) for name in ("id", "kind", "path", "sha256")
    }
    label = np.array([np.nan if v is None else float(v) for v in table.column("label").to_pylist()])
    size = table.column("file_bytes").to_numpy()
    ids = column["id"].astype(str)
    seed_N, fold_N = split.role_N[own] == SEED, split.fold_N[own].astype(np.int8)
    # The key holds content, not file names or labels: whoever may be admitted, where, and what is scored.
    content = digest(column["sha256"][own].tolist(), seed_N, fold_N, column["sha256"][test].tolist())
    cohort = Cohort(
        key=stage_key("cohort", {"fingerprint": fingerprint, "content": content, "folds": folds}),
        id_N=ids[own], seed_N=seed_N, fold_N=fold_N, rows_N=rows.take(own),
        id_T=ids[test], rows_T=rows.take(test), folds=folds,
    )  # fmt: skip
    audit = Audit(
        label_N=label[own], label_T=label[test], kind_T=np.array([k or "" for k in column["kind"][test]], dtype=str),
        path_T=column["path"][test].astype(str), bytes_T=size[test], bytes_N=size[own],
    )  # fmt: skip
    return cohort, audit
