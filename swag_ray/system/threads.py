"""One thread a process: figures must not depend on how many cores a machine has, and actors share its cores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from swag_ray.system.faiss_import import import_faiss


def keep_to_one_thread(*modules: str) -> None:
    """Has torch, numpy's BLAS and the OpenMP of whatever is loaded compute with one thread, also where
    `OMP_NUM_THREADS` says otherwise.

    Each library has a setting of its own: `torch.set_num_threads` reaches torch alone, faiss' function faiss alone, and
    neither numpy, whose products and eigenvectors come out otherwise with more threads. OpenMP's is the calling
    thread's.

    Args:
        modules: what else is to be loaded first: a library that comes later brings its own number.
    """
    import torch
    from threadpoolctl import threadpool_limits

    _load(modules)
    torch.set_num_threads(1)
    threadpool_limits(1)


@contextmanager
def one_thread(*modules: str) -> Iterator[None]:
    """As `keep_to_one_thread`, but for a while only: for a process that is not ours alone."""
    import torch
    from threadpoolctl import threadpool_limits

    _load(modules)
    before = torch.get_num_threads()
    with threadpool_limits(1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _load(modules: tuple[str, ...]) -> None:
    for module in ("numpy", *modules):
        import_faiss() if module == "faiss" else import_module(module)
