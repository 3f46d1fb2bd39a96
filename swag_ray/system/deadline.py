"""A time limit for what has none of its own, such as looking up a host's name."""

from __future__ import annotations

import threading
from collections.abc import Callable


def run_with_timeout(seconds: float, work: Callable[[], None]) -> None:
    """Do `work`, or raise what it raises; TimeoutError when it takes longer; left behind, it must harm nobody."""
    raised: list[Exception] = []

    def attempt() -> None:
        try:
            work()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds:g} s")
    if raised:
        raise raised[0]
