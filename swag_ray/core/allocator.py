"""How this process gets memory from the system."""

from __future__ import annotations

import ctypes
import sys

# Of glibc's malloc.h. What is freed stays with the process up to so many bytes; so does any block below that size.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT = 2**30


def keep_freed_memory() -> None:
    """Let a worker's batches use the same memory again.

    glibc gives large blocks back to the system at once and gets them anew, page after page, for the next batch: a fifth
    of a small network's time. Changes no result; does nothing where the C library is another.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_MMAP_THRESHOLD, KEPT)
