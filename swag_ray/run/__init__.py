"""A run: one config carried through to a run directory. Start at `run`."""

from __future__ import annotations

from swag_ray.run.run import Run, run_experiment

__all__ = ["Run", "run_experiment"]
