"""A sweep: many runs around one config, sharing all the work they have in common. Start at `sweep`."""

from __future__ import annotations

from swag_ray.sweep.sweep import Sweep, load_sweep, run_sweep

__all__ = ["Sweep", "load_sweep", "run_sweep"]
