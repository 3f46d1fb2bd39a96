"""The shared memory bank: one actor, the only writer of what the detector remembers.

The bank decides nothing and computes nothing long. It admits the images that the gate chose, refuses rows of images
that were never admitted, and gives a version number to every set of rows. Each change is a stage on disk before anyone
sees it, so a restarted actor has lost nothing but a cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import ray

from swag_ray.cluster.attempts import counted_task
from swag_ray.store.stages import Arrays, Result, flat_folds
from swag_ray.store.store import Store


@ray.remote(max_restarts=-1, max_task_retries=-1, num_cpus=0)
class MemoryBank:
    """Keeps decisions (who is admitted) and versions of the rows (which patches are remembered, fold by fold).

    Args:
        root: the store's root.
        seeds: cohort rows of the trusted seed images, the members before any decision.
    """

    def __init__(self, root: str, seeds: np.ndarray[Any, Any]) -> None:
        self.store = Store(root)
        self.seeds = seeds

    def record_decision(self, decision: str, result: Result) -> None:
        """Make a round's decision part of the record. Doing it again changes nothing."""
        with counted_task(f"the memory bank, recording decision {decision},"):
            if not self.store.has("decide", decision):
                self.store.save("decide", decision, result)

    def save_version(self, version: str, decision: str | None, *folds: Arrays) -> Arrays:
        """Keep the rows of all folds as one version and return them as an immutable snapshot.

        The snapshot is this method's value: its caller owns it, so it outlives the actor, and readers never queue here.

        Args:
            version: the key of the stage that picked the rows.
            decision: the decision that says who is admitted; None for a bank of seeds (or of a control's own images).
            folds: per fold, arrays of which `image` holds the cohort row that each bank row came from.

        Raises:
            ValueError: a row comes from an image that is neither seed nor admitted.
        """
        with counted_task(f"the memory bank, keeping version {version},"):
            if decision is not None:
                self._check_members(decision, folds)
            arrays = flat_folds(folds)
            self.store.save("bank", version, Result(arrays))
            return arrays

    def _check_members(self, decision: str, folds: tuple[Arrays, ...]) -> None:
        record = self.store.load("decide", decision)
        if record is None:
            raise ValueError(f"decision {decision} was never recorded")
        members = np.union1d(self.seeds, np.flatnonzero(record.arrays["held"]))
        for k, fold in enumerate(folds):
            strangers = np.setdiff1d(fold["image"], members)
            if len(strangers):
                raise ValueError(f"fold {k}: {len(strangers)} images in the bank were never admitted")
