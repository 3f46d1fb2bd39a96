"""Images per second of `swag-ray score` against the extraction's, which decodes and embeds the same images and writes
shards of them: by one process each, and by two Ray actors each, their start apart. And the memory of both.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from swag_ray.cluster.extraction import ShardExtractor
from swag_ray.cluster.session import Session, ray_session
from swag_ray.cluster.streaming import stream_chunks
from swag_ray.detector.bundle import bundle_files, digest_of
from swag_ray.features.index import SHARD
from swag_ray.features.recipe import Recipe
from swag_ray.features.spec import FeatureSpec
from swag_ray.progress import Progress
from swag_ray.run.run import run_experiment
from swag_ray.score.actors import Shared, work_of
from swag_ray.score.chunks import CHUNK, Work, in_process, score_chunks
from swag_ray.score.scorer import ImageScorer
from tests.benchmarks.extraction import pipeline
from tests.benchmarks.material import config, images
from tests.benchmarks.measure import Bench, Goal, Row

QUICK, FULL = 256, 1_280
FEW, MANY = 2_000, 10_000  # images over which memory is to stay the same
Diary = list[dict[str, float]]


def measure(bench: Bench) -> list[Row]:
    bench.require_xrays()
    bundle = _bundle(bench)
    paths = images(bench, QUICK if bench.quick else FULL)
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    scorer = ImageScorer.load(bundle)
    with _one_thread_each():
        one = [_one_process(bench, scorer, paths, digests) for _ in range(bench.repetitions(5))]
    spec, actors = scorer.detector.spec, []
    with ray_session(cpus=bench.cores) as session:
        for repetition in range(bench.repetitions(3)):
            extracted, _ = pipeline(bench.folder / f"e{repetition}", spec, list(map(str, paths)), digests, session)
            diaries = _on_ray(bench.folder / f"s{repetition}", bundle, paths, session)
            actors.append((len(paths) / _available(diaries), extracted * len(set(digests))))
        far = [] if bench.quick else _on_ray(bench.folder / "memory", bundle, _links(bench, paths), session)
    sample, goal = f"{len(paths)} X-rays", Goal(0.9, at_least=True)
    rows = [
        Row("scoring", name, [ours for ours, _ in found], [other for _, other in found], unit="images/s", kind="rate",
            against=against, goal=goal, note=sample)
        for name, found, against in (
            ("one process", one, "extraction by one process"),
            (f"{bench.cores} Ray actors, start apart", actors, "extraction by as many, start apart"),
        )
    ]  # fmt: skip
    return [*rows, *([] if bench.quick else _memory(scorer, _links(bench, paths), far))]


def _bundle(bench: Bench) -> Path:
    """The detector of the recommended config, with anomalies among the pool, after one round."""
    settings = ("dataset.contamination=0.05", "rounds=1", "controls=[]")
    run_experiment(config(bench, "contrast", *settings), bench.folder / "run")
    return bench.folder / "run" / "detector"


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """torch as in the extraction's actors, whatever number it had."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _one_process(
    bench: Bench, scorer: ImageScorer, paths: Sequence[Path], digests: Sequence[str]
) -> tuple[float, float]:
    """Images per second scored, and extracted by one actor's code in this process."""
    root = bench.folder / "extraction"
    root.mkdir()
    spec: FeatureSpec = scorer.detector.spec
    extractor = ShardExtractor(str(root), spec)
    extractor.backbone = scorer.backbone
    recipes = [asdict(Recipe(str(path), digest)) for path, digest in zip(paths, digests, strict=True)]
    shards = [recipes[i : i + SHARD] for i in range(0, len(recipes), SHARD)]
    batch = {"name": [f"{i}.parquet" for i in range(len(shards))], "recipes": shards}
    started = time.perf_counter()
    assert not any(extractor(batch)["problem"])
    extracted = len(paths) / (time.perf_counter() - started)
    shutil.rmtree(root)
    started = time.perf_counter()
    score_chunks(paths, in_process(scorer, False))
    return len(paths) / (time.perf_counter() - started), extracted


def _on_ray(folder: Path, bundle: Path, paths: Sequence[Path], session: Session) -> list[Diary]:
    """Scores the images; returns of each actor when it was ready and when each of its chunks ended, with its memory."""
    folder.mkdir()
    chunks = [(i, "", paths[i : i + CHUNK]) for i in range(0, len(paths), CHUNK)]
    make, shared = partial(watched, folder), Shared(bundle_files(bundle), False, str(folder), digest_of(bundle))
    _note(driver := folder / "driver.jsonl")
    for _ in stream_chunks(make, shared, chunks, session):
        _note(driver)
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in sorted(folder.glob("*.jsonl"))]


def watched(folder: Path, shared: Shared) -> Work:
    """The work of an actor, which notes when it was ready and when its chunks ended."""
    diary = folder / f"actor-{os.getpid()}.jsonl"
    work = work_of(shared)
    _note(diary)

    def noted(places: Sequence[Any]) -> Any:
        answer = work(places)
        _note(diary)
        return answer

    return noted


def _note(diary: Path) -> None:
    with diary.open("a") as file:
        file.write(json.dumps({"time": time.time(), "mb": own_memory()}) + "\n")


def _available(diaries: list[Diary]) -> float:
    """Seconds that all actors together had from their start on, by actor."""
    *actors, _ = diaries
    end = max(diary[-1]["time"] for diary in actors)
    return sum(end - diary[0]["time"] for diary in actors) / len(actors)


def own_memory() -> float:
    """Resident MB of this process, without pages of files and of the object store."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) / 1024


def _links(bench: Bench, paths: Sequence[Path]) -> list[Path]:
    folder = bench.folder / "links"
    folder.mkdir(exist_ok=True)
    links = [folder / f"{i}{paths[0].suffix}" for i in range(MANY)]
    for i, link in enumerate(links):
        if not link.is_symlink():
            link.symlink_to(paths[i % len(paths)])
    return links


class Watching(Progress):
    """Notes the most memory up to each image."""

    def __init__(self) -> None:
        super().__init__()
        self.most: list[float] = []

    def advance(self, count: int = 1) -> None:
        self.most += [max([own_memory(), *self.most[-1:]])] * count


def _memory(scorer: ImageScorer, links: list[Path], diaries: list[Diary]) -> list[Row]:
    """The most of 10,000 images against that of the first 2,000."""
    watching = Watching()
    score_chunks(links, in_process(scorer, False), progress=watching)
    courses = {"one process": watching.most}
    names = [f"actor {i}" for i in range(1, len(diaries))] + ["driver of the actors"]
    courses |= {name: [note["mb"] for note in diary] for name, diary in zip(names, diaries, strict=True)}
    return [
        Row("scoring", f"memory of {MANY:,} images, {name}", [max(course)], [max(course[: len(course) * FEW // MANY])],
            unit="MB", against=f"the first {FEW:,}", goal=Goal(1.1))
        for name, course in courses.items()
    ]  # fmt: skip
