"""What a replica makes of an image's bytes: the fields of a row of `swag-ray score`, and its heatmap where asked for.

Shapes: K folds.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swag_ray.detector.site import Site
from swag_ray.errors import InputError
from swag_ray.images.decode import MAX_PIXELS
from swag_ray.images.dicom import HEAD, is_dicom
from swag_ray.images.dicom_frames import count_frames
from swag_ray.images.frames import ALL, frame_name
from swag_ray.images.image_error import ImageError
from swag_ray.score.films import overlay_png
from swag_ray.score.scorer import SCORED, ImageBytes, ImageScorer, ScoredImage
from swag_ray.system.threads import keep_to_one_thread

NAME = "image"  # of every image that comes in: what its sender calls it may be a person's name
NEAREST = 3  # trusted images told beside one


@dataclass(frozen=True)
class Wish:
    """What a request asks for beside the score.

    Attributes:
        heatmap: the image under its heatmap.
        nearest: which trusted images are like it.
        frame: which image of a file with several, counted from 1; None: the file is the image.
    """

    heatmap: bool = False
    nearest: bool = False
    frame: int | None = None


@dataclass(frozen=True)
class Answer:
    """What a replica says.

    Attributes:
        status: of HTTP.
        reason: why there is no score, in one line; empty where there is one.
        fields: of the answer, where there is a score.
    """

    status: int
    reason: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


Answering = Callable[[bytes, Wish], Answer]


def answering(files: Mapping[str, bytes], site: Site | None, rate: float) -> Answering:
    """Returns what answers requests, in a process of its own: `answer(data, wish)`.

    Args:
        files: of the bundle, by name.
        site: whose p-values decide what is flagged; None: the trusted images'.
        rate: share of normals to flag.

    Raises:
        InputError: the bundle does not fit what is installed here.
    """
    keep_to_one_thread("faiss")
    scorer = ImageScorer.of_files(files)

    def answer(data: bytes, wish: Wish) -> Answer:
        try:
            return _answer(scorer, site, rate, data, wish)
        except ImageError as error:
            return Answer(422, _line(error))
        except MemoryError:
            return Answer(422, "the image needs more memory than there is")
        except InputError as error:
            return Answer(501, _line(error))

    return answer


def _answer(scorer: ImageScorer, site: Site | None, rate: float, data: bytes, wish: Wish) -> Answer:
    place = _place(scorer, data, wish.frame)
    if isinstance(place, Answer):
        return place
    image = ImageBytes.of(place, data)
    (scored,) = scorer.score([image], heat=wish.heatmap, nearest=NEAREST if wish.nearest else 0)
    if scored.status != SCORED:
        return Answer(422, _line(scored.status))
    fields = _fields(scored, scorer, site, rate)
    if wish.nearest:
        fields["nearest"] = [{"id": near.id, "distance": near.distance} for near in scored.nearest]
    if scored.heat_GG is not None:
        fields["heatmap"] = base64.b64encode(overlay_png(scorer, image, scored.heat_GG)).decode("ascii")
    return Answer(200, fields=fields)


def _place(scorer: ImageScorer, data: bytes, frame: int | None) -> Path | Answer:
    """What the image is called; with `dataset.frames: all`, the frame of the file that was asked for."""
    if scorer.detector.spec.frames != ALL:
        return Path(NAME) if frame is None else Answer(400, "this detector scores files, not frames")
    count = count_frames(io.BytesIO(data), 4 * MAX_PIXELS) if is_dicom(data[:HEAD]) else 1
    if count == 1 and frame in (None, 1):
        return Path(NAME)
    if frame is None or frame > count:
        return Answer(422, f"the file has {count} frames; ask for one of them, such as /score?frame=1")
    return Path(frame_name(NAME, frame))


def _fields(scored: ScoredImage, scorer: ImageScorer, site: Site | None, rate: float) -> dict[str, Any]:
    p = scored.p
    fields: dict[str, Any] = {"id": scored.id, "score": scored.score, "p": p}
    if site is not None:
        assert scored.score_K is not None and scored.site_K is not None
        fields["aligned_p"] = p = float(site.p_values(scorer.detector, scored.score_K[None], scored.site_K[None])[0])
    assert p is not None
    return fields | {
        "above_threshold": bool(p <= rate), "status": scored.status, "out_of_domain": scored.out_of_domain,
        "detector": scorer.digest, "seconds": scored.seconds,
    }  # fmt: skip


def _line(reason: object) -> str:
    return " ".join(str(reason).split())
