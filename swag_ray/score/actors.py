"""Scores chunks on Ray: as many at a time as a cluster, or this machine, has cores or GPUs for.

An actor is handed the bundle as bytes, so that no other machine need see it, and scores a chunk as this process would:
the figures are the same to the last bit.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swag_ray.detector.bundle import bundle_files
from swag_ray.errors import InputError
from swag_ray.images.frames import file_and_frame
from swag_ray.score.chunks import Chunk, Run, Scored, Work, chunk_work
from swag_ray.score.scorer import ImageScorer

if TYPE_CHECKING:
    from swag_ray.cluster.session import Session

# More images than these are scored by a Ray of our own. It starts in 8 s and ends in one; on two cores, where it saves
# some 10 ms an image, 900 images pay for that, and with more cores fewer do.
MANY = 2000


@dataclass(frozen=True)
class Shared:
    """What every actor is made of.

    Attributes:
        bundle: its files, by name.
        heatmaps: whether to draw them.
        folder: where paths of images begin that are not absolute.
        digest: of the detector that is asked for: the bundle may have been replaced since.
    """

    bundle: dict[str, bytes]
    heatmaps: bool
    folder: str
    digest: str


def on_ray(bundle: Path, digest: str, heatmaps: bool, frames: str, address: str | None, here: Run) -> Run:
    """Returns what scores chunks by Ray actors. Without an address that is a Ray of our own, for many images alone and
    where it starts and has room for more than one process does.

    Args:
        bundle: folder of the detector.
        digest: what names it.
        heatmaps: whether to draw them.
        frames: `dataset.frames` of the detector.
        address: of a Ray cluster.
        here: scores chunks in this process.
    """

    def run(chunks: Sequence[Chunk]) -> Generator[Scored]:
        if address is None and sum(len(chunk.places) for chunk in chunks) <= MANY:
            yield from here(chunks)
            return
        with _session(address) if chunks else nullcontext() as session:
            if session is not None:
                shared = Shared(bundle_files(bundle), heatmaps, os.getcwd(), digest)
                yield from _stream(shared, chunks, frames, session)
                return
        yield from here(chunks)

    return run


@contextmanager
def _session(address: str | None) -> Iterator[Session | None]:
    """The Ray to score on; None where nobody asked for one and one of our own would gain nothing."""
    from swag_ray.cluster.session import ray_session

    if address is None and (os.cpu_count() or 1) < 2:
        yield None
        return
    entering = True
    try:
        with ray_session(address=address) as session:
            entering = False
            alone = session.extractors < 2 and "GPU" not in session.extractor_bundle
            yield None if address is None and alone else session
    except InputError:
        if address is not None or not entering:
            raise
        entering = False
        yield None


def _stream(shared: Shared, chunks: Sequence[Chunk], frames: str, session: Session) -> Generator[Scored]:
    from swag_ray.cluster.streaming import stream_chunks
    from swag_ray.cluster.visibility import check_readable

    few = {0, len(chunks) // 2, len(chunks) - 1}
    files = [file_and_frame(chunks[i].places[0], frames)[0] for i in sorted(few)]
    check_readable([os.path.abspath(file) if isinstance(file, Path) else str(file) for file in files])
    items = [(chunk.number, chunk.work, chunk.places) for chunk in chunks]
    with closing(stream_chunks(work_of, shared, items, session)) as results:
        for number, (rows, pictures) in results:
            yield number, rows, pictures


def work_of(shared: Shared) -> Work:
    """Returns the work of an actor."""
    with suppress(OSError):  # where images have absolute paths the folder need not be there
        os.chdir(shared.folder)
    return chunk_work(ImageScorer.of_files(shared.bundle, shared.digest), shared.heatmaps)
