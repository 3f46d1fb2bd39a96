"""Everything of Ray that one experiment uses, started when first needed: a run whose stages are all there needs
none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from swag_ray.cluster.extraction import extract_shards
from swag_ray.cluster.memory_bank import MemoryBank
from swag_ray.cluster.sample_actors import SamplePool, Work
from swag_ray.cluster.session import Session, constructor_argument, ray_session, take
from swag_ray.cluster.visibility import check_visible, few
from swag_ray.features.reader import FeatureReader
from swag_ray.features.spec import FeatureSpec
from swag_ray.store.stages import Arrays, Result, fold_arrays
from swag_ray.store.store import Store


class Workers:
    """The Ray session, the sample actors and the memory bank actor of one experiment. Use as a context manager.

    Args:
        pool: sample actors to work with, which stay when this ends; None starts some, which end with it.
        options: arguments of `ray_session`.
    """

    def __init__(self, pool: SamplePool | None = None, **options: Any) -> None:
        self._options = options
        self._lent = pool
        self._stack = ExitStack()
        self._session: Session | None = None
        self._seen: set[str] = set()  # what every node was found to see: the store's root, images
        self._features: tuple[str, str, list[str]] | None = None
        self._seeds: Any = None
        self._pool: SamplePool | None = None
        self._bank: Any = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def session(self) -> Session:
        """The Ray to work on, started or joined at the first call."""
        if self._session is None:
            self._session = self._stack.enter_context(ray_session(**self._options))
        return self._session

    def extract(
        self,
        store: Store,
        spec: FeatureSpec,
        images: Sequence[str] | pa.ChunkedArray,
        missing: dict[str, str],
        size: int,
    ) -> Iterator[tuple[int, int, float]]:
        """Extracts the features of missing images into this store.

        Args:
            images: paths of the dataset, of which every node is asked to see a few.
            missing: {sha256: path} of the images to extract.
            size: images per shard.

        Yields:
            (actor, images, seconds) of every shard written.

        Raises:
            InputError: some node does not see store or images, or an image changed after it was listed.
        """
        session = self.session_seeing(store.root, images)
        yield from extract_shards(store, spec, missing, size, session)

    def session_seeing(self, root: str, images: Sequence[str] | pa.ChunkedArray = ()) -> Session:
        """The Ray to work on, once every node of it was found to see this store, and images that will be read there.

        Raises:
            InputError: some node does not see them.
        """
        session = self.session()
        sought = {root, *few(images)}
        if not sought <= self._seen:
            check_visible(root, few(images))
            self._seen |= sought
        return session

    def attach(self, root: str, fingerprint: str, shards: list[str], seeds: np.ndarray[Any, Any]) -> None:
        """Say which features the sample actors read and which images the bank trusts; starts nothing."""
        self._features, self._seeds = (root, fingerprint, shards), seeds
        if self._pool is not None:
            self._pool.read(*self._features)

    def map(
        self, work: Work, tasks: Sequence[Any], *shared: Any, advance: Callable[[int], None] = lambda n: None
    ) -> list[Any]:
        """`work(reader, task, *shared)` for every task on the sample actors; results in the order of the tasks."""
        return self._sample_pool().map(work, tasks, *shared, advance=advance)

    def once(self, work: Work, task: Any, *shared: Any) -> Any:
        """`work(reader, task, *shared)` a single time: on a sample actor where they run anyway, which has what the work
        imports, else in this process, which spares the start of Ray.
        """
        if self._pool is not None:
            return self.map(work, [task], *shared)[0]
        assert self._features is not None, "attach first"
        return work(FeatureReader(*self._features), task, *shared)

    def publish(
        self, work: Work, tasks: Sequence[Any], *shared: Any, version: str, decision: str | None
    ) -> tuple[Arrays, ...]:
        """Fit every fold on the sample actors and let the bank publish their rows as one version.

        The folds' results go from the sample actors to the bank through the object store; what comes back is the bank's
        snapshot, fold by fold.
        """
        pool, bank = self._sample_pool(), self._memory_bank()  # the bank's process starts while the folds are fitted
        references = pool.references(work, tasks, *shared)
        snapshot = take(bank.publish.remote(version, decision, *references))
        return fold_arrays(snapshot, len(tasks))

    def admit(self, decision: str, result: Result) -> None:
        """Have the bank record a round's decision."""
        take(self._memory_bank().admit.remote(decision, result))

    def busy(self) -> list[dict[str, Any]]:
        """What each sample actor has spent its time on so far: actor, work, calls, seconds."""
        return self._pool.busy() if self._pool is not None else []

    def share(self, value: Any) -> Any:
        """A reference to a large value, put into the object store once for several calls of `map`."""
        self.session()
        return ray.put(value)

    def _sample_pool(self) -> SamplePool:
        if self._pool is None:
            assert self._features is not None, "attach first"
            if self._lent is not None:
                self._pool = self._lent
                self._pool.read(*self._features)
            else:
                session = self.session_seeing(self._features[0])
                self._pool = self._stack.enter_context(SamplePool(session, *self._features))
        return self._pool

    def _memory_bank(self) -> Any:
        if self._bank is None:
            assert self._features is not None and self._seeds is not None, "attach first"
            self.session_seeing(self._features[0])
            self._seeds = constructor_argument(self._seeds, len(self._seeds))
            self._bank = MemoryBank.remote(self._features[0], self._seeds)  # type: ignore[attr-defined]
            self._stack.callback(ray.kill, self._bank)
        return self._bank
