"""Which shard and row holds each image's features; what is missing is extracted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from swag_ray.errors import InputError
from swag_ray.features.reader import Rows
from swag_ray.features.recipe import Recipe
from swag_ray.features.shards import DECODER, DamagedShard, read_shard
from swag_ray.features.spec import FeatureSpec
from swag_ray.images.arrow_strings import factorize, text_bytes
from swag_ray.progress import Progress
from swag_ray.store.stages import Result, digest, stage_key
from swag_ray.store.store import Store
from swag_ray.store.use import note_shards_used
from swag_ray.system.allocator import give_back_freed_memory

# Images a shard: small ones keep all actors busy to the end; large pools get larger ones, for fewer files.
SHARD, LARGE_SHARD, MANY = 64, 512, 20_000
# (recipes to extract, all different, images per shard) -> (actor, images, seconds) of every shard written
Extract = Callable[[Sequence[Recipe], int], Iterator[tuple[int, int, float]]]


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
        variants: one entry a variant, None where there are none; shards as for `rows`.
    """

    fingerprint: str
    shards: list[str]
    rows: Rows
    errors: dict[str, str]
    key: str
    extracted: int
    busy: tuple[dict[str, Any], ...] = ()
    variants: Rows | None = None


def feature_set(
    store: Store,
    spec: FeatureSpec,
    paths: Sequence[str] | pa.ChunkedArray,
    sha256: Sequence[str] | pa.ChunkedArray,
    extract: Extract,
    progress: Progress,
    variants: Sequence[Recipe] = (),
) -> FeatureSet:
    """Features of these images and variants: those in the store are reused, the rest are extracted in one go.

    Args:
        paths, sha256: one entry an image, in an Arrow column where they are many; equal bytes are embedded once.
        extract: writes the shards of images that are missing; called only when there are any.
        progress: shows images to extract, then images done.
        variants: of some of these images.

    Raises:
        InputError: weights that cannot be had, or a store that cannot be written.
    """
    path_N, sha256_N = _column(paths), _column(sha256)
    files = _Wanted(store, spec, sha256_N, lambda i: Recipe(path_N[i].as_py(), sha256_N[i].as_py()))
    altered = _Wanted(store, spec, _column([recipe.key for recipe in variants]), lambda i: variants[i])
    wanted = [files, altered] if variants else [files]
    extracted = 0
    spent: dict[int, tuple[int, float]] = {}
    if not all(part.load() for part in wanted):
        give_back_freed_memory()
        # Of several trials that miss the same shard, one extracts it.
        with store.computing("extract", spec.fingerprint):
            missing = _Missing([(part.look(), part.recipe) for part in wanted])
            if missing:
                spec.weights_in(store)  # what cannot be had is refused here, before any actor starts
                progress.expect(len(missing))
                # By all images, not by those left: a run that was killed on the way must cut its shards as it began to.
                size = SHARD if len(files.keys) <= MANY else LARGE_SHARD
                for actor, count, seconds in extract(missing, size):
                    progress.advance(count)
                    shards, before = spent.get(actor, (0, 0.0))
                    spent[actor] = (shards + 1, before + seconds)
                extracted = len(missing)
                if any(len(part.look()) for part in wanted):
                    raise InputError(
                        f"store: feature shards in '{store.root}' went missing as they were made", "run again"
                    )
        for part in wanted:
            part.save()
    shards = files.found.info["shards"]
    all_shards = shards + (altered.found.info["shards"] if variants else [])
    note_shards_used(store, spec.fingerprint, all_shards)
    busy = tuple(
        {"actor": f"extraction actor {i}", "work": "extract shards", "calls": calls, "seconds": seconds}
        for i, (calls, seconds) in enumerate(spent.values())
    )
    return FeatureSet(
        spec.fingerprint, all_shards, files.rows(), files.found.info["errors"], files.key, extracted, busy,
        altered.rows(first_shard=len(shards)) if variants else None,
    )  # fmt: skip


