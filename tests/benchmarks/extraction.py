"""The Ray Data pipeline's images per second against the bare loop's, start-up apart."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from swag_ray.cluster import extraction
from swag_ray.cluster.extraction import CountedExtractor, ShardExtractor
from swag_ray.cluster.session import Session, ray_session
from swag_ray.doctor.requirements import CHANNELS
from swag_ray.experiment.source import feature_spec
from swag_ray.features.extract import Pixels, decode
from swag_ray.features.index import LARGE_SHARD, SHARD, feature_set
from swag_ray.features.recipe import Recipe
from swag_ray.features.spec import FeatureSpec
from swag_ray.images.decode import Decoded, read_grey
from swag_ray.progress import Progress
from swag_ray.store.store import Store
from tests.benchmarks.bare_loop import USUAL_BATCH, BareLoop
from tests.benchmarks.material import config, images
from tests.benchmarks.measure import Bench, Goal, Row

QUICK, FULL = 320, 1_280
Decode = Callable[[Callable[[], Decoded]], Pixels]


class Watched(CountedExtractor):
    """The pipeline's own actor, which also notes when it was ready and when its calls ended, beside the store."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.diary = Path(self.store.base) / f"diary-{os.getpid()}.jsonl"
        self._note()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        answer = super().__call__(batch)
        self._note()
        return answer

    def _note(self) -> None:
        with self.diary.open("a") as file:
            file.write(json.dumps(time.time()) + "\n")


def measure(bench: Bench) -> list[Row]:
    paths = [str(path) for path in images(bench, QUICK if bench.quick else FULL)]
    digests = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths]
    spec = feature_spec(config(bench, "contrast"))
    distinct = len(set(digests))
    ours, bare, start_up = [], [], []
    with BareLoop(bench.cores, spec.image_size, USUAL_BATCH) as loop:
        some = paths[: len(paths) // 4]
        loop.seconds(some[:64])
        usual = len(some) / loop.seconds(some)
    with BareLoop(bench.cores, spec.image_size) as loop:
        loop.seconds(paths[:64])  # the first batch allocates
        started = time.perf_counter()
        with ray_session(cpus=bench.cores) as session:
            ray_start = time.perf_counter() - started
            for repetition in range(bench.repetitions(3)):
                bare.append(len(paths) / loop.seconds(paths))
                rate, ready = pipeline(bench.folder / str(repetition), spec, paths, digests, session)
                ours.append(rate * distinct)
                start_up.append(ready)
    sample = f"{distinct} X-rays, {bench.cores} processes"
    return [
        Row("extraction", "pipeline, start-up apart", ours, bare, unit="images/s", kind="rate",
            against="bare loop, one process a core", goal=Goal(0.95, at_least=True), note=sample),
        Row("extraction", f"the bare loop with batches of {USUAL_BATCH}", [usual], unit="images/s"),
        Row("extraction", "apart: start of Ray (once)", [ray_start]),
        Row("extraction", "apart: until the backbone actors are ready", start_up, [loop.start_up],
            against="start of the bare loop's processes"),
        *_feed(bench, spec, paths, digests),
    ]  # fmt: skip


def _feed(bench: Bench, spec: FeatureSpec, paths: list[str], digests: list[str]) -> list[Row]:
    """What a GPU actor is fed with, as if its backbone took no time: an actor whose backbone is `Free`, and threads
    that decode. As many as there are cores, which its own thread shares with them; and as many as a node of 16 cores
    has, each of which waits as long as a film of a few megapixels takes.
    """
    import torch

    torch.set_num_threads(1)
    count = min(len(paths), LARGE_SHARD)
    waited = decode(partial(read_grey, Path(paths[0]).read_bytes(), spec.image_size))

    def wait(read: Callable[[], Decoded]) -> Pixels:
        time.sleep(0.02)
        return dict(waited[0]), waited[1]

    rows = []
    for name, threads, work, goal in (
        ("threads that decode, a core each", bench.cores, decode, None),
        ("16 decoders that wait 20 ms", 16, wait, Goal(0.9, at_least=True)),
    ):
        ours, own = _fed(bench, spec, list(zip(paths, digests, strict=True))[:count], threads, work)
        rows.append(
            Row("extraction", f"feed of a GPU actor, backbone made free: {name}", ours, own, unit="images/s",
                kind="rate", against="its decoding threads alone", goal=goal, note=f"{count} images a call")
        )  # fmt: skip
    return rows


def _fed(
    bench: Bench, spec: FeatureSpec, images: list[tuple[str, str]], threads: int, work: Decode
) -> tuple[list[float], list[float]]:
    """Images per second of the actor, and of its decoding threads alone."""
    root = bench.folder / f"feed-{threads}"
    root.mkdir()
    extractor = ShardExtractor(str(root), spec, decoders=threads)
    extractor.backbone = free_backbone(spec)
    shards = [images[i : i + SHARD] for i in range(0, len(images), SHARD)]
    ours, own = [], []
    plain = extraction.decode
    extraction.decode = work  # type: ignore[assignment]
    try:
        for repetition in range(bench.repetitions(7)):
            with ThreadPoolExecutor(threads) as pool:
                started = time.perf_counter()
                deque(pool.map(lambda i: work(partial(read_grey, Path(i[0]).read_bytes(), spec.image_size)), images), 0)
                own.append(len(images) / (time.perf_counter() - started))
            batch = {
                "name": [f"{repetition}-{number}.parquet" for number in range(len(shards))],
                "recipes": [[asdict(Recipe(path, sha256)) for path, sha256 in shard] for shard in shards],
            }
            started = time.perf_counter()
            problems = extractor(batch)["problem"]
            ours.append(len(images) / (time.perf_counter() - started))
            assert not any(problems), problems
    finally:
        extraction.decode = plain
        shutil.rmtree(root)
    return ours, own


def free_backbone(spec: FeatureSpec) -> Any:
    """A backbone that takes no time: the same zeros for every batch, of the shapes that the real one gives."""
    import torch

    class Free(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.zero = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> dict[int, torch.Tensor]:
            shape = (len(x), spec.grid**2)
            return {stride: torch.zeros(*shape, CHANNELS[spec.backbone][stride]).half() for stride in spec.strides}

    return Free()


def pipeline(
    root: Path, spec: FeatureSpec, paths: list[str], digests: list[str], session: Session
) -> tuple[float, float]:
    """Images per second and image, from when the actors were ready to the last shard; seconds until they were ready.

    Actors start one after the other: the time that counts is what all of them together had from their start on.
    """
    root.mkdir()
    plain, started = CountedExtractor, time.time()
    extraction.CountedExtractor = Watched  # type: ignore[misc]
    try:
        store = Store(root)
        extract = partial(extraction.extract_shards, store, spec, session=session)
        feature_set(store, spec, paths, digests, extract, Progress())
    finally:
        extraction.CountedExtractor = plain  # type: ignore[misc]
    diaries = [[float(line) for line in file.read_text().split()] for file in root.glob("diary-*.jsonl")]
    ready, end = [diary[0] for diary in diaries], max(diary[-1] for diary in diaries)
    shutil.rmtree(root)
    available = sum(end - at for at in ready) / len(ready)
    return 1 / available, sum(ready) / len(ready) - started
