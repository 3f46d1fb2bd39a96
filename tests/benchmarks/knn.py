"""Our search against one BLAS product of the same size, one thread each: the least that exact search can cost."""

from __future__ import annotations

import numpy as np

from swag_ray.core.knn import Index
from tests.benchmarks.material import patch_rows
from tests.benchmarks.measure import Bench, Row, interleaved

NEIGHBOURS = 3


def measure(bench: Bench) -> list[Row]:
    sizes = [(8_192, 2_048)] if bench.quick else [(16_384, 2_048), (16_384, 8_192)]
    x_ND, what = patch_rows(bench, max(n + m for n, m in sizes))
    rows = []
    for queries, memory in sizes:
        query_ND, rows_MD = x_ND[:queries], x_ND[queries : queries + memory]
        index, product_NM = Index(rows_MD), np.empty((queries, memory), np.float32)
        np.matmul(query_ND, rows_MD.T, out=product_NM)  # first touch of the memory is not the product's
        seconds, _ = interleaved(
            {
                "ours": lambda index=index, query_ND=query_ND: index.search(query_ND, NEIGHBOURS),
                "product": lambda q=query_ND, r=rows_MD, out=product_NM: np.matmul(q, r.T, out=out),
            },
            3 if bench.quick else 9,
        )
        name = f"{queries:,} queries, {memory:,} rows x {x_ND.shape[1]}, k = {NEIGHBOURS}"
        rows.append(Row("knn", name, seconds["ours"], seconds["product"], against="one float32 product", note=what))
    return rows