class _Wanted:
    """Keys of one list of images, and where their rows are as far as is known.

    Args:
        keys: one an image, equal ones embedded once.
        recipe: what the image of an entry is made of.
    """

    def __init__(
        self,
        store: Store,
        spec: FeatureSpec,
        keys: pa.ChunkedArray,
        recipe: Callable[[int], Recipe],
    ) -> None:
        self.store, self.spec, self.recipe = store, spec, recipe
        self.keys, self.position = factorize(keys)
        self.key = stage_key("features", {"fingerprint": spec.fingerprint, "images": digest(self.keys)})
        self.index_key = stage_key("index", {}, [self.key])
        self.found = Result({}, {})

    def load(self) -> bool:
        """Takes the index from the store; whether it is there, and all shards of it."""
        found = self.store.load("index", self.index_key)
        if found is None or not _all_there(self.store, self.spec, found):
            return False
        self.found = found
        return True

    def look(self) -> NDArray[np.int64]:
        """Looks for the rows in the shards; returns the entries that have none, the first of each key."""
        self.found = _index(self.store, self.spec, self.keys)
        lost = np.flatnonzero(self.found.arrays["row"] < 0)
        first = np.zeros(len(self.keys), np.int64)
        first[self.position[::-1]] = np.arange(len(self.position))[::-1]  # the first entry of each key
        return np.sort(first[lost])

    def save(self) -> None:
        self.store.save("index", self.index_key, self.found)

    def rows(self, first_shard: int = 0) -> Rows:
        """One entry an image; its shards are counted from `first_shard` on."""
        shard, row = self.found.arrays["shard"][self.position], self.found.arrays["row"][self.position]
        return Rows(np.where(shard < 0, shard, shard + np.int32(first_shard)).astype(np.int32), row)


class _Missing(Sequence[Recipe]):
    """Recipes that are made when they are asked for: a pool's, all at once, would be most of the driver's memory.

    Args:
        parts: entries of each list, and what the image of an entry is made of.
    """

    def __init__(self, parts: Sequence[tuple[NDArray[np.int64], Callable[[int], Recipe]]]) -> None:
        self.parts = parts
        self.starts = np.cumsum([0, *(len(entries) for entries, _ in parts)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, asked: Any) -> Any:
        if isinstance(asked, slice):
            return [self[i] for i in range(*asked.indices(len(self)))]
        number = range(len(self))[asked]
        part = int(np.searchsorted(self.starts, number, "right")) - 1
        entries, recipe = self.parts[part]
        return recipe(int(entries[number - self.starts[part]]))


def shard_files(store: Store, spec: FeatureSpec) -> dict[str, int]:
    """Returns the shards that the store holds of these features: {file name: bytes}."""
    infos = store.files("features", spec.fingerprint)
    return {os.path.basename(i.path): i.size for i in infos if i.path.endswith(".parquet")}


def _index(store: Store, spec: FeatureSpec, images: pa.Array) -> Result:
    """Where these images (sorted, all different) are in the whole shards of this fingerprint, the first place of
    several: shard -1 where one could not be read, row -1 where no shard holds it. Damaged shards are removed: their
    images are extracted again. So are those that an earlier version's decoder refused.
    """
    sought = text_bytes(images)
    shard, row = np.full(len(sought), -1, np.int32), np.full(len(sought), -1, np.int32)
    shards: list[str] = []
    sizes: list[int] = []
    errors: dict[str, str] = {}
    for name, size in sorted(shard_files(store, spec).items()):
        path = store.path("features", spec.fingerprint, name)
        try:
            table = read_shard(store, path, ["sha256", "error"])
        except DamagedShard as damage:  # its images are extracted again
            damage.remove(store)
            continue
        held = text_bytes(table.column("sha256"))
        place = np.minimum(np.searchsorted(sought, held), len(sought) - 1)
        refused = table.column("error").is_valid().to_numpy()
        known = ~refused | ((table.schema.metadata or {}).get(b"decoder") == DECODER.encode())
        new = np.flatnonzero(known & (sought[place] == held) & (row[place] < 0))[::-1]  # the first of several stays
        if not len(new):
            continue
        row[place[new]] = new
        shard[place[new]] = len(shards)
        for i in np.flatnonzero(refused & known):
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
    files = shard_files(store, spec)
    return all(files.get(name) == size for name, size in zip(found.info["shards"], found.info["bytes"], strict=True))
