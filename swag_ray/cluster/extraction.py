"""Ray Data streams shards of images through a pool of backbone actors into the feature store.

A work item is a whole shard or several, so no pixel ever leaves the actor that decoded it: file names go in, a count
comes out.
An actor on the CPU has one core, and decodes and embeds on it in turns. One on a GPU has a few of the node's cores, and
decodes on all of them while the GPU embeds. Neither is ever more than a few batches ahead.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from swag_ray.cluster.attempts import counted
from swag_ray.cluster.own_gpus import keep_to_own_gpus
from swag_ray.cluster.session import Session
from swag_ray.cluster.streaming import complaint_columns, stream_rows
from swag_ray.errors import InputError, reason_of
from swag_ray.features.extract import BATCH, GPU_BATCH, Pixels, ahead, decode, embed
from swag_ray.features.index import LARGE_SHARD
from swag_ray.features.recipe import Recipe
from swag_ray.features.shards import shard_table, write_shard
from swag_ray.features.spec import FeatureSpec
from swag_ray.images.image_reader import ImageReader
from swag_ray.images.places import locate
from swag_ray.store.stages import digest
from swag_ray.store.store import Store
from swag_ray.system.allocator import keep_freed_memory, trim_freed_memory
from swag_ray.system.device import device, is_out_of_gpu_memory
from swag_ray.system.threads import keep_to_one_thread

TRIMMED_EVERY = 64 * 2**20  # bytes of files
READERS = 2  # threads that read files while an actor on the CPU decodes others


@dataclass(frozen=True)
class Shard:
    """A shard to be made: its file's name, and what its rows are made of."""

    name: str
    recipes: list[Recipe]


