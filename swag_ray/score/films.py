"""What a person looks at: images under their heatmaps, and the page of the most suspicious.

Shapes: N images, H x W pixels, G x G cells of a heatmap.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import chain, islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from swag_ray.detector.detector import Detector
from swag_ray.detector.heatmap import HeatScale
from swag_ray.errors import InputError
from swag_ray.images.decode import picture_within
from swag_ray.images.frames import file_and_frame
from swag_ray.images.image_error import ImageError
from swag_ray.images.places import Place, RemotePath, locate
from swag_ray.progress import Progress
from swag_ray.report.page.overlay import heat_overlay
from swag_ray.report.score.values import FLAGGED, STRANGE, UNFLAGGED, UNSCORED, Film, ImageRow, ScorePage, TrustedImage
from swag_ray.score.rows import ScoredRows
from swag_ray.score.scorer import SCORED, ImageBytes, ImageScorer, ScoredImage, id_of
from swag_ray.score.table import further_columns, ranking
from swag_ray.score.words import Told

LARGEST = 1024  # pixels a side of a film under its heatmap
LONGEST = 200  # bytes of a file's name, of the 255 that there are
# Of the page: 200 films of 768 pixels a side and their neighbours take some 20 MB; 5,000 rows strain no browser.
SHOWN, PIXELS, SMALL, NEAREST = 200, 768, 160, 3
LISTED = 5000
AT_A_TIME = 16  # films that are scored anew together
KEPT = 256  # trusted images of which the small pictures are in memory: many films have the same


def overlay_name(id: str, sha256: str) -> str:
    """Returns what the file of an image's overlay is called."""
    name = id if len(os.fsencode(id)) <= LONGEST else sha256[:16]
    return f"{name}.png"


def grey_picture(scorer: ImageScorer, image: ImageBytes, most: int) -> NDArray[np.uint8]:
    """Returns the grey image (H, W) of at most `most` pixels a side. Raises ImageError where it cannot be read."""
    return picture_within(image.data, most, scorer.detector.spec.reading.of(image.place))


def overlay_png(scorer: ImageScorer, image: ImageBytes, heat_GG: NDArray[np.float32]) -> bytes:
    """Returns the image under its heatmap as a PNG file. Raises ImageError where it cannot be read any more."""
    scale = scorer.detector.heat
    assert isinstance(scale, HeatScale)  # else there is no heatmap
    grey_HW = grey_picture(scorer, image, LARGEST).astype(np.float32)
    pixels = heat_overlay(grey_HW, heat_GG, scale.low, scale.high)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def score_page(
    scorer: ImageScorer,
    places: Sequence[Place],
    scored: ScoredRows,
    table: pa.Table,
    told: Told,
    progress: Progress,
) -> ScorePage:
    """Returns the page of these images; its films are read again, one after the other, when they are taken.

    Args:
        places: of the images.
        scored: their rows.
        table: the result (`result_table`), in their order.
        told: of all of them.
        progress: is told of films.
    """
    detector, index_N = scorer.detector, np.asarray(ranking(table))
    index_n, unscored_N = np.split(index_N, [int(scored.scored_N.sum())])
    shown_n, listed_n = index_n[:SHOWN], index_n[SHOWN:][:LISTED]
    progress.expect(len(shown_n))
    places_n, sha256_n = [places[i] for i in shown_n], scored.table["sha256"].take(shown_n).to_pylist()
    servers = frozenset(place.server for place in places if isinstance(place, RemotePath))
    films = _films(scorer, zip(_rows(table, shown_n), places_n, sha256_n, strict=True), servers, progress)
    first = list(islice(films, AT_A_TIME))
    return ScorePage(
        detector=detector.name, digest=scorer.digest, date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        rate=told.rate, p="aligned p" if "aligned_p" in table.column_names else "p",
        counts=_counts(table), flagged=int(pc.sum(table["above_threshold"]).as_py() or 0),
        meaning=told.meaning, doubtful=told.doubtful,
        warnings=tuple(line.removeprefix("score: ") for line in told.warnings),
        scale=_scale(detector, first), trusted=detector.trusted is not None,
        usual_distance=detector.trusted.usual_distance if detector.trusted is not None else None,
        missing=tuple(_missing(detector, len(index_n))), films=chain(first, films),
        rows=_rows(table, listed_n, SHOWN), unscored=_rows(table, unscored_N[:LISTED]),
        unlisted=len(index_N) - len(shown_n) - len(listed_n) - len(unscored_N[:LISTED]),
    )  # fmt: skip


def _scale(detector: Detector, first: Sequence[Film]) -> tuple[float, float] | None:
    """The ends of the colours: the bundle's, or a higher upper one where the most suspicious would be of one colour."""
    if detector.heat is None:
        return None
    maps = [film.heat_GG for film in first if film.heat_GG is not None]
    top = float(np.percentile(np.stack(maps), 99)) if maps else 0.0
    return detector.heat.low, max(detector.heat.high, top)


