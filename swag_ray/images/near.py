"""Which images are nearly one: copies that were saved again or resized, found by their 8 x 8 grey levels.

Copies of 600 films and scans, saved as JPEG at quality 50 to 90 or resized by half to 1.7, differ by 2 levels at most
in every cell; so alike are no two others of 5,840 chest films (the nearest differ by more than 8), 2,056 of two kinds
(by 4) and 706 ultrasound scans (by 3).

Shapes: N images, D = 64 cells, B = 8 bands of cells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEAR = 2  # grey levels by which no cell of a copy differs
BANDS, BIN = 8, 96  # sums of 8 cells, and how wide they are binned; those of a copy differ by 4 or so, by 16 at most
OFFSETS = range(0, BIN, 16)  # of the bins: what one cuts apart lies in the middle of another
MOST = 1000  # images of its bin that one is compared with, the next in brightness


def near_pairs(small_ND: NDArray[np.uint8], file_N: NDArray[np.int64] | None = None) -> list[tuple[int, int]]:
    """Returns the pairs of rows that differ by `NEAR` levels at most in every cell, sorted.

    Each image is put into bins by the brightness of its parts and compared within them, so that time grows with N and
    not with its square. A pair that all six ways of binning cut apart is missed: of copies about one in a thousand.

    Args:
        small_ND: grey levels, (N, 64).
        file_N: numbers of the files, (N,), where images may be frames of one: these are no pairs.
    """
    if len(small_ND) < 2:
        return []
    small = small_ND.astype(np.int16)
    bands_NB = small.reshape(len(small), BANDS, -1).sum(axis=2)
    total_N = bands_NB.sum(axis=1)
    found: set[tuple[int, int]] = set()
    for offset in OFFSETS:
        bins_NB = (bands_NB + offset) // BIN
        order = np.lexsort([total_N, *bins_NB.T])
        bin_N = np.cumsum(np.r_[0, (bins_NB[order[1:]] != bins_NB[order[:-1]]).any(axis=1)])
        place = np.arange(len(order))
        for lag in range(1, MOST + 1):
            place = place[place + lag < len(order)]
            brighter_N = total_N[order[place + lag]] - total_N[order[place]]  # in a bin never less, lag for lag
            place = place[(bin_N[place] == bin_N[place + lag]) & (brighter_N <= NEAR * small.shape[1])]
            if not len(place):
                break
            a, b = order[place], order[place + lag]
            if file_N is not None:  # a scene that stands still would be all pairs of its frames
                a, b = (rows[file_N[a] != file_N[b]] for rows in (a, b))
            close = (np.abs(small[a] - small[b]) <= NEAR).all(axis=1)
            found |= set(zip(np.minimum(a, b)[close].tolist(), np.maximum(a, b)[close].tolist(), strict=True))
    return sorted(found)
