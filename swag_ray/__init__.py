"""Incremental anomaly detection on frozen features, gated by SWAG, on Ray.

    from swag_ray import load_config, load_detector, load_run, run_experiment

Names are imported when first used, so that `import swag_ray` is instant and loads neither torch nor Ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swag_ray.config import load_config
    from swag_ray.run.finished import load_run
    from swag_ray.run.run import run_experiment
    from swag_ray.score.trained import load_detector

__version__ = "0.1.0"
__all__ = ["__version__", "load_config", "load_detector", "load_run", "run_experiment"]

_HOME = {
    "load_config": "swag_ray.config", "load_detector": "swag_ray.score.trained", "load_run": "swag_ray.run.finished",
    "run_experiment": "swag_ray.run.run",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
