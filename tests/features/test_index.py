"""The index of features: what is there is never computed again, whoever extracted it."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from swag_ray.cluster import extraction
from swag_ray.cluster.extraction import ShardExtractor, extract_shards
from swag_ray.cluster.session import Session
from swag_ray.errors import InputError
from swag_ray.features.backbone import Backbone
from swag_ray.features.extract import BATCH, Pixels, decode, embed
from swag_ray.features.index import Extract, FeatureSet, feature_set
from swag_ray.features.reader import FeatureReader, Rows
from swag_ray.features.recipe import Recipe
from swag_ray.features.shards import shard_table, write_shard
from swag_ray.features.spec import FeatureSpec
from swag_ray.images.decode import Decoded
from swag_ray.images.image_reader import ImageReader
from swag_ray.progress import Progress
from swag_ray.store.store import Store
from tests.features.inputs import GRID, STRIDES, bits, image, rows, shards
from tests.support.processes import descendants, kill


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@dataclass
class Images:
    """Image files and what is asked of the feature store for them."""

    store: Store
    spec: FeatureSpec
    paths: dict[str, str]  # sha256: path

    def features(
        self,
        extract: Extract,
        names: list[str] | None = None,
        progress: Progress | None = None,
        variants: Sequence[Recipe] = (),
    ) -> FeatureSet:
        names = names or list(self.paths)
        paths = [self.paths[n] for n in names]
        return feature_set(self.store, self.spec, paths, names, extract, progress or Progress(), variants)

    def recipes(self, names: list[str]) -> list[Recipe]:
        return [Recipe(self.paths[name], name) for name in names]

    def actors(self, count: int) -> Extract:
        """Extraction by so many actors of the local Ray."""
        session = Session(cpus=2, gpus=0, actors=count, extractors=count)
        return lambda missing, size: extract_shards(self.store, self.spec, missing, size, session)

    def here(self, asked: list[str]) -> Extract:
        """Extraction in this process, which notes the keys that it is asked for."""
        worker = ShardExtractor(self.store.root, self.spec)

        def extract(missing: Sequence[Recipe], size: int) -> Iterator[tuple[int, int, float]]:
            asked.extend(recipe.key for recipe in missing)
            yield 0, int(worker(shards(**{f"of{len(asked)}": missing}))["count"][0]), 0.0

        return extract

    def read(self, found: FeatureSet, rows: Rows | None = None) -> list[tuple[bytes, ...]]:
        """Bits of the images' features, or of other rows of the set."""
        rows = rows or found.rows
        patches = FeatureReader(self.store.root, found.fingerprint, found.shards).patches(rows, STRIDES)
        return [tuple(patches[s][i].tobytes() for s in STRIDES) for i in range(len(rows))]

    def shards(self) -> dict[str, tuple[bytes, int]]:
        folder = Path(self.store.path("features", self.spec.fingerprint))
        return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.glob("*.parquet")}


@pytest.fixture
def images(tmp_path: Path, spec: FeatureSpec) -> Images:
    paths = {}
    for i in range(70):
        data = image(i)
        path = tmp_path / "images" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        paths[hashlib.sha256(data).hexdigest()] = str(path)
    return Images(Store(tmp_path / "store"), spec, paths)


def nobody(missing: Sequence[Recipe], size: int) -> Iterator[tuple[int, int, float]]:
    raise AssertionError("nothing is missing, so no Ray is needed")


