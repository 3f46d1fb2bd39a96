"""faiss is loaded with kernels for this processor, and nobody else is told of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from swag_ray.system import faiss_import
from swag_ray.system.faiss_import import kernels_of

LOAD = """
import json, os
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from swag_ray.system.faiss_import import import_faiss

def load(number):
    sleep(number / 40)  # while another is at it
    return import_faiss().IndexFlatL2(8).d

with ThreadPoolExecutor(8) as threads:
    assert list(threads.map(load, range(8))) == [8] * 8
from threadpoolctl import threadpool_info
own = [lib["architecture"] for lib in threadpool_info() if "faiss" in lib["filepath"] and "architecture" in lib]
print(json.dumps([own, os.environ.get("OPENBLAS_CORETYPE")]))
"""


def loaded(**environment: str) -> tuple[list[str], str | None]:
    """What kernels the BLAS of faiss has in a process of its own, and what the variable says afterwards."""
    own = {name: value for name, value in os.environ.items() if name != faiss_import.VARIABLE} | environment
    done = subprocess.run([sys.executable, "-c", LOAD], env=own, capture_output=True, text=True, check=True)
    architectures, variable = json.loads(done.stdout)
    if not architectures:
        pytest.skip("this faiss brings no OpenBLAS")
    return architectures, variable


def test_the_best_kernels_that_a_processor_has() -> None:
    sky, well = faiss_import.KERNELS.values()
    assert kernels_of(sky | {"amx_tile"}) == "SkylakeX"
    assert kernels_of(sky - {"avx512vl"}) == kernels_of(well) == "Haswell"
    assert kernels_of({"avx", "sse4_1"}) is None is kernels_of(set())


def test_faiss_computes_with_them_whichever_thread_loads_it_and_the_variable_is_gone() -> None:
    expected = kernels_of(faiss_import._features())
    if expected is None:
        pytest.skip("a processor without AVX2")
    assert loaded() == ([expected], None)


def test_who_chose_kernels_has_them() -> None:
    assert loaded(OPENBLAS_CORETYPE="Nehalem") == (["Nehalem"], "Nehalem")


def test_another_system_leaves_it_to_openblas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss_import, "CPUINFO", tmp_path / "none")
    assert faiss_import._features() == set()
