"""Exact nearest neighbours in the memory bank: faiss' flat index, on a GPU where faiss sees one.

Shapes: M memory rows, N queries, D dimensions, K neighbours.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.errors import InputError
from swag_ray.system.faiss_import import import_faiss

SCRATCH = 64 * 2**20  # bytes of GPU memory that all searches of a process share; with more they are no faster


class Index:
    """An exact Euclidean index over fixed rows.

    Args:
        rows_MD: the memory rows, float32; copied by faiss.
    """

    def __init__(self, rows_MD: NDArray[np.float32]) -> None:
        faiss = import_faiss()  # half a second, and only scoring needs it
        if rows_MD.ndim != 2 or not len(rows_MD):
            raise ValueError(f"rows have shape {rows_MD.shape}, must be (M, D) with M at least 1")
        self.rows, self.dim = rows_MD.shape
        self._index: Any = faiss.IndexFlatL2(self.dim)
        if on_gpu():
            self._index = faiss.index_cpu_to_gpu(_gpu_resources(), 0, self._index)
        self._index.add(np.ascontiguousarray(rows_MD, dtype=np.float32))

    def search(self, query_ND: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The k nearest rows of each query.

        Returns:
            Euclidean distances (N, K), ascending (faiss gives squares; the root is taken here), and row indices (N, K).

        Raises:
            InputError: k is more than the rows held.
            ValueError: k below 1, or queries of another dimension.
        """
        if k > self.rows:
            raise InputError(f"score.neighbours: {k} neighbours asked of a memory bank of {self.rows} rows", "lower it")
        if k < 1:
            raise ValueError(f"k is {k}, must be at least 1")
        if query_ND.ndim != 2 or query_ND.shape[1] != self.dim:
            raise ValueError(f"queries have shape {query_ND.shape}, must be (N, {self.dim})")
        square_NK, index_NK = self._index.search(np.ascontiguousarray(query_ND, dtype=np.float32), k)
        # Rounding can leave a square slightly below zero where query and row are equal.
        return np.sqrt(np.maximum(square_NK, 0)), index_NK


def on_gpu() -> bool:
    """Whether searches run on a GPU: this faiss was built for one and sees one."""
    faiss = import_faiss()
    return bool(hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0)


@cache
def _gpu_resources() -> Any:
    """What all indices of this process share on its GPU. As faiss makes it, it holds 1.5 GB there and 256 MB of locked
    memory here: of its own each, the indices of a few folds and weight samples would fill any GPU.
    """
    faiss = import_faiss()
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(SCRATCH)
    resources.setPinnedMemory(0)  # only for queries that faiss cuts up itself, and ours come in smaller lots
    return resources
