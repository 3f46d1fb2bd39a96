"""A run: one config carried through to a run directory. Start at `run`; `finished` reads one that is there.

Names are imported when first used: who reads a run needs no Ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swag_ray.run.finished import Run, load_run
    from swag_ray.run.run import run_experiment

__all__ = ["Run", "load_run", "run_experiment"]

_HOME = {"Run": "finished", "load_run": "finished", "run_experiment": "run"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"swag_ray.run.{_HOME[name]}"), name)