def test_what_an_older_decoder_refused_is_tried_again(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard of an earlier version remembers two images as unreadable; one of them can be read now."""
    names = list(images.paths)[:5]
    good = {s: np.ones((GRID**2, 8), np.float16) for s in STRIDES}
    statistics = (np.zeros((32, 32), np.uint8), np.zeros(7, np.float32), 0.0)
    row = {"error": None, "features": good, "statistics": statistics, "width": 9, "height": 9}
    refused = row | {"error": "truncated", "features": None, "statistics": None}

    def put(name: str, held: list[str], made: list[dict[str, Any]]) -> None:
        path = images.store.path("features", images.spec.fingerprint, name)
        write_shard(images.store, path, shard_table(held, made, STRIDES))

    monkeypatch.setattr("swag_ray.features.shards.DECODER", "1")
    put("old.parquet", names, [row, refused, row, refused, row])
    monkeypatch.undo()
    asked: list[str] = []

    def again(missing: Sequence[Recipe], size: int) -> Iterator[tuple[int, int, float]]:
        asked.extend(recipe.key for recipe in missing)
        put("new.parquet", asked, [row, refused])
        yield 0, len(missing), 0.0

    found = images.features(again, names)
    assert asked == [names[1], names[3]]
    assert found.errors == {names[3]: "truncated"}
    assert (found.rows.shard_N >= 0).tolist() == [True, True, True, False, True]
    assert images.features(nobody, names[:4]).errors == found.errors, "a refusal of this version stands"


class KillsTheBusy(Progress):
    """kill -9 of the extraction actors once the small shard is there and one is in the middle of the large one."""

    def __init__(self) -> None:
        super().__init__()
        self.killed: list[str] = []

    def advance(self, count: int = 1) -> None:
        for pid, command in descendants(os.getpid()).items() if not self.killed else ():
            if "MapWorker" in command:
                self.killed.append(command)
                kill(pid)


@pytest.mark.ray
def test_same_bits_whoever_extracts_and_only_what_is_missing(
    images: Images, backbone: Backbone, local_ray: None, tmp_path: Path
) -> None:
    names = list(images.paths)
    early, late = names[:66], names[66:]
    twice = [*early, early[0], early[5]]  # equal bytes under two names
    progress = KillsTheBusy()

    first = images.features(images.actors(2), twice, progress)
    assert len(progress.killed) == 2, "two actors, one of them at work"
    assert first.extracted == 66 and len(first.shards) == 2 and not first.errors
    bits_first = images.read(first)
    assert bits_first[-2:] == [bits_first[0], bits_first[5]]
    assert sum(pq.read_table(images.store.path("features", first.fingerprint, s)).num_rows for s in first.shards) == 66
    assert bits_first[:66] == [bits(r) for r in rows(backbone, [image(i) for i in range(66)])], "as in this process"

    kept = images.shards()
    again = images.features(nobody, early)
    assert again.extracted == 0 and images.read(again) == bits_first[:66]
    assert again.key == first.key, "order and repetition of the images are not in the key"

    more = images.features(images.actors(1), late[::-1] + early)
    assert more.extracted == len(late) and more.key != first.key
    assert {name: images.shards()[name] for name in kept} == kept, "old shards are not touched"
    assert len(images.shards()) == len(kept) + 1
    assert images.read(more)[len(late) :] == bits_first[:66]

    other = Images(Store(tmp_path / "other"), images.spec, images.paths)
    worker = ShardExtractor(other.store.root, other.spec)
    order = (late + early)[::-1]
    for name, cut in (("a", order[:29]), ("b", order[29:])):
        done = worker(shards(**{name: other.recipes(cut)}))
        assert done["count"].tolist() == [len(cut)] and done["problem"].tolist() == [""]
    cut_otherwise = other.features(nobody, late[::-1] + early)
    assert other.read(cut_otherwise) == images.read(more), "the cut into shards does not matter"
    assert cut_otherwise.key == more.key


def test_lost_and_damaged_shards_are_extracted_again_alone(images: Images) -> None:
    names = list(images.paths)
    worker = ShardExtractor(images.store.root, images.spec)
    for name, cut in (("a", names[:4]), ("b", names[4:6]), ("c", names[6:9])):
        worker(shards(**{name: images.recipes(cut)}))
    wanted = names[:9]
    before = images.read(images.features(nobody, wanted))
    folder = Path(images.store.path("features", images.spec.fingerprint))
    (folder / "b.parquet").unlink()
    (folder / "c.parquet").write_bytes((folder / "c.parquet").read_bytes()[:-200])
    asked: list[str] = []
    found = images.features(images.here(asked), wanted)
    assert sorted(asked) == sorted(names[4:9]) and found.extracted == 5
    assert images.read(found) == before
    assert images.features(nobody, wanted).extracted == 0


def made_of(images: Images, names: list[str]) -> list[Recipe]:
    """A variant of each that takes a donor, the next, and one that takes none."""
    foreign = [
        Recipe(images.paths[host], host, "foreign_patch", images.paths[donor], donor)
        for host, donor in zip(names, names[1:] + names[:1], strict=True)
    ]
    return foreign + [Recipe(images.paths[host], host, "opacities") for host in names]


def test_files_and_variants_are_extracted_in_one_go_and_once(images: Images) -> None:
    names, asked, calls = list(images.paths)[:5], [], []  # type: ignore[var-annotated]
    variants = made_of(images, names[:3])
    extract = images.here(asked)

    def counted(missing: Sequence[Recipe], size: int) -> Iterator[tuple[int, int, float]]:
        calls.append(len(missing))
        yield from extract(missing, size)

    found = images.features(counted, names, variants=variants)
    assert calls == [11] == [found.extracted] and set(asked) == {*names, *(recipe.key for recipe in variants)}
    assert found.variants is not None and len(found.variants) == 6 and not found.errors
    own, altered = images.read(found), images.read(found, found.variants)
    assert len(set(own + altered)) == 11, "a variant has features of its own"

    again = images.features(nobody, names, variants=variants)
    assert again.extracted == 0 and again.variants is not None
    assert (images.read(again), images.read(again, again.variants)) == (own, altered)
    plain = images.features(nobody, names)
    assert plain.variants is None and plain.key == found.key and images.read(plain) == own
    some = images.features(nobody, names[3:], variants=variants[::-2])
    assert some.variants is not None and images.read(some, some.variants) == altered[::-2]


def test_variants_are_those_of_their_recipe_whoever_extracts(images: Images, backbone: Backbone) -> None:
    names = list(images.paths)[:3]
    variants = made_of(images, names)
    found = images.features(images.here([]), names, variants=variants)
    assert found.variants is not None
    pixels = []
    for recipe in variants:
        files = tuple(Path(path).read_bytes() for path in (recipe.path, recipe.donor) if path)
        pixels.append(decode(partial(recipe.decode, files, images.spec.image_size, images.spec.reading)))
    assert images.read(found, found.variants) == [bits(row) for row in embed(backbone, pixels)]


def test_a_lost_variant_is_made_again_alone_and_one_that_cannot_be_made_has_no_row(images: Images) -> None:
    names, asked = list(images.paths)[:4], []  # type: ignore[var-annotated]
    variants = made_of(images, names)
    images.features(images.here([]), names)
    found = images.features(images.here(asked), names, variants=variants)
    assert set(asked) == {recipe.key for recipe in variants}, "the files are there"
    assert found.variants is not None
    before = images.read(found, found.variants)
    (Path(images.store.path("features", images.spec.fingerprint)) / "of8.parquet").unlink()
    asked.clear()
    mended = images.features(images.here(asked), names, variants=variants)
    assert set(asked) == {recipe.key for recipe in variants} and mended.variants is not None
    assert images.read(mended, mended.variants) == before

    odd = Path(images.paths[names[0]]).with_name("odd.png")
    odd.write_bytes(b"no image")
    broken = Recipe(
        images.paths[names[0]], names[0], "foreign_patch", str(odd), hashlib.sha256(b"no image").hexdigest()
    )
    odd_set = images.features(images.here([]), names, variants=[*variants[:2], broken])
    assert odd_set.variants is not None and (odd_set.variants.shard_N >= 0).tolist() == [True, True, False]
    assert not odd_set.errors, "of the files none is odd"
    assert images.read(odd_set, odd_set.variants.take(np.arange(2))) == before[:2]


def test_bytes_that_are_not_the_listed_ones_are_refused(images: Images) -> None:
    """Kept under the listed digest, they would stand for the image in every later run."""
    gone, changed, *_ = names = list(images.paths)[:3]
    worker = ShardExtractor(images.store.root, images.spec)

    def extracted(sha256: str) -> tuple[str, str]:
        done = worker(shards(a=images.recipes([sha256])))
        return str(done["problem"][0]), str(done["advice"][0])

    Path(images.paths[gone]).unlink()
    problem, _ = extracted(gone)
    assert problem == f"dataset: '{images.paths[gone]}' was listed but cannot be read here (No such file or directory)"
    Path(images.paths[changed]).write_bytes(image(99))
    assert extracted(changed) == (f"dataset: '{images.paths[changed]}' changed after it was listed", "run again")
    assert not images.shards() and extracted(names[2]) == ("", "")


def test_a_gpu_without_room_for_the_backbone_is_one_line(images: Images) -> None:
    """Nothing is written: features that were not made must not look like images that cannot be read."""
    import torch

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 128.00 MiB.")

    worker = ShardExtractor(images.store.root, images.spec)
    worker.backbone.register_forward_pre_hook(full)
    done = worker(shards(a=images.recipes(list(images.paths)[:3])))
    assert done["problem"].tolist() == ["GPU memory: too little for the backbone"]
    assert "cluster.actors" in done["advice"][0] and not images.shards()


def test_a_flipped_bit_in_a_shard_is_noticed_when_it_is_read(images: Images) -> None:
    names = list(images.paths)[:4]
    ShardExtractor(images.store.root, images.spec)(shards(a=images.recipes(names)))
    found = images.features(nobody, names)
    path = Path(images.store.path("features", found.fingerprint, "a.parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"a\.parquet' is damaged"):
        images.read(found)


def test_statistics_come_back_as_they_were(images: Images, backbone: Backbone) -> None:
    names = list(images.paths)[:5]
    ShardExtractor(images.store.root, images.spec)(shards(a=images.recipes(names)))
    found = images.features(nobody, names)
    reader = FeatureReader(images.store.root, found.fingerprint, found.shards)
    read = reader.statistics(found.rows.take(np.array([4, 0])), np.array([10, 20]))
    expected = [rows(backbone, [image(i)])[0] for i in (4, 0)]
    thumbnail, grey, border = zip(*(row["statistics"] for row in expected), strict=True)
    assert np.array_equal(read.thumbnail_NHW, np.stack(thumbnail)) and np.array_equal(read.grey_NQ, np.stack(grey))
    assert np.array_equal(read.border_N, np.float32(border)) and read.size_N2.tolist() == [[48, 48]] * 2
    assert read.file_bytes_N.tolist() == [10, 20]


def test_an_extractor_reads_a_few_files_ahead_and_no_more(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard of 512 films of 9 MB is 4.5 GB."""
    names = list(images.paths)[:40]
    lock, ended = threading.Lock(), 0
    most = {"open": 0}
    opened: list[str] = []
    read = extraction._read_image

    def noted(reader: ImageReader, path: str, sha256: str) -> bytes:
        with lock:
            opened.append(path)
            most["open"] = max(most["open"], len(opened) - ended)
        return read(reader, path, sha256)

    def decoded(read: Callable[[], Decoded]) -> Pixels:
        nonlocal ended
        time.sleep(0.01)  # slower than reading
        with lock:
            ended += 1
        return decode(read)

    monkeypatch.setattr(extraction, "_read_image", noted)
    monkeypatch.setattr(extraction, "decode", decoded)
    worker = ShardExtractor(images.store.root, images.spec)
    worker(shards(a=images.recipes(names)))
    assert len(opened) == 40 and BATCH <= most["open"] <= BATCH + 1


@pytest.mark.parametrize("decoders", [1, 3])
def test_decoding_ahead_changes_no_bit(images: Images, decoders: int, tmp_path: Path) -> None:
    """Nor the order, whoever of the threads is first; what cannot be read stays where it is."""
    odd = tmp_path / "images" / "odd.png"
    odd.write_bytes(b"no image")
    images.paths[hashlib.sha256(b"no image").hexdigest()] = str(odd)
    names = sorted(images.paths)
    tables = []
    for count in (0, decoders):
        store = Store(tmp_path / f"store{count}")
        done = ShardExtractor(store.root, images.spec, count)(shards(a=images.recipes(names)))
        assert done["problem"].tolist() == [""]
        tables.append(pq.read_table(store.path("features", images.spec.fingerprint, "a.parquet")))
    assert tables[0].equals(tables[1]) and tables[0]["error"].null_count == len(names) - 1
