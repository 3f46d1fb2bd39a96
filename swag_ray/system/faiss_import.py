"""Imports faiss so that its BLAS has kernels for this processor.

faiss' wheels bring an OpenBLAS of their own, which picks its kernels by the processor's model when it is loaded, and
takes a model that is newer than itself for one without AVX. So 0.3.15, of faiss-gpu 1.15, on a Xeon of 2023: a search
takes three to four times as long as it need. What the processor can do is asked of Linux instead, and told OpenBLAS
while faiss is loaded, so that nobody else hears of it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

_loading = threading.Lock()  # a thread that comes meanwhile gets neither half of faiss nor the variable
VARIABLE = "OPENBLAS_CORETYPE"
CPUINFO = Path("/proc/cpuinfo")
# OpenBLAS' names of kernels, the best first, and what a processor must have for them.
KERNELS = {
    "SkylakeX": {"avx2", "fma", "avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"},
    "Haswell": {"avx2", "fma"},
}


def import_faiss() -> Any:
    """Returns faiss. Where `OPENBLAS_CORETYPE` is set, its user has chosen the kernels."""
    with _loading:
        if "faiss" not in sys.modules and VARIABLE not in os.environ and (kernels := kernels_of(_features())):
            import_module("numpy")  # whose own OpenBLAS is not to be told
            with _set(VARIABLE, kernels):
                import_module("faiss")
        return import_module("faiss")


def kernels_of(features: set[str]) -> str | None:
    """Returns the best kernels for a processor with these features, as Linux calls them; None: OpenBLAS' own choice."""
    return next((name for name, needed in KERNELS.items() if needed <= features), None)


def _features() -> set[str]:
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:  # another system
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


@contextmanager
def _set(variable: str, value: str) -> Iterator[None]:
    os.environ[variable] = value
    try:
        yield
    finally:
        del os.environ[variable]
