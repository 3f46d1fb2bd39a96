"""What a person at a terminal sees while an experiment runs: bars on a terminal, plain lines elsewhere, nothing when
quiet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Progress:
    """Silent; the base of the one that shows. Times every phase either way.

    Attributes:
        seconds: {phase: seconds spent in it}, summed where a phase comes again.
        interrupted: whether the user asked for an end; looked at before every phase, for Python swallows an exception
            that a signal raises within a callback of a C library.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.interrupted: Callable[[], bool] = lambda: False

    @contextmanager
    def phase(self, name: str, text: str) -> Iterator[None]:
        """A stretch of work: `name` is what its seconds are booked under, `text` what is shown."""
        if self.interrupted():
            raise KeyboardInterrupt
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def expect(self, total: int) -> None:
        """How many units the running phase has."""

    def advance(self, count: int = 1) -> None:
        """Units of the running phase are done."""

    def warning(self, text: str) -> None:
        """What the user must know; it stays on the screen."""
