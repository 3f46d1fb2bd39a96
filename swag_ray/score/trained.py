"""`swag_ray.load_detector`: a trained detector in Python, for notebooks and programs.

    from swag_ray import load_detector

    detector = load_detector("runs/pneumonia")
    detector.score(["new/film1.png", "new/film2.png"])  # a DataFrame, as `swag-ray score` writes it
    detector.decision_function(images)  # arrays of grey levels, as scikit-learn has it: below 0 is an anomaly

Shapes: n images, H x W pixels, G x G cells of a heatmap.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from swag_ray.detector.site import load_site
from swag_ray.detector.trusted import Neighbour
from swag_ray.errors import InputError
from swag_ray.images.places import locate
from swag_ray.score.chunks import CHUNK
from swag_ray.score.inputs import find_inputs
from swag_ray.score.rows import ROWS, ScoredRows, rows_of
from swag_ray.score.scorer import SCORED, ImageBytes, ImageScorer, ScoredImage, detector_folder
from swag_ray.score.table import result_table

if TYPE_CHECKING:
    import pandas as pd

Array: TypeAlias = NDArray[Any]
Images: TypeAlias = "str | Path | Array | Sequence[str | Path | Array]"
NEAREST = 3


def load_detector(run: str | Path) -> TrainedDetector:
    """Returns the detector of a run directory, of a copy of its detector/ folder, or of either on s3://.

    Raises:
        InputError: no detector, damaged, or of another version's format.
    """
    with detector_folder(run) as folder:
        return TrainedDetector(ImageScorer.load(folder))


class TrainedDetector:
    """Scores images as `swag-ray score` does, in this process; threads may share it.

    Images are paths of files (every format that a run reads), s3:// addresses, or arrays of grey levels (H, W): uint8,
    or uint16 where the detector's images have 16 bits. An array scores as the PNG file of it would.

    Attributes:
        name: of the run.
        digest: what names the detector; two that score alike have the same.
        rate: share of normal images to flag.
        offset_: what `decision_function` takes off `score_samples`.
    """

    def __init__(self, scorer: ImageScorer) -> None:
        detector = scorer.detector
        self._scorer = scorer
        self.name, self.digest, self.rate = detector.name, scorer.digest, detector.rate
        self.offset_ = -_threshold(detector.seed_s, detector.rate)

    def score(self, images: Images, *, rate: float | None = None, site: str | Path | None = None) -> pd.DataFrame:
        """Returns a row an image, in the order given, with the columns of `swag-ray score`.

        path, id, score, p, aligned_p (with a site alone), above_threshold, status (`scored`, or why there is no
        score), out_of_domain, detector, seconds; then the columns of a table that lists the images. A path may be a
        folder or such a table, as on the command line; an array is called `array 0` and so on.

        Args:
            rate: share of normal images to flag; None: the run's.
            site: SITE.json of `swag-ray calibrate`.

        Raises:
            InputError: a path that does not exist, a wrong array, a table beside arrays, or another detector's site.
        """
        given, detector = _listed(images), self._scorer.detector
        if rate is not None and not 0 < rate < 1:
            raise InputError(f"rate: {rate:g} is no share of normals", "give one between 0 and 1, such as 0.05")
        place = load_site(Path(site), self.digest) if site is not None else None
        further = None
        if any(isinstance(image, np.ndarray) for image in given):
            scored = self._scored(self._read(self._beside_arrays(given)))
        else:
            inputs = find_inputs("score", [str(image) for image in given], detector.spec.frames, once=False)
            scored = self._scored(map(self._scorer.read, inputs.places))
            further = inputs.further
        rows = self._rows(scored)
        aligned = place.p_values(detector, rows.score_nK, rows.site_nK) if place is not None else None
        table = result_table(rows, detector.rate if rate is None else rate, aligned, further)
        return table.to_pandas()

    def score_samples(self, X: Images) -> NDArray[np.float64]:
        """Returns the opposite of each image's score, (n,): the lower, the more abnormal, as scikit-learn has it.

        Raises:
            InputError: an image cannot be read; which, and why.
        """
        scored = self._scored(self._read(enumerate(_listed(X))))
        for image in scored:
            if image.score is None:
                raise InputError(f"score_samples: '{image.path}' has no score ({image.status})", "leave it out")
        return -np.array([image.score for image in scored], dtype=np.float64)

    def decision_function(self, X: Images) -> NDArray[np.float64]:
        """Returns `score_samples` less `offset_`, (n,): below 0 where an image scores higher than all but the share
        `rate` of the trusted images. `score` flags by p-values, fold by fold; between the folds' thresholds the two may
        differ.

        Raises:
            InputError: as `score_samples`.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Images) -> NDArray[np.int64]:
        """Returns -1 for an anomaly and 1 for any other image, (n,), by the sign of `decision_function`.

        Raises:
            InputError: as `score_samples`.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def heatmap(self, image: str | Path | Array) -> NDArray[np.float32]:
        """Returns the heatmap of an image, (G, G): bank and heads together, in sd of the trusted images' patches.

        Raises:
            InputError: the image cannot be read, or the detector was saved without the scale of heatmaps.
        """
        heat_GG = self._one("heatmap", image, heat=True).heat_GG
        assert heat_GG is not None
        return heat_GG

    def nearest(self, image: str | Path | Array, count: int = NEAREST) -> tuple[Neighbour, ...]:
        """Returns the trusted images that an image is nearest to, the nearest first: id, path (None in an anonymous
        run's detector) and distance.

        Raises:
            InputError: the image cannot be read, or the detector was saved without its trusted images.
        """
        return self._one("nearest", image, nearest=count).nearest

    def _one(self, called: str, image: str | Path | Array, **asked: Any) -> ScoredImage:
        (scored,) = self._scorer.score(self._read(enumerate([image])), **asked)
        if scored.status != SCORED:
            raise InputError(f"{called}: '{scored.path}' cannot be read ({scored.status})")
        return scored

    def _beside_arrays(self, given: Sequence[Any]) -> list[tuple[int, Any]]:
        """The arrays, and the places of the images that the paths among them name, with their numbers in the list."""
        images: list[tuple[int, Any]] = []
        for number, one in enumerate(given):
            if isinstance(one, np.ndarray):
                images.append((number, one))
                continue
            inputs = find_inputs("score", [str(one)], self._scorer.detector.spec.frames, once=False)
            if inputs.further is not None:
                raise InputError(f"score: the table '{one}' is given beside arrays", "score it by itself")
            images += [(number, place) for place in inputs.places]
        return images

    def _read(self, images: Iterable[tuple[int, Any]]) -> Iterable[ImageBytes]:
        for number, image in images:
            if isinstance(image, np.ndarray):
                yield ImageBytes.of(Path(f"array {number}"), _png(image))
            else:
                yield self._scorer.read(locate(image) if isinstance(image, str | Path) else image)

    def _scored(self, images: Iterable[ImageBytes]) -> list[ScoredImage]:
        waiting, found = iter(images), list[ScoredImage]()
        while chunk := self._scorer.score(islice(waiting, CHUNK)):
            found += chunk
        return found

    def _rows(self, scored: Sequence[ScoredImage]) -> ScoredRows:
        return ScoredRows(self._scorer.detector, self.digest, pa.Table.from_batches([rows_of(scored)], ROWS), {})


def _listed(images: Images) -> list[Any]:
    """The images one by one: a stack of arrays (n, H, W) is many."""
    if isinstance(images, str | Path) or (isinstance(images, np.ndarray) and images.ndim == 2):
        return [images]
    return list(images)


def _png(image: Array) -> bytes:
    """A PNG file of an array of grey levels."""
    from PIL import Image

    if image.ndim != 2 or not image.size or image.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"array: {image.dtype} of shape {image.shape}", "give grey levels (H, W) as uint8, or uint16 of 16 bits"
        )
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _threshold(seed_s: NDArray[np.float64], rate: float) -> float:
    """The score above which an image is an anomaly: p <= rate against the scores of the seeds of all folds; the highest
    of them where they are too few for a p as low as the rate.
    """
    ranked = np.sort(seed_s)[::-1]
    flagged = int(np.count_nonzero(np.arange(1, len(ranked) + 1) / (len(ranked) + 1) <= rate))
    return float(ranked[max(0, flagged - 1)])
