"""SWAG sample actors: stateless workers that fit folds and score shards of the pool under every posterior sample.

There are as many as cores (or GPUs), not one per sample: an actor costs seconds to start, a sample costs milliseconds.
A killed actor is restarted by Ray and its task runs again; a task is a pure function of its arguments, so nothing
changes. Only work that kills its process again and again is given up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import ray

from swag_ray.cluster.attempts import LOOK_SECONDS, StartWatch, counted_task
from swag_ray.cluster.capacity import actor_options
from swag_ray.cluster.own_gpus import keep_to_own_gpus
from swag_ray.cluster.session import Session, get_or_raise
from swag_ray.features.reader import FeatureReader
from swag_ray.store.stages import digest
from swag_ray.system.allocator import keep_freed_memory
from swag_ray.system.threads import keep_to_one_thread

Work = Callable[..., Any]
ANSWER_SECONDS = 10.0  # for an actor to say what it did; one that lost its node may never answer
READERS = 2  # feature sets that an actor keeps at hand: the trials of a sweep over two datasets alternate


@dataclass(frozen=True)
class FeatureFiles:
    """A feature set, as it travels to the actors: what `FeatureReader` takes, and a key that stands for it."""

    root: str
    fingerprint: str
    shards: list[str]
    key: str


@ray.remote(max_restarts=-1, max_task_retries=-1)
class SampleActor:
    """One worker, one thread: figures must not depend on how many cores a machine has."""

    def __init__(self) -> None:
        keep_to_own_gpus()
        keep_to_one_thread("faiss")
        keep_freed_memory()
        self.readers: dict[str, FeatureReader] = {}
        self.spent: dict[str, tuple[int, float]] = {}

    def run(self, work: Work, files: FeatureFiles, task: Any, *shared: Any) -> Any:
        start = time.perf_counter()
        try:
            with counted_task(_Piece(work, task)):
                return work(self._reader(files), task, *shared)
        finally:
            calls, seconds = self.spent.get(work.__name__, (0, 0.0))
            self.spent[work.__name__] = (calls + 1, seconds + time.perf_counter() - start)

    def _reader(self, files: FeatureFiles) -> FeatureReader:
        """The reader of these files, which keeps pooled features from call to call; of the last few sets only."""
        found = self.readers.pop(files.key, None) or FeatureReader(files.root, files.fingerprint, files.shards)
        self.readers[files.key] = found
        while len(self.readers) > READERS:
            del self.readers[next(iter(self.readers))]
        return found

    def time_spent(self) -> dict[str, tuple[int, float]]:
        """{work: (calls, seconds)} since this process started."""
        return self.spent

    def ready(self) -> None:
        """Returns once the actor runs."""


@dataclass(frozen=True)
class _Piece:
    """A task's name, spelt out only when somebody asks for it."""

    work: Work
    task: Any

    def __str__(self) -> str:
        return f"{self.work.__name__} ({shorten(str(self.task), 80)})"


class SamplePool:
    """The sample actors of one run, or of several one after the other. Use as a context manager: they end with it.

    Args:
        session: the Ray to work on.
        root, fingerprint, shards: the feature set that the actors read (see FeatureReader); `read` names another.
    """

    def __init__(self, session: Session, root: str, fingerprint: str, shards: list[str]) -> None:
        self._bundle = session.bundle
        options = actor_options(session.bundle)
        self.actors = [
            SampleActor.options(**options).remote()  # type: ignore[attr-defined]
            for _ in range(session.actors)
        ]
        self.read(root, fingerprint, shards)
        self._starting = {actor.ready.remote(): actor for actor in self.actors}
        self._ready: list[Any] = []

    def read(self, root: str, fingerprint: str, shards: list[str]) -> None:
        """Say which features the next tasks read; it travels with each task, for a restarted actor knows none."""
        self._files = ray.put(FeatureFiles(root, fingerprint, shards, digest(root, fingerprint, shards)))

    def __enter__(self) -> SamplePool:
        return self

    def time_spent(self) -> list[dict[str, Any]]:
        """What each actor that runs spent its time on: actor, work, calls, seconds (of its present process, if it was
        restarted).
        """
        asked = [actor.time_spent.remote() for actor in self._ready]
        answered = set(ray.wait(asked, num_returns=len(asked), timeout=ANSWER_SECONDS)[0]) if asked else set()
        return [
            {"actor": f"sample actor {i}", "work": work, "calls": calls, "seconds": seconds}
            for i, reference in enumerate(asked)
            if reference in answered
            for work, (calls, seconds) in sorted(ray.get(reference).items())
        ]

    def __exit__(self, *exc: object) -> None:
        for actor in self.actors:
            ray.kill(actor)

    def map(
        self, work: Work, tasks: Sequence[Any], *shared: Any, advance: Callable[[int], None] = lambda n: None
    ) -> list[Any]:
        """The results of `work(reader, task, *shared)`, in the order of the tasks.

        Args:
            work: a pure function, importable on the workers.
            tasks: small descriptions of what to do.
            shared: large values or references, sent to the object store once.
            advance: told of every finished task.
        """
        references = [v if isinstance(v, ray.ObjectRef) else ray.put(v) for v in shared]
        results: list[Any] = [None] * len(tasks)
        for position, reference in self._submit(work, tasks, references):
            results[position] = get_or_raise(reference)
            advance(1)
        return results

    def references(self, work: Work, tasks: Sequence[Any], *shared: Any) -> list[Any]:
        """As `map`, but the results stay in the object store: for another actor to take, never through the driver."""
        references = [v if isinstance(v, ray.ObjectRef) else ray.put(v) for v in shared]
        results: list[Any] = [None] * len(tasks)
        for position, reference in self._submit(work, tasks, references):
            results[position] = reference
        return results

    def _submit(self, work: Work, tasks: Sequence[Any], shared: list[Any]) -> Iterator[tuple[int, Any]]:
        """Whoever is free takes the next task; each actor has at most two, so that none idles between them.

        Who does not run yet gets none: of two runs on one cluster, each might hold a core that the other's tasks wait
        for.
        """
        waiting = list(enumerate(tasks))[::-1]
        running: dict[Any, tuple[int, Any]] = {}

        def give(actor: Any) -> None:
            position, task = waiting.pop()
            running[actor.run.remote(work, self._files, task, *shared)] = (position, actor)

        watch = StartWatch(self._bundle)
        for actor in self._ready * 2:
            if waiting:
                give(actor)
        while waiting or running:
            ended, _ = ray.wait([*running, *self._starting], num_returns=1, timeout=LOOK_SECONDS)
            if not ended:
                watch.look()
                continue
            (done,) = ended
            if done in self._starting:
                actor = self._starting.pop(done)
                self._ready.append(actor)
                for _ in range(min(2, len(waiting))):
                    give(actor)
                continue
            position, actor = running.pop(done)
            if waiting:
                give(actor)
            yield position, done
