"""Maps of a grid brought to another size, bilinear.

Shapes: n maps, g x w cells, H x W cells or pixels wanted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def enlarge(map_ngw: NDArray[np.floating], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Returns maps (n, H, W): a cell's value stands at its middle, between middles it is bilinear, outside of the outer
    ones constant.
    """
    rows_Hg, columns_Ww = (_shares(old, new) for old, new in zip(map_ngw.shape[1:], shape, strict=True))
    return np.asarray(rows_Hg @ map_ngw.astype(np.float32) @ columns_Ww.T, np.float32)


def _shares(old: int, new: int) -> NDArray[np.float32]:
    """How much every one of the old cells counts in each new one, (new, old)."""
    at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(old))).astype(np.float32)
