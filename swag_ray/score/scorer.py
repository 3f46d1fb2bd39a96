"""A detector and its backbone as one thing that scores images, wherever they come from: `ImageScorer`.

The command line, Ray's actors, Python and the service all score by it, so all of them give the same figures.

Shapes: n images of a call, K folds, G x G cells of a heatmap.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.detector.bundle import FILES, check_unchanged, digest_of, load_backbone, load_detector
from swag_ray.detector.detector import Detector
from swag_ray.detector.trusted import Neighbour
from swag_ray.errors import reason_of
from swag_ray.features.extract import Pixels, Row, decode, embed
from swag_ray.images.decode import read_grey
from swag_ray.images.dicom import HEAD, is_dicom
from swag_ray.images.frames import file_and_frame
from swag_ray.images.image_file import image_id
from swag_ray.images.image_reader import ImageReader
from swag_ray.images.places import Place
from swag_ray.record.files import CARD_FILE, DETECTOR_FILE, DETECTOR_FOLDER
from swag_ray.record.remote import local_copy
from swag_ray.system.device import device
from swag_ray.system.threads import keep_to_one_thread, one_thread

if TYPE_CHECKING:
    from swag_ray.features.backbone import Backbone

BUNDLE = (DETECTOR_FILE, *FILES, CARD_FILE)  # what `detector/` holds, or a copy of it
# With more threads torch convolves otherwise and scores differ a little; how many are set is the process's, and so is
# the turn to set them, whichever detector asks.
_one_at_a_time = threading.Lock()
SCORED = "scored"  # the status of an image that has a score; of any other the reason
NO_FIGURES = dict.fromkeys(("score", "p", "score_K", "site_K"))


@dataclass(frozen=True)
class ImageBytes:
    """A file's bytes.

    Attributes:
        place: where the image is; with `dataset.frames: all` it may name a frame of the file.
        data, sha256: of the file.
        error: why it cannot be read, or None.
    """

    place: Place
    data: bytes
    sha256: str
    error: str | None = None

    @classmethod
    def of(cls, place: Place, data: bytes) -> ImageBytes:
        """Returns bytes that are at hand under the name that they shall have."""
        return cls(place, data, hashlib.sha256(data).hexdigest())


@dataclass(frozen=True)
class ScoredImage:
    """What a detector says of an image.

    Attributes:
        path: its place as text.
        id: as a run calls an image of these bytes and this name.
        sha256: of its file.
        status: `scored`, or why it has no score; then score, p, score_K and site_K are None.
        score, p: as of a run's test images.
        score_K, site_K: score and site score by every fold, (K,).
        out_of_domain: why it is unlike anything that the detector was made for, or None.
        seconds: its share of the time that its call took.
        look: thumbnail (32, 32) and the file's width and height, or None; for what is doubtful of many images.
        top: the greatest sample of a 16-bit image, or None.
        heat_GG: its heatmap, where it was asked for (`Detector.heatmaps`).
        nearest: as many of the trusted images as were asked for, the nearest first.
    """

    path: str
    id: str
    sha256: str
    status: str
    score: float | None
    p: float | None
    score_K: NDArray[np.float64] | None
    site_K: NDArray[np.float64] | None
    out_of_domain: str | None
    seconds: float
    look: tuple[NDArray[np.uint8], int, int] | None
    top: int | None
    heat_GG: NDArray[np.float32] | None = None
    nearest: tuple[Neighbour, ...] = ()


@dataclass(frozen=True)
class _Embedded:
    """Images that have been through the backbone.

    Attributes:
        files: of each, what is told of its file.
        rows: of each, as `features.extract` yields them.
        seconds: that this took.
    """

    files: list[dict[str, Any]]
    rows: list[Row]
    seconds: float


class ImageScorer:
    """Scores images in this process; threads may share it.

    Args:
        detector, backbone: of one bundle.
        digest: what names the bundle.
    """

    def __init__(self, detector: Detector, backbone: Backbone, digest: str) -> None:
        self.detector, self.digest = detector, digest
        self.backbone = backbone.to(device())
        self._reader = ImageReader(detector.spec.frames)

    @classmethod
    def load(cls, folder: Path, digest: str | None = None) -> ImageScorer:
        """Returns the scorer of the bundle in a folder.

        Args:
            digest: what names the bundle, where it was looked at before.

        Raises:
            InputError: not a bundle, damaged, or of another format; or a run has put another in its place meanwhile.
        """
        with _one_at_a_time:
            digest = digest or digest_of(folder)
            detector = load_detector(folder)
            scorer = cls(detector, load_backbone(folder, detector.spec), digest)
            check_unchanged(folder, digest)
            return scorer

    @classmethod
    def of_files(cls, files: Mapping[str, bytes], digest: str | None = None) -> ImageScorer:
        """Returns the scorer of a bundle's files, by name, as `detector.bundle.bundle_files` gives them: for a process
        that does not see the bundle's folder. Raises InputError as `load`.
        """
        with tempfile.TemporaryDirectory(prefix="swag-ray-") as folder:
            for name, data in files.items():
                (Path(folder) / name).write_bytes(data)
            return cls.load(Path(folder), digest)

    def read(self, place: Place) -> ImageBytes:
        """Returns the bytes of an image, or why they cannot be read."""
        try:
            data, sha256, _ = self._reader.read_hashed(place)
        except OSError as error:
            return ImageBytes(place, b"", hashlib.sha256().hexdigest(), reason_of(error))
        return ImageBytes(place, data, sha256)

    def score(self, images: Iterable[ImageBytes], *, heat: bool = False, nearest: int = 0) -> list[ScoredImage]:
        """Returns what the detector says of each image, in their order.

        Args:
            images: taken one by one: of an iterator a file is in memory only until it is decoded.
            heat: whether to make heatmaps too.
            nearest: trusted images to tell beside each.

        Raises:
            InputError: what reads DICOM is not installed, or heatmaps or trusted images are asked of an older bundle,
                which has none.
            MemoryError: an image needs more than there is.
        """
        with _one_at_a_time, one_thread("faiss"):  # every detector asks a bank
            return self._judged(self._embedded(images), heat, nearest)

    def score_batches(
        self, batches: Iterable[Iterable[ImageBytes]], *, heat: bool = False
    ) -> Generator[list[ScoredImage]]:
        """Yields what `score` returns for each batch. While the banks are asked about one, by a thread of its own, the
        backbone has the next. Other threads that score wait until all are done, or this is closed.

        Args:
            batches, heat: as for `score`.

        Raises:
            InputError, MemoryError: as above.
        """
        with ExitStack() as stack:
            stack.enter_context(_one_at_a_time)
            stack.enter_context(one_thread("faiss"))
            banks = stack.enter_context(ThreadPoolExecutor(1, initializer=keep_to_one_thread))
            before: Future[list[ScoredImage]] | None = None
            for batch in batches:
                embedded = self._embedded(batch)
                done = before.result() if before is not None else None
                before = banks.submit(self._judged, embedded, heat, 0)
                if done is not None:
                    yield done
            if before is not None:
                yield before.result()

    def _embedded(self, images: Iterable[ImageBytes]) -> _Embedded:
        start = time.perf_counter()
        files: list[dict[str, Any]] = []
        rows = list(embed(self.backbone, self._decoded(images, files)))
        for row, file in zip(rows, files, strict=True):
            row["error"] = file.pop("error") or row["error"]
        return _Embedded(files, rows, time.perf_counter() - start)

    def _judged(self, embedded: _Embedded, heat: bool, nearest: int) -> list[ScoredImage]:
        start, rows = time.perf_counter(), embedded.rows
        found = iter(self._figures([row["features"] for row in rows if row["error"] is None], heat, nearest))
        figures = [next(found) if row["error"] is None else NO_FIGURES for row in rows]
        strange = self.detector.out_of_domain(rows)
        seconds = (embedded.seconds + time.perf_counter() - start) / max(1, len(rows))
        return [
            ScoredImage(
                **file, status=row["error"] or SCORED, out_of_domain=why, seconds=seconds, top=row["top"],
                look=(row["statistics"][0], row["width"], row["height"]) if row["statistics"] else None, **own,
            )
            for file, row, why, own in zip(embedded.files, rows, strange, figures, strict=True)
        ]  # fmt: skip

    def _decoded(self, images: Iterable[ImageBytes], files: list[dict[str, Any]]) -> Iterator[Pixels]:
        """Decodes image by image, and notes in `files` what is told of each one's file."""
        spec = self.detector.spec
        for image in images:
            path = os.fsencode(str(image.place)).decode(errors="replace")  # a name may be of another encoding
            named = {"path": path, "id": id_of(image, spec.frames), "sha256": image.sha256, "error": image.error}
            files.append(named)
            yield decode(partial(read_grey, image.data, spec.image_size, spec.reading.of(image.place)))

    def _figures(
        self, features: list[dict[int, NDArray[np.float16]]], heat: bool, nearest: int
    ) -> list[dict[str, Any]]:
        """Score, p and what else there is of images that can be read."""
        if not features:
            return []
        patches = {stride: np.stack([own[stride] for own in features]) for stride in self.detector.spec.strides}
        score_nK, site_nK = self.detector.scores_and_site(patches)
        p_n = self.detector.p_values(score_nK)
        heat_nGG = self.detector.heatmaps(patches) if heat else [None] * len(features)
        near_n = self.detector.nearest(patches, nearest) if nearest else [()] * len(features)
        return [
            {
                "score": float(score_K.mean()), "p": float(p), "score_K": score_K, "site_K": site_K,
                "heat_GG": heat_GG, "nearest": near,
            }
            for score_K, site_K, p, heat_GG, near in zip(score_nK, site_nK, p_n, heat_nGG, near_n, strict=True)
        ]  # fmt: skip


@contextmanager
def detector_folder(run_dir: str | Path) -> Iterator[Path]:
    """Yields the folder of a run's bundle, or of a copy of it; one on s3:// is copied here meanwhile."""
    with local_copy(run_dir, "score", f"{DETECTOR_FOLDER}/", *BUNDLE) as run:
        yield run / DETECTOR_FOLDER if (run / DETECTOR_FOLDER).is_dir() else run


def detector_digest(run_dir: str | Path) -> str:
    """Returns what names the detector of a run directory or a copied bundle. Raises InputError where there is none."""
    with detector_folder(run_dir) as folder:
        return digest_of(folder)


def id_of(image: ImageBytes, frames: str) -> str:
    """Returns what a run calls an image of these bytes and this name; `frames` as the detector's spec has it."""
    file, number = file_and_frame(image.place, frames)
    name = os.fsencode(file.name).decode(errors="replace")
    return image_id(name, image.sha256, dicom=is_dicom(image.data[:HEAD]), frame=number)
