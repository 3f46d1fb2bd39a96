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

from swag_ray.cluster.session import Session
from swag_ray.core.allocator import keep_freed_memory
from swag_ray.core.device import device
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
    paths: Sequence[str],
    sha256: Sequence[str],
    session: Callable[[], Session],
    advance: Callable[[int], None] = lambda n: None,
    start: Callable[[int], None] = lambda n: None,
) -> FeatureSet:
    """Features of these images: those in the store are reused, the rest are extracted.

    Args:
        paths, sha256: one entry an image; equal bytes are embedded once.
        session: gives the Ray to work on; called only when something has to be extracted.
        start, advance: progress: images to extract, then images done.

    Raises:
        InputError: weights that cannot be had, or a store that cannot be written.
    """
    key = stage_key("features", {"fingerprint": spec.fingerprint, "images": digest(sorted(set(sha256)))})
    found = store.load("features", key)
    extracted = 0
    spent: dict[int, tuple[int, float]] = {}
    if found is None or not _all_there(store, spec, found):
        present = _present(store, spec)
        missing = {d: p for d, p in zip(sha256, paths, strict=True) if d not in present}
        if missing:
            spec.weights_in(store)  # what cannot be had is refused here, before any actor starts
            start(len(missing))
            # By all images, not by those left: a run that was killed on the way must cut its shards as it began to.
            size = SHARD if len(set(sha256)) <= MANY else LARGE_SHARD
            for actor, count, seconds in _extract_missing(store, spec, missing, size, session()):
                advance(count)
                shards, before = spent.get(actor, (0, 0.0))
                spent[actor] = (shards + 1, before + seconds)
            extracted = len(missing)
            present = _present(store, spec)
        found = _index(sorted(set(sha256)), present)
        store.save("features", key, found)
    order = {d: i for i, d in enumerate(found.info["sha256"])}
    index = np.array([order[d] for d in sha256], dtype=np.int64)
    rows = Rows(found.arrays["shard"][index], found.arrays["row"][index])
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


def _present(store: Store, spec: FeatureSpec) -> dict[str, tuple[str, int, int, str | None]]:
    """{sha256: (shard name, its bytes, row, error)} over all whole shards of this fingerprint."""
    present: dict[str, tuple[str, int, int, str | None]] = {}
    for name, size in sorted(_shard_files(store, spec).items()):
        path = store.path("features", spec.fingerprint, name)
        try:
            table = read_shard(store, path, ["sha256", "error"])
        except DamagedShard as damage:  # its images are extracted again
            damage.remove(store)
            continue
        for row, (d, error) in enumerate(zip(*(table.column(c).to_pylist() for c in ("sha256", "error")), strict=True)):
            present.setdefault(d, (name, size, row, error))
    return present


def _index(digests: list[str], present: dict[str, tuple[str, int, int, str | None]]) -> Result:
    shards = sorted({present[d][0] for d in digests})
    number = {name: i for i, name in enumerate(shards)}
    errors = {d: e for d in digests if (e := present[d][3]) is not None}
    shard = np.array([-1 if d in errors else number[present[d][0]] for d in digests], dtype=np.int32)
    row = np.array([present[d][2] for d in digests], dtype=np.int32)
    sizes = {present[d][0]: present[d][1] for d in digests}
    info = {"sha256": digests, "shards": shards, "bytes": [sizes[s] for s in shards], "errors": errors}
    return Result({"shard": shard, "row": row}, info)


def _all_there(store: Store, spec: FeatureSpec, found: Result) -> bool:
    files = _shard_files(store, spec)
    return all(files.get(name) == size for name, size in zip(found.info["shards"], found.info["bytes"], strict=True))
