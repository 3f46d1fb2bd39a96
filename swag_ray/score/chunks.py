"""Images in chunks through a scorer: in this process, or many at a time on Ray. What is scored is kept as it comes.

Chunks are cut by position alone: which process scores one, after how many kills, changes no figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
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
from swag_ray.score.scorer import SCORED, ImageScorer
from swag_ray.system.files import make_folders, whole_file

CHUNK = 64  # images that are scored at a time
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


# (the chunks to score) -> each one's number, rows and overlays, in any order
Run = Callable[[Sequence[Chunk]], Iterable[tuple[int, pa.RecordBatch, Pictures]]]


def chunk_work(scorer: ImageScorer, heatmaps: bool) -> Work:
    """Returns what scores the images of a chunk, and draws their overlays where those are asked for."""
    threads = ThreadPoolExecutor(READERS)

    def work(places: Sequence[Place]) -> tuple[pa.RecordBatch, Pictures]:
        with closing(ahead(threads, scorer.read, places, AHEAD)) as images:
            scored = scorer.score(images, heat=heatmaps)
        pictures: Pictures = {}
        if heatmaps:
            from swag_ray.score.films import overlay_name, overlay_png

            for place, image in zip(places, scored, strict=True):
                if image.status == SCORED and image.heat_GG is not None:
                    try:
                        pictures[overlay_name(image)] = overlay_png(scorer, scorer.read(place), image.heat_GG)
                    except ImageError:  # it has changed since it was scored
                        continue
        return rows_of(scored), pictures

    return work


def in_process(work: Work) -> Run:
    """Returns what scores chunks one after the other in this process."""

    def run(chunks: Sequence[Chunk]) -> Iterator[tuple[int, pa.RecordBatch, Pictures]]:
        for chunk in chunks:
            yield chunk.number, *work(chunk.places)

    return run


def score_chunks(
    places: Sequence[Place],
    run: Run,
    *,
    journal: Journal | None = None,
    heatmaps: Path | None = None,
    progress: Progress | None = None,
) -> pa.Table:
    """Returns the rows of all images, in their order.

    Args:
        places: of the images.
        run: scores chunks.
        journal: holds rows of an earlier call, and keeps those of this one; None keeps nothing.
        heatmaps: folder for the overlays; those of a chunk are there before its rows are kept.
        progress: is told of images.

    Raises:
        InputError: journal or folder cannot be written.
    """
    progress = progress or Progress()
    chunks = [Chunk(i // CHUNK, places[i : i + CHUNK]) for i in range(0, len(places), CHUNK)]
    files = {c.number: digest_of_files(c.places) for c in chunks} if journal is not None else {}
    rows: dict[int, pa.RecordBatch] = {}
    if journal is not None:
        for chunk in chunks:
            if (known := journal.rows(chunk.number, files[chunk.number])) is not None:
                rows[chunk.number] = known
    left = [chunk for chunk in chunks if chunk.number not in rows]
    progress.expect(sum(len(chunk.places) for chunk in left))
    for number, found, pictures in run(left) if left else ():
        if heatmaps is not None:
            _write_pictures(heatmaps, pictures)
        if journal is not None:
            journal.add(number, files[number], found)
        rows[number] = found
        progress.advance(found.num_rows)
    return pa.Table.from_batches([rows[chunk.number] for chunk in chunks], ROWS)


def _write_pictures(folder: Path, pictures: Pictures) -> None:
    try:
        make_folders(folder)
        for name, data in pictures.items():
            with whole_file(folder / name) as draft:
                draft.write_bytes(data)
    except OSError as error:
        raise InputError(f"--heatmaps: cannot write to '{folder}' ({reason_of(error)})", remedy_of(error)) from error
