"""JPEG files, read by libjpeg-turbo with its warnings heard.

Where bytes are missing libjpeg only warns and fills the rest with grey; PIL and torchvision do not pass the warning on.
`simplejpeg` does, and gives the very pixels that torchvision gives (tests/images/test_jpeg.py), faster.

Shapes: H x W pixels.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from swag_ray.errors import reason_of
from swag_ray.images.image_error import ImageError, is_short_of_memory

END = b"\xff\xd9"
NO_END = "Premature end of JPEG file"
LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
UNKNOWN_HEADER = re.compile("unknown (JFIF revision|Adobe color transform)", re.IGNORECASE)
# Any number of fill bytes, then what is no data, no restart and no other marker that stands alone.
MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)
ENDS, SCAN, JFIF, ADOBE = 0xD9, 0xDA, 0xE0, 0xEE
FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)  # they list the components
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
COEFFICIENTS = 64
PADDING = b"\xff\x00" * 8  # bits that are no code of any table
MENDS = 3  # the header, the padding, the end: what one file may need


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
    found, _ = _judged(data, "GRAY")
    if isinstance(found, np.ndarray):
        return found
    if "ubsampling" in found or "olorspace" in found or "olor conversion" in found:
        raise UnusualJpeg
    raise ImageError(_reason(found))


def decode_unusual(data: bytes) -> NDArray[np.uint8]:
    """Decodes any JPEG to the grey levels that torchvision makes of it, upright: (H, W).

    Raises:
        ImageError: pixels are missing or damaged; not all is found in a progressive file of unevenly sampled colours.
        MemoryError: as `decode_jpeg`.
    """
    import torch
    from torchvision.io import ImageReadMode, decode_image

    found, data = _judged(data, "CMYK")  # it takes four colours of one sampling, and only judges here
    if isinstance(found, str):
        if "ubsampling" not in found:
            raise ImageError(_reason(found))
        if not _has_all_scans(data):
            raise ImageError("truncated JPEG")
        data = _whole(data)
    raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)  # a copy: frombuffer wants a writable buffer
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torchvision 0.29 recommends torchcodec, per image
            grey_1HW = decode_image(raw, mode=ImageReadMode.GRAY, apply_exif_orientation=True)
    except RuntimeError as error:
        if is_short_of_memory(error):
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
        except ImageError:
            raise
        except Exception as error:
            if is_short_of_memory(error):
                raise MemoryError(str(error)) from None
            raise ImageError(_reason(f"premature end ({reason_of(error)})")) from None
    return data if end >= 0 else data + END


def _complaint(data: bytes, colours: str) -> NDArray[np.uint8] | str:
    """The grey levels, or the first thing that libjpeg says."""
    import simplejpeg

    try:
        return simplejpeg.decode_jpeg(data, colours, strict=True)[:, :, 0]
    except (ValueError, RuntimeError) as error:
        if is_short_of_memory(error):
            raise MemoryError(str(error)) from None
        return str(error)


def _judged(data: bytes, colours: str) -> tuple[NDArray[np.uint8] | str, bytes]:
    """The grey levels or what is wrong, and the file without what leaves every pixel right.

    libjpeg gives only its first warning: a harmless one would hide damage behind it, so its cause is removed and the
    rest judged again.
    """
    found = _complaint(data, colours)
    for _ in range(MENDS):
        mended = _mended(data, found) if isinstance(found, str) else None
        if mended is None:
            break
        data = mended
        found = _complaint(data, colours)
    if not isinstance(found, str) and not _has_all_scans(data):
        raise ImageError("truncated JPEG")
    return found, data


def _mended(data: bytes, said: str) -> bytes | None:
    """The file without the cause of a warning that leaves every pixel right; None for any other warning."""
    if said == NO_END:
        return data + END
    if UNKNOWN_HEADER.search(said):
        return _with_known_header(data)
    left_over = LEFT_OVER.search(said)
    end = next((place - 2 for marker, place in _segments(data) if marker == ENDS), None)
    if left_over is None or end is None:
        return None
    kept = data[:end].rstrip(b"\xff")  # fill bytes of the marker, which libjpeg does not count
    padding = kept[-int(left_over[1]) :]
    # Damage inside the data leaves part of it unread; what a camera pads with is one byte, repeated.
    return kept[: -len(padding)] + data[end:] if len(set(padding)) == 1 else None


def _with_known_header(data: bytes) -> bytes:
    """The file with the revision 1.01 and with the colour transform that libjpeg assumes in place of an unknown one."""
    mended = bytearray(data)
    transform = None
    for marker, place in _segments(data):
        if marker == JFIF and data.startswith(b"JFIF\0", place + 2):
            mended[place + 7 : place + 9] = b"\1\1"
        elif marker == ADOBE and data.startswith(b"Adobe", place + 2):
            transform = place + 13
        elif marker in FRAMES:
            if transform is not None:
                known, assumed = ((0, 2), 2) if data[place + 7] == 4 else ((0, 1), 1)
                if data[transform] not in known:
                    mended[transform] = assumed
            break
    return bytes(mended)


def _reason(said: str) -> str:
    if "premature end" in said.lower():
        return "truncated JPEG"
    return f"damaged JPEG ({said.removeprefix('Corrupt JPEG data: ')})"


def bits_of_jpeg(data: bytes) -> int | None:
    """Returns the bits of a sample that the header of a JPEG names; None where there is no such header."""
    if not data.startswith(b"\xff\xd8"):
        return None
    frame = next((place for marker, place in _segments(data) if marker in FRAMES), len(data))
    return data[frame + 2] if frame + 2 < len(data) else None


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yields the markers to the end of the picture, and where what each says starts: its length, in two bytes."""
    place = 2
    while found := MARKER.search(data, place):
        marker, place = found[1][0], found.end()
        yield marker, place
        if marker == ENDS:
            return
        place += int.from_bytes(data[place : place + 2], "big")


def _has_all_scans(data: bytes) -> bool:
    """Whether every coefficient of every component comes with its last bit: libjpeg takes what scans there are."""
    lacking: dict[int, set[int]] | None = None  # component -> coefficients
    progressive = False
    try:
        for marker, place in _segments(data):
            if marker in FRAMES:
                components = data[place + 8 : place + 8 + 3 * data[place + 7] : 3]
                lacking = {component: set(range(COEFFICIENTS)) for component in components}
                progressive = marker in PROGRESSIVE
            elif marker == SCAN and lacking is not None:
                end = place + 3 + 2 * data[place + 2]
                first, last, bits = data[end : end + 3]
                exact = range(first, last + 1) if progressive else range(COEFFICIENTS)
                for component in data[place + 3 : end : 2] if not progressive or bits & 0x0F == 0 else b"":
                    lacking.get(component, set()).difference_update(exact)
                if not any(lacking.values()):
                    return True
    except (IndexError, ValueError):  # a header cut short
        pass
    return False
