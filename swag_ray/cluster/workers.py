"""What an experiment has computed elsewhere: `Workers` says what it asks for, `RayWorkers` does it on Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from swag_ray.cluster.attempts import get_watched
from swag_ray.cluster.extraction import extract_shards
from swag_ray.cluster.memory_bank import MemoryBank
from swag_ray.cluster.sample_actors import SamplePool, Work
from swag_ray.cluster.session import Session, constructor_argument, ray_session
from swag_ray.cluster.visibility import check_visible, sample_paths
from swag_ray.features.reader import FeatureReader
from swag_ray.features.recipe import Recipe
from swag_ray.features.spec import FeatureSpec
from swag_ray.images.frames import file_of
from swag_ray.store.stages import Arrays, Result, fold_arrays
from swag_ray.store.store import Store

Paths: TypeAlias = Sequence[str] | pa.ChunkedArray


class Workers(Protocol):
    """What an experiment asks for. Ray's, a trial's, and one in the test suite that works in its own process."""

    def extract(
        self, store: Store, spec: FeatureSpec, images: Paths, missing: Sequence[Recipe], size: int
    ) -> Iterator[tuple[int, int, float]]:
        """Extracts the features of missing images into the store.

        Args:
            images: paths of the whole dataset, of which every node is asked to see a few.
            missing: what is to be extracted, all of it different.
            size: images per shard.

        Yields:
            (actor, images, seconds) of every shard written.

        Raises:
            InputError: some node does not see store or images, or an image changed after it was listed.
        """

    def use_features(self, root: str, fingerprint: str, shards: list[str], seeds: NDArray[np.int64]) -> None:
        """Says which features all later work reads, and which train rows the bank trusts. Starts nothing."""

    def map(
        self, work: Work, tasks: Sequence[Any], *shared: Any, advance: Callable[[int], None] = lambda n: None
    ) -> list[Any]:
        """Returns `work(reader, task, *shared)` for every task, in the order of the tasks."""

    def run_one(self, work: Work, task: Any, *shared: Any) -> Any:
        """Returns `work(reader, task, *shared)` for a single task."""

    def fit_banks(
        self, work: Work, tasks: Sequence[Any], *shared: Any, version: str, decision: str | None
    ) -> tuple[Arrays, ...]:
        """Fits every fold, has the memory bank keep their rows as one version, and returns them fold by fold.

        Args:
            version: key of the stage that picks the rows.
            decision: key of the decision that says who is admitted; None for a bank of seeds or of a control.
        """

    def record_decision(self, decision: str, result: Result) -> None:
        """Has the memory bank record a round's decision under its key."""

    def put(self, value: Any) -> Any:
        """Returns what stands for a large value in several calls of `map`."""

    def time_spent(self) -> list[dict[str, Any]]:
        """Returns what each actor has spent its time on so far: actor, work, calls, seconds."""


class RayWorkers:
    """The Ray session, the sample actors and the memory bank actor of one experiment. Use as a context manager.

    Each is started when it is first needed: a run whose stages are all in the store needs none.

    Args:
        pool: sample actors to work with, which stay when this ends; None starts some, which end with it.
        options: arguments of `ray_session`.
    """

    def __init__(self, pool: SamplePool | None = None, **options: Any) -> None:
        self._options = options
        self._borrowed_pool = pool
        self._stack = ExitStack()
        self._session: Session | None = None
        self._seen: set[str] = set()  # what every node was found to see: the store's root, images
        self._features: tuple[str, str, list[str]] | None = None
        self._seeds: Any = None
        self._pool: SamplePool | None = None
        self._bank: Any = None

    def __enter__(self) -> RayWorkers:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def session(self) -> Session:
        """Returns the session, started or joined at the first call."""
        if self._session is None:
            self._session = self._stack.enter_context(ray_session(**self._options))
        return self._session

    def extract(
        self, store: Store, spec: FeatureSpec, images: Paths, missing: Sequence[Recipe], size: int
    ) -> Iterator[tuple[int, int, float]]:
        session = self.checked_session(store.root, [file_of(path, spec.frames) for path in sample_paths(images)])
        yield from extract_shards(store, spec, missing, size, session)

    def checked_session(self, root: str, images: Paths = ()) -> Session:
        """Returns the session, once every node of it was found to see this store and a few of these images.

        Raises:
            InputError: some node does not see them.
        """
        session = self.session()
        sought = {root, *sample_paths(images)}
        if not sought <= self._seen:
            check_visible(root, sample_paths(images))
            self._seen |= sought
        return session

    def use_features(self, root: str, fingerprint: str, shards: list[str], seeds: NDArray[np.int64]) -> None:
        self._features, self._seeds = (root, fingerprint, shards), seeds
        if self._pool is not None:
            self._pool.read(*self._features)

    def map(
        self, work: Work, tasks: Sequence[Any], *shared: Any, advance: Callable[[int], None] = lambda n: None
    ) -> list[Any]:
        return self._sample_pool().map(work, tasks, *shared, advance=advance)

    def run_one(self, work: Work, task: Any, *shared: Any) -> Any:
        # A sample actor that runs anyway has imported what the work needs; else Ray need not start for one task.
        if self._pool is not None:
            return self.map(work, [task], *shared)[0]
        assert self._features is not None, "use_features first"
        return work(FeatureReader(*self._features), task, *shared)

    def fit_banks(
        self, work: Work, tasks: Sequence[Any], *shared: Any, version: str, decision: str | None
    ) -> tuple[Arrays, ...]:
        # The folds' results go from the sample actors to the bank through the object store, never through the driver.
        pool, bank = self._sample_pool(), self._memory_bank()  # the bank's process starts while the folds are fitted
        references = pool.references(work, tasks, *shared)
        snapshot = get_watched(bank.save_version.remote(version, decision, *references))
        return fold_arrays(snapshot, len(tasks))

    def record_decision(self, decision: str, result: Result) -> None:
        get_watched(self._memory_bank().record_decision.remote(decision, result))

    def time_spent(self) -> list[dict[str, Any]]:
        return self._pool.time_spent() if self._pool is not None else []

    def put(self, value: Any) -> Any:
        self.session()
        return ray.put(value)

    def _sample_pool(self) -> SamplePool:
        if self._pool is None:
            assert self._features is not None, "use_features first"
            if self._borrowed_pool is not None:
                self._pool = self._borrowed_pool
                self._pool.read(*self._features)
            else:
                session = self.checked_session(self._features[0])
                self._pool = self._stack.enter_context(SamplePool(session, *self._features))
        return self._pool

    def _memory_bank(self) -> Any:
        if self._bank is None:
            assert self._features is not None and self._seeds is not None, "use_features first"
            self.checked_session(self._features[0])
            self._seeds = constructor_argument(self._seeds, len(self._seeds))
            self._bank = MemoryBank.remote(self._features[0], self._seeds)  # type: ignore[attr-defined]
            self._stack.callback(ray.kill, self._bank)
        return self._bank
