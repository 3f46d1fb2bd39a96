"""The drift log that `score --drift-log` appends to, and `swag-ray drift`, which reads its course.

A line of JSON per call of `score`: time, images, the shift with its interval where there were enough, and how many
images have which site score, in the seeds' sd, so that small batches can be taken together later. It names no image.

Shapes: T images, K folds.
"""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.array_checks import Floats
from swag_ray.core.drift import BLOCK, Block, course
from swag_ray.core.shift import shift_of
from swag_ray.detector.bundle import load_detector
from swag_ray.detector.detector import Detector
from swag_ray.detector.site import load_site
from swag_ray.errors import InputError, reason_of, remedy_of
from swag_ray.score.scorer import detector_digest, detector_folder

STEP = 0.02  # seeds' sd between two places of a score
MOST = 5000  # such steps from the seeds' mean that are told apart
SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class Course:
    """What a drift log shows.

    Attributes:
        blocks: of about a hundred images each, with the time that the last of each came.
        images, waiting: in the log; those at its end that fill no block yet.
        sd: of the reference's scores.
        block: images that fill one.
    """

    blocks: list[tuple[datetime, Block]]
    images: int
    waiting: int
    sd: float
    block: int = BLOCK

    @property
    def alarms(self) -> list[tuple[datetime, Block]]:
        """The blocks whose shift chance does not explain."""
        return [(time, block) for time, block in self.blocks if block.alarm]

    def plain(self) -> dict[str, Any]:
        """Returns the course as JSON holds it; shifts in the reference's sd."""
        blocks = [
            {
                "until": time.isoformat(), "images": block.images, "shift": block.alignment.shift / self.sd,
                "limit": block.limit * block.sd / self.sd, "contamination": block.alignment.contamination,
                "alarm": block.alarm,
            }
            for time, block in self.blocks
        ]  # fmt: skip
        return {"blocks": blocks, "images": self.images, "waiting": self.waiting, "alarms": len(self.alarms)}


def append_to_log(
    path: Path, digest: str, detector: Detector, site_TK: NDArray[np.float64], call: str | None = None
) -> None:
    """Appends a line: where the site scores of these images lie.

    Args:
        call: names the call of `score`: one that was killed after its line was written adds no second when it goes on.

    Raises:
        InputError: the file cannot be written.
    """
    seed_n = detector.site_seed_s
    mean, sd = seed_n.mean(), seed_n.std(ddof=1)
    # One fold's score an image, as a seed has, from each fold in turn.
    one_T = site_TK[np.arange(len(site_TK)), np.arange(len(site_TK)) % site_TK.shape[1]]
    place_T = np.clip(np.rint((one_T - mean) / sd / STEP), -MOST, MOST).astype(int)
    record: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"), "detector": digest, "n": len(site_TK)
    }  # fmt: skip
    if call is not None:
        record["call"] = call
    if (shift := shift_of(seed_n, site_TK)) is not None:
        record |= {"a": shift.alignment.shift, "interval": [shift.spread.low, shift.spread.high]}
        record |= {"contamination": shift.alignment.contamination, "residual": shift.alignment.residual}
    record["scores"] = {str(place): count for place, count in sorted(Counter(place_T.tolist()).items())}
    try:
        if call is not None and path.exists() and json.dumps(call) in path.read_text(encoding="utf-8"):
            return
        _append(path, (json.dumps(record) + "\n").encode())
    except OSError as error:
        raise InputError(f"--drift-log: cannot write '{path}' ({reason_of(error)})", remedy_of(error)) from error


def _append(path: Path, line: bytes) -> None:
    """Writes a line at the end of a file, or nothing: behind half a line no log could be read. Raises OSError."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        written = os.write(file, line)  # in one, so that two calls at a time do not mix their lines
        if written < len(line):
            end = os.lseek(file, 0, os.SEEK_CUR)
            if os.fstat(file).st_size == end:  # else another call has written behind it
                os.ftruncate(file, end - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(file)


def check_log(path: Path, digest: str) -> None:
    """Refuses, before anything is scored, a file that cannot be a log of this detector.

    Raises:
        InputError: no folder, one that is read-only, no such log, or another detector's.
    """
    if not path.parent.is_dir():
        raise InputError(f"--drift-log: no folder '{path.parent}'", "make it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"--drift-log: cannot write '{path}'", "choose another place")
    if path.exists():
        for _ in _lines("--drift-log", path, digest):
            return


def read_course(run_dir: str | Path, log: Path, site: Path | None) -> Course:
    """Reads a log and looks for shifts against the seeds, or against a site.

    Raises:
        InputError: no detector, no log, or those of another detector.
    """
    digest = detector_digest(run_dir)
    with detector_folder(run_dir) as folder:
        detector = load_detector(folder)
    reference_n, known = detector.site_seed_s, None
    mean, sd = reference_n.mean(), reference_n.std(ddof=1)
    if site is not None:
        place = load_site(site, digest)
        reference_n, known = place.reference(detector), place.known
    lines = sorted(_lines("drift", log, digest), key=lambda line: line[0])
    first = lines[0][0] if lines else datetime.now(UTC)

    def arrivals() -> Iterator[tuple[float, Floats]]:
        for time, score_T in lines:
            yield (time - first).total_seconds() / SECONDS_A_DAY, mean + sd * score_T

    blocks = list(course(reference_n, arrivals(), known))
    images = sum(len(score_T) for _, score_T in lines)
    times = {(time - first).total_seconds() / SECONDS_A_DAY: time for time, _ in lines}
    return Course(
        [(times[block.day], block) for block in blocks], images, images - sum(block.images for block in blocks),
        float(reference_n.std(ddof=1)),
    )  # fmt: skip


def _lines(command: str, path: Path, digest: str) -> Iterator[tuple[datetime, Floats]]:
    """Time and scores, in the seeds' sd, of each call."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{command}: cannot read '{path}' ({reason_of(error)})") from error
    for number, line in enumerate(text.splitlines(), 1):
        try:
            record = json.loads(line)
            time, found = datetime.fromisoformat(record["time"]), str(record["detector"])
            places = [STEP * int(place) for place, count in record["scores"].items() for _ in range(int(count))]
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise InputError(
                f"{command}: line {number} of '{path}' is none of a drift log",
                "give a file that score --drift-log wrote",
            ) from error
        if found != digest:
            raise InputError(
                f"{command}: line {number} of '{path}' is of another detector ({found}, not {digest})",
                "keep a log per detector",
            )
        yield time, np.array(places)
