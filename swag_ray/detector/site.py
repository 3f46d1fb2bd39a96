"""SITE.json: where the scores of one place lie. `swag-ray calibrate` makes it, `swag-ray score --site` reads it.

An unlabelled batch tells where *site scores* lie (`core.fusion.travels`), and `aligned` p-values are theirs. Known
normals tell where any score lies, so theirs are p-values of the score itself. Whether later batches are like the place
is asked of site scores in both cases.

Shapes: n seeds, m known normals, T images, K folds.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.alignment import Alignment, aligned_p
from swag_ray.core.array_checks import Floats
from swag_ray.core.local_normals import Place, place_p, place_rates, rank_p, rank_rates
from swag_ray.detector.detector import Detector
from swag_ray.errors import InputError, reason_of
from swag_ray.record.files import write_json

Kind = Literal["aligned", "normals"]


@dataclass(frozen=True)
class Site:
    """A threshold's place.

    Attributes:
        kind: `aligned` by an unlabelled batch, `normals` by images known to be normal.
        detector: digest of the detector that scored them; no other may use this.
        n: images.
        date: when, ISO 8601.
        alignment: of the batch's site scores (`aligned`).
        low, high: interval of its shift (`alignment.spread`), in units of the score.
        place, site_place: where scores and site scores of the known normals lie (`normals`).
        known_m: their scores, mean over the folds, where they are enough for ranks (`normals`).
    """

    kind: Kind
    detector: str
    n: int
    date: str
    alignment: Alignment | None = None
    low: float | None = None
    high: float | None = None
    place: Place | None = None
    site_place: Place | None = None
    known_m: tuple[float, ...] = ()

    def p_values(self, detector: Detector, score_TK: NDArray[np.float64], site_TK: NDArray[np.float64]) -> Floats:
        """Returns the place's p-values (T,) of images with these scores and site scores."""
        if not len(score_TK):
            return np.empty(0)
        if self.alignment is not None:
            return aligned_p(self.alignment, detector.site_seed_s, detector.seed_fold, site_TK)
        if self.known_m:
            return rank_p(np.array(self.known_m), score_TK)
        assert self.place is not None
        return place_p(self.place, detector.seed_s, detector.seed_fold, score_TK)

    def rates(self, detector: Detector, rate: float) -> tuple[float, float] | None:
        """Returns between which shares of the place's normals a nominal rate flags, in 90 of 100 cases; None where
        that is not known (`aligned`).
        """
        if self.known_m:
            return rank_rates(len(self.known_m), rate)
        return None if self.place is None else place_rates(self.place, detector.seed_s, rate)

    def reference(self, detector: Detector) -> Floats:
        """Returns site scores (n,) as the place's normals have them: those of the seeds, moved to it."""
        seed, place = detector.site_seed_s, self.site_place
        if place is None:
            assert self.alignment is not None
            return seed + self.alignment.shift
        return np.asarray(place.mean + place.sd * (seed - seed.mean()) / seed.std(ddof=1))

    @property
    def known(self) -> int:
        """How many normals the reference was found from."""
        return self.n if self.alignment is None else round(self.n * (1 - self.alignment.contamination))


def save_site(site: Site, path: Path) -> None:
    """Writes SITE.json, whole or not at all."""
    record: dict[str, Any] = {"kind": site.kind, "detector": site.detector, "n": site.n, "date": site.date}
    if site.alignment is not None:
        record |= {"a": site.alignment.shift, "interval": [site.low, site.high]}
        record |= {"contamination": site.alignment.contamination, "residual": site.alignment.residual}
    if site.place is not None and site.site_place is not None:
        record |= asdict(site.place) | {"site_score": asdict(site.site_place)}
    if site.known_m:
        record["scores"] = list(site.known_m)
    write_json(path, record)


def load_site(path: Path, detector_digest: str) -> Site:
    """Reads SITE.json.

    Raises:
        InputError: it cannot be read, or was made with another detector.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        detector, n, date = str(record["detector"]), int(record["n"]), str(record["date"])
        if record["kind"] == "aligned":
            low, high = map(float, record["interval"])
            fitted = Alignment(*(float(record[name]) for name in ("a", "contamination", "residual")))
            site = Site("aligned", detector, n, date, alignment=fitted, low=low, high=high)
        else:
            site = Site(
                "normals", detector, n, date, place=_place(record), site_place=_place(record["site_score"]),
                known_m=tuple(map(float, record.get("scores", ()))),
            )  # fmt: skip
    except OSError as error:
        raise InputError(f"--site: cannot read '{path}' ({reason_of(error)})") from error
    except (ValueError, TypeError, LookupError) as error:
        raise InputError(f"--site: '{path}' is no site", "make one with swag-ray calibrate") from error
    if site.detector != detector_digest:
        raise InputError(
            f"--site: '{path}' was made with another detector ({site.detector}, not {detector_digest})",
            "calibrate again with this one",
        )
    return site


def _place(record: dict[str, Any]) -> Place:
    return Place(**{name: float(record[name]) for name in Place.__dataclass_fields__})
