"""How a frame of a file is called where `dataset.frames: all` makes an image of each: `scan.dcm#frame=7`, counted
from 1 as DICOM counts. Nothing else knows this spelling; with any other setting no name is taken apart.

The id of such an image is the first 16 hex digits of the file's SHA-256 and the number, so that the frames of a file
follow each other in a table that is sorted by id, and the file is read once for all of them (`images/image_reader.py`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from swag_ray.errors import InputError
from swag_ray.images.places import Place, locate

ALL = "all"  # the value of `dataset.frames`
NAMED = re.compile(r"(.+)#frame=([1-9][0-9]*)", re.DOTALL)


def frame_name(name: str, number: int) -> str:
    """Returns what a frame, counted from 1, of a file of that name is called."""
    return f"{name}#frame={number}"


def file_and_frame(image: Place, frames: str) -> tuple[Place, int | None]:
    """Returns the file that an image is in, and which frame of it, counted from 1; None: the image is the file.

    Args:
        image: where a listing says that it is.
        frames: `dataset.frames`.
    """
    found = NAMED.fullmatch(image.name) if frames == ALL else None
    return (image, None) if found is None else (image.parent / found[1], int(found[2]))


def file_of(image: str, frames: str) -> str:
    """Returns the path or address of the file that an image is in; arguments as of `file_and_frame`."""
    return str(file_and_frame(locate(image), frames)[0]) if frames == ALL else image


def frame_id(sha256: str, number: int) -> str:
    """Returns the id of a frame of a file with these bytes."""
    return f"{sha256[:16]}-{number:05d}"


def frame_digest(sha256: str, number: int) -> str:
    """Returns what stands for a frame as the SHA-256 of its bytes stands for a file, 64 hex digits."""
    return hashlib.sha256(f"{sha256}, frame {number}".encode()).hexdigest()


def refuse_frame_names(names: Iterable[str], frames: str, called: str) -> None:
    """Refuses files that are called as a frame is.

    Raises:
        InputError: the first of them.
    """
    if frames != ALL:
        return
    for name in names:
        if NAMED.fullmatch(name):
            raise InputError(
                f"{called}: the file name {name!a} is what dataset.frames: all calls a frame of another file",
                "rename the file, or set dataset.frames: middle",
            )
