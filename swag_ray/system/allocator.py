"""How this process gets memory from the system."""

from __future__ import annotations

import ctypes
import sys

import pyarrow as pa

# Of glibc's malloc.h. What is freed stays with the process up to so many bytes; so does any block below that size.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT = (2**30, 2**25)  # the second is as much as older versions take


def keep_freed_memory() -> None:
    """Let a worker's batches use the same memory again.

    glibc gives large blocks back to the system at once and gets them anew, page after page, for the next batch: a fifth
    of a small network's time. Changes no result; does nothing where the C library is another.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # A limit that is refused changes nothing, and the other one alone would stop glibc from adapting its own.
    if mallopt is not None and (kept := next((n for n in KEPT if mallopt(M_MMAP_THRESHOLD, n)), None)):
        mallopt(M_TRIM_THRESHOLD, kept)


def give_back_freed_memory() -> None:
    """Return to the system what the driver no longer holds, so that one step's passing memory is not added to the next
    one's.

    Arrow's own allocator keeps what it once had, so from the first call on Arrow uses the C library's, and that is told
    to let go. Changes no result.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    trim_freed_memory()


def trim_freed_memory() -> None:
    """Returns the C library's free memory to the system, also that which lies between blocks in use. Changes no result;
    does nothing where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
