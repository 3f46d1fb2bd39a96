"""Refuses arrays of another shape or kind than a function's docstring asks for, by the argument's name.

A shape is given as its sides, None for a side of any length: `finite("score_TK", score, None, 5)`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def floats(name: str, values: NDArray[Any], *shape: int | None) -> Floats:
    """Returns the values as float64; NaN may stand among them.

    Raises:
        ValueError: another shape.
    """
    array = np.asarray(values, dtype=np.float64)
    if not _fits(array, shape):
        raise ValueError(f"{name}: expected shape {_shown(shape)}, found {array.shape}")
    return array


def finite(name: str, values: NDArray[Any], *shape: int | None) -> Floats:
    """Returns the values as float64.

    Raises:
        ValueError: another shape, or a value that is not finite.
    """
    array = floats(name, values, *shape)
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: {np.count_nonzero(~np.isfinite(array))} of {array.size} values are not finite")
    return array


def mask(name: str, values: Mask, *shape: int | None) -> Mask:
    """Returns the values as they are.

    Raises:
        ValueError: another shape, or not bool.
    """
    array = np.asarray(values)
    if array.dtype != np.bool_ or not _fits(array, shape):
        raise ValueError(f"{name}: expected {_shown(shape)} bool, found {array.shape} {array.dtype}")
    return array


def _fits(array: NDArray[Any], shape: tuple[int | None, ...]) -> bool:
    return array.ndim == len(shape) and all(
        side in (None, found) for side, found in zip(shape, array.shape, strict=True)
    )


def _shown(shape: tuple[int | None, ...]) -> str:
    sides = ", ".join("any" if side is None else str(side) for side in shape)
    return f"({sides},)" if len(shape) == 1 else f"({sides})"