class WorkItems(Sequence[dict[str, Any]]):
    """The shards to be made, as an actor is handed them: names and recipes. Each is made when it is asked for, because
    those of a large pool, all at once, would be most of the driver's memory.

    Args:
        missing: what is to be extracted.
        size: images per shard.
    """

    def __init__(self, missing: Sequence[Recipe], size: int) -> None:
        self.missing, self.size = missing, size

    def __len__(self) -> int:
        return -(-len(self.missing) // self.size)

    def __getitem__(self, number: Any) -> Any:
        start = range(0, len(self.missing), self.size)[number]
        recipes = self.missing[start : start + self.size]
        name = f"{digest([recipe.key for recipe in recipes])}.parquet"
        return {"name": name, "recipes": [asdict(recipe) for recipe in recipes]}


class ShardExtractor:
    """The actor of the pool: holds the frozen backbone, turns a shard's file names into a shard file.

    Args:
        root: the store's root.
        spec: which features.
        decoders: threads that decode ahead of the backbone, where that is on a GPU; 0 decodes between its batches.
    """

    def __init__(self, root: str, spec: FeatureSpec, decoders: int = 0) -> None:
        self.store, self.spec = Store(root), spec
        keep_to_one_thread()
        keep_freed_memory()
        self.refused: InputError | None = None
        self.decoders = decoders
        self.threads = ThreadPoolExecutor(decoders or READERS)
        self.writer = ThreadPoolExecutor(1)
        self.reader = ImageReader(spec.frames)
        self._trimmed_at, self._lock = 0, threading.Lock()  # the former in bytes that had been read
        try:
            self.backbone = spec.build(spec.weights_in(self.store)).to(device())
        except InputError as error:  # a constructor that raises is only started again
            self.refused = error

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Writes the shards of a batch, one after the other; ends at the first that cannot be had."""
        shards = [
            Shard(str(name), [Recipe(**fields) for fields in recipes])
            for name, recipes in zip(batch["name"], batch["recipes"], strict=True)
        ]
        seconds: list[float] = []  # per shard that was written
        error = self._complaint(shards, seconds)
        if error is not None:
            seconds.append(0.0)
        errors = [error if number == len(seconds) - 1 else None for number in range(len(seconds))]
        return {
            "count": np.array([len(shard.recipes) for shard in shards[: len(seconds)]]),
            "seconds": np.array(seconds),
            "actor": np.full(len(seconds), os.getpid()),
            **complaint_columns(errors),
        }

    def _complaint(self, shards: list[Shard], seconds: list[float]) -> InputError | None:
        """Extracts the shards; returns what the user must mend, if there is something."""
        if self.refused is not None:
            return self.refused
        try:
            self._extract(shards, seconds)
        except InputError as error:
            return error
        except MemoryError:  # of this node now, not of the images: a shard would remember them as unreadable
            first = shards[len(seconds)].recipes[0].path
            advice = "lower cluster.actors, or run where there is more memory"
            return InputError(f"memory: too little to decode images like '{first}'", advice)
        except RuntimeError as error:
            if not is_out_of_gpu_memory(error):
                raise
            return InputError("GPU memory: too little for the backbone", "lower cluster.actors, or free the GPU")
        except OSError as error:  # a full disk is the user's to mend: one line, not Ray's stack
            return self.store.storage_error(error)
        return None

    def _extract(self, shards: list[Shard], seconds: list[float]) -> None:
        """Writes the shards. While one is written the next is decoded; never do two wait to be written."""
        images = [recipe for shard in shards for recipe in shard.recipes]
        started, writing = time.perf_counter(), None
        with closing(self._rows(images)) as rows:
            for shard in shards:
                keys = [recipe.key for recipe in shard.recipes]
                table = shard_table(keys, list(islice(rows, len(keys))), self.spec.strides)
                if writing is not None:
                    writing.result()
                    seconds.append(time.perf_counter() - started - sum(seconds))
                path = self.store.path("features", self.spec.fingerprint, shard.name)
                writing = self.writer.submit(write_shard, self.store, path, table)
        if writing is not None:
            writing.result()
            seconds.append(time.perf_counter() - started - sum(seconds))

    def _rows(self, recipes: list[Recipe]) -> Generator[dict[str, Any]]:
        def decoded(recipe: Recipe, files: tuple[bytes, ...]) -> Pixels:
            return decode(partial(recipe.decode, files, self.spec.image_size, self.spec.reading))

        if self.decoders:  # what waits for the GPU are small squares; a file is in memory only while it is decoded
            work, most = (lambda recipe: decoded(recipe, recipe.files(self._read))), 2 * GPU_BATCH
            yield from embed(self.backbone, ahead(self.threads, work, recipes, most))
        else:
            files = ahead(self.threads, lambda recipe: recipe.files(self._read), recipes, BATCH)
            yield from embed(self.backbone, map(decoded, recipes, files))

    def _read(self, path: str, sha256: str) -> bytes:
        """A file's bytes. Gives back, from time to time, what files before it have freed: between the small rows that
        stay, the holes of large files would fill up with smaller things and never be whole again.
        """
        data = _read_image(self.reader, path, sha256)
        with self._lock:
            due = self.reader.bytes_read - self._trimmed_at > TRIMMED_EVERY
            if due:
                self._trimmed_at = self.reader.bytes_read
        if due:
            trim_freed_memory()
        return data


class CountedExtractor(ShardExtractor):
    """`ShardExtractor` on Ray, where a shard that kills its actor is not tried without end.

    Args:
        extraction: names this extraction among those of the job: what one that was broken off noted says nothing here.
        root, spec, decoders: as for `ShardExtractor`.
    """

    def __init__(self, extraction: str, root: str, spec: FeatureSpec, decoders: int = 0) -> None:
        keep_to_own_gpus()
        super().__init__(root, spec, decoders)
        self.extraction = extraction

    def _extract(self, shards: list[Shard], seconds: list[float]) -> None:
        """The shards of one call are one piece, because their images are decoded in one stream."""
        first, last, count = shards[0], shards[-1], sum(len(shard.recipes) for shard in shards)
        names = f"shard {first.name}" if first is last else f"shards {first.name} to {last.name}"
        piece = f"feature {names} ({count} images, '{first.recipes[0].path}' to '{last.recipes[-1].path}')"
        with counted(f"{self.extraction} {first.name}", piece):
            super()._extract(shards, seconds)


def _read_image(reader: ImageReader, path: str, sha256: str) -> bytes:
    """The bytes that were listed under this path: features of any others must not be kept under their digest."""
    try:
        data, _, found = reader.read_hashed(locate(path))
    except OSError as error:
        raise InputError(
            f"dataset: '{path}' was listed but cannot be read here ({reason_of(error)})",
            "mend or remove it and run again",
        ) from error
    if found != sha256:
        raise InputError(f"dataset: '{path}' changed after it was listed", "run again")
    return data


def extract_shards(
    store: Store, spec: FeatureSpec, missing: Sequence[Recipe], size: int, session: Session
) -> Iterator[tuple[int, int, float]]:
    """Yields (actor, images, seconds) of every shard written."""
    extraction = f"extraction {uuid.uuid4().hex}"
    bundle = session.extractor_bundle
    on_gpu = "GPU" in bundle
    # Decoders and GPU work side by side within a call, and wait for each other at its ends.
    per_call = max(1, LARGE_SHARD // size) if on_gpu else 1
    arguments = (extraction, store.root, spec, int(bundle["CPU"]) if on_gpu else 0)
    with closing(
        stream_rows(CountedExtractor, arguments, WorkItems(missing, size), session, extraction, per_call)
    ) as rows:
        for row in rows:
            yield int(row["actor"]), int(row["count"]), float(row["seconds"])
