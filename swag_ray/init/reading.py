"""How DICOM are to be read that would not be as a config says by default: several frames, and CT without a window."""

from __future__ import annotations

from collections.abc import Sequence

from swag_ray.init.patients import Film, looked_into
from swag_ray.init.plan import Guess
from swag_ray.wording import plural


def guess_reading(films: Sequence[Film]) -> list[Guess]:
    """Returns the guesses for `dataset.range` and `dataset.frames`; none where the defaults read all that was opened.

    Raises:
        InputError: as `look_at_dicoms`.
    """
    found = looked_into(films)
    files = f"{plural(found.files, 'DICOM')} looked into"
    guesses = []
    if found.without_window:
        reason = f"{found.without_window} of {files} are CT without a window: each such image spans its own range"
        guesses.append(Guess("dataset.range", "percentile", reason))
    if found.several:
        reason = f"{found.several} of {files} have several frames: all instead of middle makes an image of each"
        guesses.append(Guess("dataset.frames", "middle", reason))
    return guesses
