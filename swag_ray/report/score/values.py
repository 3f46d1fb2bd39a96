"""What the page of scored images shows, as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FLAGGED, UNFLAGGED, STRANGE, UNSCORED = "flagged", "not flagged", "out of domain", "not scored"
KINDS = (FLAGGED, UNFLAGGED, STRANGE, UNSCORED)


@dataclass(frozen=True)
class ImageRow:
    """What the result's table says of an image.

    Attributes:
        rank: 1 for the most suspicious; 0 where it has no score.
        status: why it has no score, where it has none.
        out_of_domain: why it is unlike anything that the detector was made for, or None.
        aligned_p: by the site's threshold; None without a site.
        further: the columns of the table that listed it, by name.
    """

    rank: int
    path: str
    id: str
    status: str
    score: float | None
    p: float | None
    aligned_p: float | None
    flagged: bool
    out_of_domain: str | None
    further: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The one of `KINDS` that it is: what is out of domain is that, whatever it scores."""
        if self.score is None:
            return UNSCORED
        if self.out_of_domain is not None:
            return STRANGE
        return FLAGGED if self.flagged else UNFLAGGED


@dataclass(frozen=True)
class TrustedImage:
    """A trusted image beside one that is like it.

    Attributes:
        name: what it is called.
        path: where it is; None where that is not told.
        distance: in sd of the trusted images.
        picture_HW: of it, small; None where it may not or cannot be shown.
    """

    name: str
    path: str | None
    distance: float
    picture_HW: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Film:
    """An image with its pictures.

    Attributes:
        row: what is said of it.
        picture_HW: of it; None where it cannot be read any more.
        heat_GG: its heatmap, or None.
        nearest: the trusted images most like it.
        note: why there is no picture.
    """

    row: ImageRow
    picture_HW: NDArray[np.uint8] | None = None
    heat_GG: NDArray[np.float32] | None = None
    nearest: tuple[TrustedImage, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class ScorePage:
    """A page.

    Attributes:
        detector, digest: the run's name, and what names its bundle.
        date: when the images were scored.
        rate: false-positive rate of a flag.
        p: what decides on it: `p`, or with a site `aligned p`.
        counts: images by `KINDS`.
        flagged: images above the threshold, also those out of domain.
        meaning: what the threshold means for these images, a sentence.
        doubtful: whether it is a warning.
        warnings: what is doubtful of them, a line each.
        scale: ends of the heatmaps' colours, sd of the trusted images' patches, the same for all films; None without
            heatmaps.
        trusted: whether trusted images stand beside the films.
        usual_distance: how far a trusted image lies from its own nearest, or None.
        missing: what the page lacks, and why, a sentence each.
        films: the most suspicious, in order; taken one by one, so that memory stays flat.
        rows: those behind them, in order.
        unscored: those without a score.
        unlisted: images that are on neither list, there being so many.
    """

    detector: str
    digest: str
    date: str
    rate: float
    p: str
    counts: Mapping[str, int]
    flagged: int
    meaning: str
    doubtful: bool
    warnings: tuple[str, ...]
    scale: tuple[float, float] | None
    trusted: bool
    usual_distance: float | None
    missing: tuple[str, ...]
    films: Iterable[Film]
    rows: Iterable[ImageRow] = ()
    unscored: Iterable[ImageRow] = ()
    unlisted: int = 0
