"""Warnings of image decoders, silenced in all threads alike.

`warnings.catch_warnings` swaps a list that all threads share: of two that enter and leave such blocks, the first to
leave undoes the other's. pydicom's warnings may quote what a file says of a patient, so here the first to enter
silences and the last to leave restores.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0
_outer: warnings.catch_warnings[None] | None = None


@contextmanager
def silenced() -> Iterator[None]:
    """Silences warnings, and what pydicom logs, until no thread is in such a block any more."""
    global _inside, _outer
    with _lock:
        _inside += 1
        if _inside == 1:
            _outer = warnings.catch_warnings()
            _outer.__enter__()
            warnings.simplefilter("ignore")
            logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _outer is not None:
                _outer.__exit__(None, None, None)