def _counts(table: pa.Table) -> dict[str, int]:
    """Images by kind (`ImageRow.kind`)."""
    scored_N, flagged_N = pc.is_valid(table["score"]), pc.fill_null(table["above_threshold"], False)
    strange_N = pc.and_(scored_N, pc.is_valid(table["out_of_domain"]))
    counts = {UNSCORED: pc.invert(scored_N), STRANGE: strange_N, FLAGGED: pc.and_not(flagged_N, strange_N)}
    found = {kind: pc.sum(of_N).as_py() or 0 for kind, of_N in counts.items()}
    return found | {UNFLAGGED: len(table) - sum(found.values())}


def _missing(detector: Detector, scored: int) -> Iterator[str]:
    """What the page lacks, and why."""
    if scored > SHOWN:
        yield f"The {SHOWN} most suspicious images have pictures; the others are listed below."
    if detector.heat is None:
        yield "No heatmaps: this detector keeps no scale for them. Run again, and it will."
    if detector.trusted is None:
        yield "No trusted images beside these: this detector keeps none. Run again, and it will."
    elif detector.trusted.path_n is None:
        yield "Trusted images are named by id, without a picture: their run was anonymous."
    elif not detector.trusted.pictures:
        yield "Trusted images are named, without a picture: their run kept its images to itself (report.images: false)."


def _rows(table: pa.Table, index_n: NDArray[np.int64], before: int = 0) -> Iterator[ImageRow]:
    """The table's rows of these numbers, of which the first has rank `before + 1`."""
    further = further_columns(table)
    for start in range(0, len(index_n), 256):
        for n, row in enumerate(table.take(pa.array(index_n[start : start + 256])).to_pylist(), before + start + 1):
            yield ImageRow(
                rank=n, path=row["path"], id=row["id"], status=row["status"], score=row["score"], p=row["p"],
                aligned_p=row.get("aligned_p"), flagged=bool(row["above_threshold"]),
                out_of_domain=row["out_of_domain"],
                further={name: str(row[name]) for name in further if row[name] is not None},
            )  # fmt: skip


def _films(
    scorer: ImageScorer, waiting: Iterator[tuple[ImageRow, Place, str]], servers: frozenset[str], progress: Progress
) -> Iterator[Film]:
    """Films with their pictures. What they score stands in their rows: here heatmaps and trusted images are found."""
    detector = scorer.detector
    nearest = NEAREST if detector.trusted is not None else 0
    pictures = lru_cache(KEPT)(partial(_trusted_picture, scorer, servers))
    while few := list(islice(waiting, AT_A_TIME)):
        images = [scorer.read(place) for _, place, _ in few]
        scored = scorer.score(images, heat=detector.heat is not None, nearest=nearest)
        for (row, _, digest), image, found in zip(few, images, scored, strict=True):
            yield _film(scorer, row, image, found, digest, pictures)
        progress.advance(len(few))


def _film(
    scorer: ImageScorer,
    row: ImageRow,
    image: ImageBytes,
    found: ScoredImage,
    sha256: str,
    pictures: Callable[[str, str | None], NDArray[np.uint8] | None],
) -> Film:
    if image.error is None and image.sha256 != sha256:
        return Film(row, note="its file has changed since it was scored")
    if found.status != SCORED:
        return Film(row, note=f"its file cannot be read any more ({found.status})")
    nearest = tuple(TrustedImage(n.id, n.path, n.distance, pictures(n.id, n.path)) for n in found.nearest)
    try:
        return Film(row, grey_picture(scorer, image, PIXELS), found.heat_GG, nearest)
    except ImageError as error:  # another decoder draws than scores
        return Film(row, None, None, nearest, f"its file cannot be drawn ({error})")


def _trusted_picture(
    scorer: ImageScorer, servers: frozenset[str], id: str, path: str | None
) -> NDArray[np.uint8] | None:
    """A trusted image, small; None where it may not be shown, is out of reach, or another lies there by now.

    Args:
        servers: that the scored images lie on. A bundle may come from anywhere: it is not to say whom we ask.
    """
    trusted = scorer.detector.trusted
    if path is None or trusted is None or not trusted.pictures:
        return None
    try:
        place = locate(path)
        file = file_and_frame(place, scorer.detector.spec.frames)[0]
        if place.server not in servers if isinstance(place, RemotePath) else not file.is_file():
            return None
        image = scorer.read(place)
        same = image.error is None and id_of(image, scorer.detector.spec.frames) == id
        return grey_picture(scorer, image, SMALL) if same else None
    except (ImageError, InputError):
        return None
