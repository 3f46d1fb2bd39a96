"""Ray Data streams shards of images through a pool of backbone actors into the feature store.

A work item is a whole shard, so no pixel ever leaves the actor that decoded it: file names go in, a count comes out.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from swag_ray.cluster.session import Session
from swag_ray.core.allocator import give_back_freed_memory, keep_freed_memory
from swag_ray.core.device import device
from swag_ray.data.columns import numbered, text_bytes
from swag_ray.data.features import FeatureSpec, Rows, extract, shard_table
from swag_ray.data.shards import DamagedShard, read_shard, write_shard
from swag_ray.errors import InputError, StorageError
from swag_ray.stages import Result, Store, digest, stage_key

# Images a shard: small ones keep all actors busy to the end; large pools get larger ones, for fewer files.
SHARD, LARGE_SHARD, MANY = 64, 512, 20_000


@dataclass(frozen=True)
class FeatureSet:
    """Where the features of a table of images are.

    Attributes:
        fingerprint: names the folder of shards.
        shards: shard file names; `rows.shard_N` counts in this list.
        rows: one entry an image of the table; shard -1 where the image could not be read.
        errors: {sha256: reason} of the images that could not be read.
        key: the stage key: changes with the images or the fingerprint.
        extracted: images embedded by this call, 0 when all features were in the store.
        busy: what each extraction actor spent its time on: actor, work, calls, seconds.
    """

    fingerprint: str
    shards: list[str]
    rows: Rows
    errors: dict[str, str]
    key: str
    extracted: int
    busy: tuple[dict[str, Any], ...] = ()


def feature_set(
    store: Store,
    spec: FeatureSpec,
    paths: Sequence[str] | pa.ChunkedArray,
    sha256: Sequence[str] | pa.ChunkedArray,
    session: Callable[[], Session],
    advance: Callable[[int], None] = lambda n: None,
    start: Callable[[int], None] = lambda n: None,
) -> FeatureSet:
    """Features of these images: those in the store are reused, the rest are extracted.

    Args:
        paths, sha256: one entry an image, in an Arrow column where they are many; equal bytes are embedded once.
        session: gives the Ray to work on; called only when something has to be extracted.
        start, advance: progress: images to extract, then images done.

    Raises:
        InputError: weights that cannot be had, or a store that cannot be written.
    """
    names = _column(sha256)
    images, position = numbered(names)
    key = stage_key("features", {"fingerprint": spec.fingerprint, "images": digest(images)})
    index_key = stage_key("index", {}, [key])
    # Older stores keep the index under "features", with all names beside, which nobody needs: the key stands for them.
    found = store.load("index", index_key) or store.load("features", key)
    extracted = 0
    spent: dict[int, tuple[int, float]] = {}
    if found is None or not _all_there(store, spec, found):
        give_back_freed_memory()
        found = _index(store, spec, images)
        lost = pa.array(np.flatnonzero(found.arrays["row"][position] < 0))
        if len(lost):
            missing = dict(zip(names.take(lost).to_pylist(), _column(paths).take(lost).to_pylist(), strict=True))
            spec.weights_in(store)  # what cannot be had is refused here, before any actor starts
            start(len(missing))
            # By all images, not by those left: a run that was killed on the way must cut its shards as it began to.
            size = SHARD if len(images) <= MANY else LARGE_SHARD
            for actor, count, seconds in _extract_missing(store, spec, missing, size, session()):
                advance(count)
                shards, before = spent.get(actor, (0, 0.0))
                spent[actor] = (shards + 1, before + seconds)
            extracted = len(missing)
            found = _index(store, spec, images)
            if (found.arrays["row"] < 0).any():
                raise InputError(f"store: feature shards in '{store.root}' went missing as they were made; run again")
        store.save("index", index_key, found)
    rows = Rows(found.arrays["shard"][position], found.arrays["row"][position])
    busy = tuple(
        {"actor": f"extraction actor {i}", "work": "extract shards", "calls": calls, "seconds": seconds}
        for i, (calls, seconds) in enumerate(spent.values())
    )
    return FeatureSet(spec.fingerprint, found.info["shards"], rows, found.info["errors"], key, extracted, busy)


class ShardExtractor:
    """The actor of the pool: holds the frozen backbone, turns a shard's file names into a shard file."""

    def __init__(self, root: str, spec: FeatureSpec) -> None:
        import torch

        self.store, self.spec = Store(root), spec
        self.readers = ThreadPoolExecutor(2)
        torch.set_num_threads(1)
        keep_freed_memory()
        self.refused = ""
        try:
            self.backbone = spec.build(spec.weights_in(self.store)).to(device())
        except InputError as error:  # a constructor that raises is only started again
            self.refused = str(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        counts, errors, seconds = [], [], []
        for name, paths, sha256 in zip(batch["name"], batch["paths"], batch["sha256"], strict=True):
            start = time.perf_counter()
            try:
                if self.refused:
                    raise InputError(self.refused)
                images = self.readers.map(_read_image, paths, sha256)
                rows = list(extract(self.backbone, images, self.spec.image_size))
                table = shard_table(list(sha256), rows, self.spec.strides)
                write_shard(self.store, self.store.path("features", self.spec.fingerprint, str(name)), table)
                errors.append("")
            except InputError as error:
                errors.append(str(error))
            except OSError as error:  # a full disk is the user's to mend: one line, not Ray's stack
                errors.append(str(self.store.unusable(error)))
            counts.append(len(paths))
            seconds.append(time.perf_counter() - start)
        who = np.full(len(counts), os.getpid())
        return {"count": np.array(counts), "error": np.array(errors), "seconds": np.array(seconds), "actor": who}


def _read_image(path: str, sha256: str) -> bytes:
    """The bytes that were listed under this path: features of any others must not be kept under their digest."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(
            f"dataset: '{path}' was listed but cannot be read here ({reason}); mend or remove it and run again"
        ) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError(f"dataset: '{path}' changed after it was listed; run again")
    return data


def _extract_missing(
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
        if row["error"]:
            # Only text travels: what the store said is told by how it begins.
            raise (StorageError if row["error"].startswith("store:") else InputError)(str(row["error"]))
        yield int(row["actor"]), int(row["count"]), float(row["seconds"])


def _shard_files(store: Store, spec: FeatureSpec) -> dict[str, int]:
    infos = store.files("features", spec.fingerprint)
    return {os.path.basename(i.path): i.size for i in infos if i.path.endswith(".parquet")}


def _index(store: Store, spec: FeatureSpec, images: pa.Array) -> Result:
    """Where these images (sorted, all different) are in the whole shards of this fingerprint, the first place of
    several: shard -1 where one could not be read, row -1 where no shard holds it. Damaged shards are removed: their
    images are extracted again.
    """
    sought = text_bytes(images)
    shard, row = np.full(len(sought), -1, np.int32), np.full(len(sought), -1, np.int32)
    shards: list[str] = []
    sizes: list[int] = []
    errors: dict[str, str] = {}
    for name, size in sorted(_shard_files(store, spec).items()):
        path = store.path("features", spec.fingerprint, name)
        try:
            table = read_shard(store, path, ["sha256", "error"])
        except DamagedShard as damage:  # its images are extracted again
            damage.remove(store)
            continue
        held = text_bytes(table.column("sha256"))
        place = np.minimum(np.searchsorted(sought, held), len(sought) - 1)
        new = np.flatnonzero((sought[place] == held) & (row[place] < 0))[::-1]  # backwards: the first of several stays
        if not len(new):
            continue
        row[place[new]] = new
        shard[place[new]] = len(shards)
        for i in np.flatnonzero(table.column("error").is_valid().to_numpy()):
            if row[place[i]] == i and shard[place[i]] == len(shards) and sought[place[i]] == held[i]:
                shard[place[i]] = -1
                errors[images[place[i]].as_py()] = table.column("error")[i].as_py()
        shards.append(name)
        sizes.append(size)
    info = {"shards": shards, "bytes": sizes, "errors": dict(sorted(errors.items()))}
    return Result({"shard": shard, "row": row}, info)


def _column(strings: Sequence[str] | pa.ChunkedArray) -> pa.ChunkedArray:
    return strings if isinstance(strings, pa.ChunkedArray) else pa.chunked_array([pa.array(strings, pa.string())])


def _all_there(store: Store, spec: FeatureSpec, found: Result) -> bool:
    files = _shard_files(store, spec)
    return all(files.get(name) == size for name, size in zip(found.info["shards"], found.info["bytes"], strict=True))
