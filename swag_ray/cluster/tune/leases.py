"""Leases: of several trials that need the same stage, one computes it and the others wait for its result.

Nothing depends on a lease but time. A stage is whole or not there (`store.stages`), so when a lease is lost, or two
hold the same, the worst is that a stage is computed twice, with the same result.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from swag_ray.store.store import Store

BEAT = 2.0  # seconds between a holder's signs of life
DEAD = 15.0  # after so many seconds without one, its leases are free
LOOK = 0.2  # seconds between two questions of whoever waits


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Leases:
    """Who computes which stage. A lease dies with its holder: without signs of life it is free again.

    After a restart of this actor its holders' next signs of life restore what they hold.
    """

    def __init__(self, dead: float = DEAD) -> None:
        self.dead = dead
        self.held: dict[str, str] = {}  # stage -> holder
        self.alive: dict[str, float] = {}  # holder -> when it was last heard of

    def acquire(self, stage: str, holder: str) -> bool:
        """Whether the stage is the holder's to compute now."""
        now = time.monotonic()
        self.alive[holder] = now
        other = self.held.get(stage, holder)
        if other != holder and now - self.alive.get(other, 0.0) < self.dead:
            return False
        self.held[stage] = holder
        return True

    def release(self, stage: str, holder: str) -> None:
        """Give a lease back; one that has passed to somebody else stays theirs."""
        if self.held.get(stage) == holder:
            del self.held[stage]

    def beat(self, holder: str, stages: list[str]) -> None:
        """A sign of life, with all that the holder holds."""
        self.alive[holder] = time.monotonic()
        for stage in stages:
            self.held.setdefault(stage, holder)


class LeasedStore(Store):
    """A store whose stages are computed by one holder at a time. Use as a context manager: it gives signs of life.

    Args:
        root: of the store.
        leases: the `Leases` actor.
        holder: names who computes: one that was killed and tried again gets its own leases at once.
    """

    def __init__(self, root: str, leases: Any, holder: str) -> None:
        super().__init__(root)
        self.leases, self.holder = leases, holder
        self._mine: set[str] = set()
        self._telling = threading.Lock()  # a sign of life after a release must not take the lease again
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> LeasedStore:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()

    @contextmanager
    def computing(self, name: str, key: str) -> Iterator[bool]:
        """Wait while somebody else computes the stage, then hold its lease."""
        stage = f"{name}/{key}"
        while not ray.get(self.leases.acquire.remote(stage, self.holder)):
            time.sleep(LOOK)
        self._mine.add(stage)
        try:
            yield True
        finally:
            with self._telling:
                self._mine.discard(stage)
                self.leases.release.remote(stage, self.holder)

    def _beat(self) -> None:
        while not self._done.wait(BEAT):
            with self._telling:
                self.leases.beat.remote(self.holder, list(self._mine))
