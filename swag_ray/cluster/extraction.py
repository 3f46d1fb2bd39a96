"""Ray Data streams shards of images through a pool of backbone actors into the feature store.

A work item is a whole shard, so no pixel ever leaves the actor that decoded it: file names go in, a count comes out.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from swag_ray.cluster.session import Session
from swag_ray.errors import InputError, StorageError, reason_of
from swag_ray.features.extract import extract
from swag_ray.features.shards import shard_table, write_shard
from swag_ray.features.spec import FeatureSpec
from swag_ray.store.stages import digest
from swag_ray.store.store import Store
from swag_ray.system.allocator import keep_freed_memory
from swag_ray.system.device import device


class ShardExtractor:
    """The actor of the pool: holds the frozen backbone, turns a shard's file names into a shard file."""

    def __init__(self, root: str, spec: FeatureSpec) -> None:
        import torch

        self.store, self.spec = Store(root), spec
        self.readers = ThreadPoolExecutor(2)
        torch.set_num_threads(1)
        keep_freed_memory()
        self.refused: InputError | None = None
        try:
            self.backbone = spec.build(spec.weights_in(self.store)).to(device())
        except InputError as error:  # a constructor that raises is only started again
            self.refused = error

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        counts, seconds = [], []
        errors: list[InputError | None] = []
        for name, paths, sha256 in zip(batch["name"], batch["paths"], batch["sha256"], strict=True):
            start = time.perf_counter()
            try:
                if self.refused is not None:
                    raise self.refused
                images = self.readers.map(_read_image, paths, sha256)
                rows = list(extract(self.backbone, images, self.spec.image_size))
                table = shard_table(list(sha256), rows, self.spec.strides)
                write_shard(self.store, self.store.path("features", self.spec.fingerprint, str(name)), table)
                errors.append(None)
            except InputError as error:
                errors.append(error)
            except OSError as error:  # a full disk is the user's to mend: one line, not Ray's stack
                errors.append(self.store.storage_error(error))
            counts.append(len(paths))
            seconds.append(time.perf_counter() - start)
        who = np.full(len(counts), os.getpid())
        # Text is what travels between actors as a column, whatever else an exception holds on to.
        text = {
            "problem": np.array([error.problem if error else "" for error in errors]),
            "advice": np.array([error.advice if error else "" for error in errors]),
            "storage": np.array([isinstance(error, StorageError) for error in errors]),
        }
        return {"count": np.array(counts), "seconds": np.array(seconds), "actor": who, **text}


def _read_image(path: str, sha256: str) -> bytes:
    """The bytes that were listed under this path: features of any others must not be kept under their digest."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"dataset: '{path}' was listed but cannot be read here ({reason_of(error)})",
            "mend or remove it and run again",
        ) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError(f"dataset: '{path}' changed after it was listed", "run again")
    return data


def extract_shards(
    store: Store, spec: FeatureSpec, missing: dict[str, str], size: int, session: Session
) -> Iterator[tuple[int, int, float]]:
    """Yields (actor, images, seconds) of every shard written."""
    import ray.data

    digests = list(missing)
    items = []
    for i in range(0, len(digests), size):
        chunk = digests[i : i + size]
        items.append({"name": f"{digest(chunk)}.parquet", "paths": [missing[d] for d in chunk], "sha256": chunk})
    shards = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        ShardExtractor,
        fn_constructor_args=(store.root, spec),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(session.actors, len(items))),
        num_cpus=1,
        num_gpus=session.gpus_per_actor,
    )
    for row in shards.iter_rows():
        if row["problem"]:
            raise (StorageError if row["storage"] else InputError)(str(row["problem"]), str(row["advice"]))
        yield int(row["actor"]), int(row["count"]), float(row["seconds"])
