"""Whether a part of an image is covered: a rectangle of one grey level where no trusted image has any.

Cysts and collimated borders have one level too. The first are round, the second are where trusted images have them.

Shapes: N images, 32 x 32 cells of a thumbnail, 27 x 27 places of a window.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WINDOW = 6  # cells a side from which on one grey level counts: 48 of 256 pixels
EDGE = 0.25  # share of the cells around a rectangle that may have its level

Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]


def flat_places(trusted_NHW: Bytes) -> Flags:
    """Returns the places, (27, 27), where a window of some trusted image has one grey level, or one beside it."""
    padded = np.pad(_flat(trusted_NHW).any(axis=0), 1)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).any(axis=(2, 3)))


def covered_share(thumbnail_NHW: Bytes, seen_HW: Flags) -> NDArray[np.float64]:
    """Returns the share of each image, (N,), that the largest rectangle of one grey level covers; 0 for none.

    Args:
        thumbnail_NHW: (N, 32, 32).
        seen_HW: (27, 27) places where such is nothing new, as `flat_places` gives them.
    """
    new_NHW = _flat(thumbnail_NHW) & ~seen_HW
    share_N = np.zeros(len(thumbnail_NHW))
    for i in np.flatnonzero(new_NHW.any(axis=(1, 2))):
        share_N[i] = max(_rectangle(thumbnail_NHW[i], row, column) for row, column in np.argwhere(new_NHW[i]))
    return share_N


def _flat(thumbnail_NHW: Bytes) -> Flags:
    """Whether the window that starts at each place has one grey level."""
    windows = np.lib.stride_tricks.sliding_window_view(thumbnail_NHW, (WINDOW, WINDOW), axis=(1, 2))
    return np.asarray(windows.max(axis=(3, 4)) == windows.min(axis=(3, 4)))


def _rectangle(thumbnail_HW: Bytes, row: int, column: int) -> float:
    """The share of the image that the rectangle around a flat window takes; 0 where its level goes on beyond it."""
    same = np.pad(thumbnail_HW == thumbnail_HW[row, column], 1)  # with False: the image's edge ends a rectangle
    top, bottom, left, right = row + 1, row + 1 + WINDOW, column + 1, column + 1 + WINDOW
    grown = True
    while grown:
        before = (top, bottom, left, right)
        top -= int(same[top - 1, left:right].all())
        bottom += int(same[bottom, left:right].all())
        left -= int(same[top:bottom, left - 1].all())
        right += int(same[top:bottom, right].all())
        grown = before != (top, bottom, left, right)
    rows, columns = slice(top, bottom), slice(left, right)
    around = np.concatenate([same[top - 1, columns], same[bottom, columns], same[rows, left - 1], same[rows, right]])
    return (bottom - top) * (right - left) / thumbnail_HW.size if around.mean() <= EDGE else 0.0
