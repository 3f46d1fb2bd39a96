"""`swag-ray calibrate`: a place's images in, SITE.json out: the threshold that holds there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from swag_ray.core.local_normals import FEWEST, FOR_RANKS, place_of, rank_rates
from swag_ray.core.shift import FEWEST as FEWEST_UNKNOWN
from swag_ray.core.shift import shift_of
from swag_ray.detector.detector import Detector
from swag_ray.detector.site import Site, save_site
from swag_ray.errors import InputError, reason_of
from swag_ray.progress import Progress
from swag_ray.score.outputs import check_place, check_written
from swag_ray.score.rows import ScoredRows
from swag_ray.score.score import score_images
from swag_ray.wording import plural


@dataclass(frozen=True)
class Calibration:
    """What `calibrate` found.

    Attributes:
        site: the place.
        scored: the images.
        text: what it says of them.
    """

    site: Site
    scored: ScoredRows
    text: str


def calibrate_to_file(
    run_dir: str | Path, images: Sequence[str | Path], out: Path, *, normals: bool, progress: Progress | None = None
) -> Calibration:
    """Finds where a place's normals score and writes SITE.json.

    Args:
        normals: whether the images are known to be normal; otherwise they are whatever comes in.

    Raises:
        InputError: the images cannot tell, with what would; then nothing is written.
    """
    if out.suffix.lower() != ".json":
        raise InputError(f"--out: '{out}' must end in .json")
    check_place("--out", out)
    check_written([("--out", out)], None, images)
    scored = score_images("calibrate", run_dir, images, progress)
    found = _by_normals(scored) if normals else _by_batch(scored)
    try:
        save_site(found.site, out)
    except OSError as error:
        raise InputError(f"--out: cannot write '{out}' ({reason_of(error)})", "choose another place") from error
    return found


def _by_batch(scored: ScoredRows) -> Calibration:
    detector, site_TK = scored.detector, scored.site_nK
    shift = shift_of(detector.site_seed_s, site_TK)
    if shift is None:
        raise InputError(
            f"calibrate: {plural(len(site_TK), 'image')} cannot tell how the place scores, {FEWEST_UNKNOWN} or more "
            "can, 100 better",
            _would_help(detector),
        )
    if shift.doubt is not None:
        raise InputError(
            f"calibrate: these images cannot tell how the place scores: {shift.doubt}", _would_help(detector)
        )
    site = Site(
        "aligned", scored.digest, len(site_TK), _now(), alignment=shift.alignment,
        low=shift.spread.low, high=shift.spread.high,
    )  # fmt: skip
    text = (
        f"{plural(len(site_TK), 'image')} score {shift.text} off the trusted images, some "
        f"{shift.alignment.contamination:.0%} of them abnormal"
    )
    return Calibration(site, scored, text)


def _by_normals(scored: ScoredRows) -> Calibration:
    detector, score_mK = scored.detector, scored.score_nK
    count = len(score_mK)
    if count < FEWEST:
        raise InputError(
            f"calibrate: {plural(count, 'known normal')} cannot tell how the place scores, {FEWEST} or more can",
            _would_help(detector),
        )
    if np.ptp(score_mK.mean(axis=1)) == 0:
        raise InputError("calibrate: all known normals have the same score", "are they one image?")
    by_ranks = count >= FOR_RANKS
    site = Site(
        "normals", scored.digest, count, _now(), place=place_of(score_mK), site_place=place_of(scored.site_nK),
        known_m=tuple(map(float, score_mK.mean(axis=1))) if by_ranks else (),
    )  # fmt: skip
    how = "ranks among them" if by_ranks else "the trusted images' spread at their mean and sd"
    rates = site.rates(detector, detector.rate)
    assert rates is not None
    text = (
        f"{plural(count, 'known normal')}, by {how}: a nominal {detector.rate:.0%} flags {rates[0]:.1%} to "
        f"{rates[1]:.1%} of the place's normals, in 90 of 100 cases"
    )
    return Calibration(site, scored, text)


def _would_help(detector: Detector) -> str:
    """What known normals would give."""
    held = ", ".join(
        f"{count} hold a nominal {detector.rate:.0%} between {low:.1%} and {high:.1%}"
        for count in (100, 200)
        for low, high in [rank_rates(count, detector.rate)]
    )
    return f"give more, or images known to be normal with --normals: {held}; {FEWEST} are the fewest"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
