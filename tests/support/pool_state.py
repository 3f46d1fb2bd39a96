"""The gate's memory before a first round."""

from __future__ import annotations

import numpy as np

from swag_ray.core.gate import PoolState


def initial_state(count: int) -> PoolState:
    """Returns the state of a pool of `count` images before the first round."""
    return PoolState(np.zeros(count, dtype=np.bool_), np.zeros(count, dtype=np.int64), relaxed_used=False)
