"""Images in chunks through a scorer: in this process, or many at a time on Ray. What is scored is kept as it comes.

Chunks are cut by position alone: which process scores one, after how many kills, changes no figure.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa

from swag_ray.errors import InputError, reason_of, remedy_of
from swag_ray.features.extract import ahead
from swag_ray.images.image_error import ImageError
from swag_ray.images.places import Place
from swag_ray.progress import Progress
from swag_ray.score.journal import Journal, digest_of_files
from swag_ray.score.rows import ROWS, rows_of
from swag_ray.score.scorer import SCORED, ImageBytes, ImageScorer, ScoredImage
from swag_ray.system.allocator import keep_freed_memory, trim_freed_memory
from swag_ray.system.device import shortage
from swag_ray.system.files import make_folders, whole_file

CHUNK = 64  # images that are scored at a time
TRIMMED_EVERY = 16  # chunks
READERS, AHEAD = 2, 8  # threads that read files while others are scored; files that they are ahead

Pictures: TypeAlias = dict[str, bytes]  # of overlays: file name -> PNG
Work = Callable[[Sequence[Place]], tuple[pa.RecordBatch, Pictures]]


@dataclass(frozen=True)
class Chunk:
    """Images that are scored together.

    Attributes:
        number: its position among the chunks.
        places: of its images.
    """

    number: int
    places: Sequence[Place]

    @property
    def work(self) -> str:
        """What is done with them, for people."""
        return f"scoring ({len(self.places)} images, '{self.places[0]}' to '{self.places[-1]}')"


Scored: TypeAlias = tuple[int, pa.RecordBatch, Pictures]  # a chunk's number, rows and overlays
Run = Callable[[Sequence[Chunk]], Generator[Scored]]  # the chunks to score -> what came of each, in any order


def chunk_work(scorer: ImageScorer, heatmaps: bool) -> Work:
    """Returns what scores the images of a chunk, and draws their overlays where those are asked for."""
    threads = ThreadPoolExecutor(READERS)

    def work(places: Sequence[Place]) -> tuple[pa.RecordBatch, Pictures]:
        with closing(ahead(threads, scorer.read, places, AHEAD)) as images:
            scored = scorer.score(images, heat=heatmaps)
        return rows_of(scored), _overlays(scorer, places, scored)

    return work


def in_process(scorer: ImageScorer, heatmaps: bool) -> Run:
    """Returns what scores chunks in this process: files are read ahead, and two chunks are under way. Where memory is
    too little it raises InputError, as an actor does.
    """

    def run(chunks: Sequence[Chunk]) -> Generator[Scored]:
        keep_freed_memory()
        places = (place for chunk in chunks for place in chunk.places)
        begun = list(chunks[:1])

        def batches(images: Iterator[ImageBytes]) -> Iterator[Iterator[ImageBytes]]:
            for chunk in chunks:
                begun.append(chunk)
                yield islice(images, len(chunk.places))

        with ThreadPoolExecutor(READERS) as threads, closing(ahead(threads, scorer.read, places, AHEAD)) as images:
            try:
                with closing(scorer.score_batches(batches(images), heat=heatmaps)) as done:
                    for chunk, scored in zip(chunks, done, strict=True):
                        yield chunk.number, rows_of(scored), _overlays(scorer, chunk.places, scored)
            except (MemoryError, RuntimeError) as error:
                raise shortage(error, begun[-1].work) from error

    return run


def _overlays(scorer: ImageScorer, places: Sequence[Place], scored: Sequence[ScoredImage]) -> Pictures:
    """PNGs of those that have a heatmap."""
    pictures: Pictures = {}
    if all(image.heat_GG is None for image in scored):
        return pictures
    from swag_ray.score.films import overlay_name, overlay_png

    for place, image in zip(places, scored, strict=True):
        if image.status == SCORED and image.heat_GG is not None:
            with suppress(ImageError):  # it has changed since it was scored
                pictures[overlay_name(image.id, image.sha256)] = overlay_png(scorer, scorer.read(place), image.heat_GG)
    return pictures


def score_chunks(
    places: Sequence[Place],
    run: Run,
    *,
    journal: Journal | None = None,
    frames: str = "refuse",
    heatmaps: Path | None = None,
    progress: Progress | None = None,
) -> pa.Table:
    """Returns the rows of all images, in their order.

    Args:
        places: of the images.
        run: scores chunks.
        journal: holds rows of an earlier call, and keeps those of this one; None keeps nothing.
        frames: `dataset.frames` of the detector.
        heatmaps: folder for the overlays; those of a chunk are there before its rows are kept.
        progress: is told of images.

    Raises:
        InputError: journal or folder cannot be written.
    """
    progress = progress or Progress()
    chunks = [Chunk(i // CHUNK, places[i : i + CHUNK]) for i in range(0, len(places), CHUNK)]
    files = {c.number: digest_of_files(c.places, frames) for c in chunks} if journal is not None else {}
    rows: dict[int, pa.RecordBatch] = {}
    if journal is not None:
        for chunk in chunks:
            known = journal.rows(chunk.number, files[chunk.number])
            if known is not None and (heatmaps is None or _drawn(known, heatmaps)):
                rows[chunk.number] = known
    left = [chunk for chunk in chunks if chunk.number not in rows]
    progress.expect(sum(len(chunk.places) for chunk in left))
    with closing(run(left)) as scored:  # what it has started ends with it
        for number, found, pictures in scored:
            if heatmaps is not None:
                _write_pictures(heatmaps, pictures)
            if journal is not None:
                journal.add(number, files[number], found)
            rows[number] = found
            progress.advance(found.num_rows)
            if len(rows) % TRIMMED_EVERY == 0:  # the rows that stay would else hold what was freed around them
                trim_freed_memory()
    return pa.Table.from_batches([rows[chunk.number] for chunk in chunks], ROWS)


def _drawn(rows: pa.RecordBatch, folder: Path) -> bool:
    """Whether the overlays of these rows are in a folder."""
    from swag_ray.score.films import overlay_name

    names = map(overlay_name, rows["id"].to_pylist(), rows["sha256"].to_pylist())
    return all((folder / name).is_file() for name in names)


def _write_pictures(folder: Path, pictures: Pictures) -> None:
    try:
        make_folders(folder)
        for name, data in pictures.items():
            with whole_file(folder / name) as draft:
                draft.write_bytes(data)
    except OSError as error:
        raise InputError(f"--heatmaps: cannot write to '{folder}' ({reason_of(error)})", remedy_of(error)) from error
