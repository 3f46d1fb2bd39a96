"""JPEG files, read by libjpeg-turbo with its warnings heard.

Where bytes are missing libjpeg only warns and fills the rest with grey; PIL and torchvision do not pass the warning on.
`simplejpeg` does, and gives the very pixels that torchvision gives (tests/images/test_jpeg.py), faster.

Shapes: H x W pixels.
"""

from __future__ import annotations

import io
import re
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from swag_ray.errors import reason_of
from swag_ray.images.image_error import ImageError

END = b"\xff\xd9"
NO_END = "Premature end of JPEG file"
LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
SCAN, FRAMES = b"\xff\xda", (0xC0, 0xC1, 0xC2, 0xC3)  # markers: of a scan; of what lists the components
LAST_COEFFICIENT = 63
PADDING = b"\xff\x00" * 8  # bits that are no code of any table


class UnusualJpeg(Exception):
    """A JPEG that `decode_jpeg` does not take: four colours, or an odd sampling of them."""


def decode_jpeg(data: bytes) -> NDArray[np.uint8]:
    """Decodes the grey levels of a grey or colour JPEG, as stored, not turned: (H, W).

    A file that lacks only its end marker is read, and so are a header of a later revision and padding before the end.

    Raises:
        ImageError: pixels are missing or damaged.
        UnusualJpeg: for `decode_unusual`.
        MemoryError: there is not enough of it here, which says nothing about the file.
    """
    said = _complaint(data, "GRAY")
    if isinstance(said, np.ndarray):
        return said
    if said == NO_END:
        said = _complaint(data + END, "GRAY")
        if isinstance(said, np.ndarray) and not _has_all_scans(data):
            raise ImageError("truncated JPEG")
    if isinstance(said, np.ndarray):
        return said
    if "ubsampling" in said or "olorspace" in said or "olor conversion" in said:
        raise UnusualJpeg
    if not _is_harmless(said, data):
        raise ImageError(_reason(said))
    import simplejpeg

    try:
        return simplejpeg.decode_jpeg(data, "GRAY", strict=False)[:, :, 0]
    except ValueError as error:
        raise ImageError(_reason(str(error))) from None


def decode_unusual(data: bytes) -> NDArray[np.uint8]:
    """Decodes any JPEG to the grey levels that torchvision makes of it, upright: (H, W).

    Raises:
        ImageError: pixels are missing or damaged; not all is found in a progressive file of unevenly sampled colours.
        MemoryError: as `decode_jpeg`.
    """
    import torch
    from torchvision.io import ImageReadMode, decode_image

    said = _complaint(data, "CMYK")  # it takes four colours of one sampling, and only judges here
    if isinstance(said, str) and not _is_harmless(said, data):
        if "ubsampling" not in said and said != NO_END:
            raise ImageError(_reason(said))
        data = _whole(data)
    raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)  # a copy: frombuffer wants a writable buffer
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torchvision 0.29 recommends torchcodec, per image
            grey_1HW = decode_image(raw, mode=ImageReadMode.GRAY, apply_exif_orientation=True)
    except RuntimeError as error:
        if "memory" in str(error):
            raise MemoryError(str(error)) from None
        raise ImageError(_reason(reason_of(error))) from None
    grey_HW: NDArray[np.uint8] = grey_1HW[0].numpy()
    return grey_HW


def _whole(data: bytes) -> bytes:
    """The file with its end marker, if PIL, which waits for missing bytes instead of making them up, gets to the last
    pixel. The marker would end the wait; a little padding lets a decoder look ahead.
    """
    end = data.rfind(END)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            padded = (data if end < 0 else data[:end]) + PADDING
            with Image.open(io.BytesIO(padded), formats=("JPEG",)) as image:
                if "progressive" not in image.info:
                    image.load()
                elif end < 0:  # of these PIL, too, takes what scans there are
                    raise ImageError("truncated JPEG")
        except (ImageError, MemoryError):
            raise
        except Exception as error:
            raise ImageError(_reason(f"premature end ({reason_of(error)})")) from None
    return data if end >= 0 else data + END


def _complaint(data: bytes, colours: str) -> NDArray[np.uint8] | str:
    """The grey levels, or the first thing that libjpeg says."""
    import simplejpeg

    try:
        return simplejpeg.decode_jpeg(data, colours, strict=True)[:, :, 0]
    except (ValueError, RuntimeError) as error:
        said = str(error)
        if "memory" in said.lower():
            raise MemoryError(said) from None
        return said


def _is_harmless(said: str, data: bytes) -> bool:
    """Whether a warning leaves every pixel right."""
    if said.startswith("Warning: unknown JFIF revision") or "Adobe color transform" in said:
        return True
    left_over = LEFT_OVER.search(said)
    if left_over is None:
        return False
    end = data.rfind(END)
    # Damage inside the data leaves part of it unread; what a camera pads with is one byte, repeated.
    return len(set(data[max(0, end - int(left_over[1])) : end])) <= 1


def _reason(said: str) -> str:
    if "premature end" in said.lower():
        return "truncated JPEG"
    return f"damaged JPEG ({said.removeprefix('Corrupt JPEG data: ')})"


def bits_of_jpeg(data: bytes) -> int | None:
    """Returns the bits of a sample that the header of a JPEG names; None where there is no such header."""
    try:
        return data[_frame(data) + 4] if data.startswith(b"\xff\xd8") else None
    except IndexError:
        return None


def _frame(data: bytes) -> int:
    """Where the marker is that lists precision, size and components. Raises IndexError where none is."""
    place = 2
    while data[place + 1] not in FRAMES:
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return place


def _has_all_scans(data: bytes) -> bool:
    """Whether no scan is missing from the end of a JPEG without end marker: libjpeg takes what scans there are."""
    frame = _frame(data)
    components = set(data[frame + 10 : frame + 10 + 3 * data[frame + 9] : 3])
    place = data.find(SCAN, frame)
    exact: set[int] = set()  # components whose last coefficient came with its last bit
    while place >= 0:
        count = data[place + 4]
        _, last, bits = data[place + 5 + 2 * count : place + 8 + 2 * count]
        if last == LAST_COEFFICIENT and bits & 0x0F == 0:
            exact |= set(data[place + 5 : place + 5 + 2 * count : 2])
        place = data.find(SCAN, place + 2)
    return components <= exact
