"""Image bytes -> one grey square: JPEG by torchvision, all else by PIL.

torchvision 0.29 ends the whole process (segmentation fault) on a PNG with a damaged byte, so PNG is not given to it.
No crop: the image is squeezed to size x size (bilinear with antialias, in float32, rounded once: so it does not depend
on which uint8 kernels a CPU has, and 16-bit levels are not rounded twice). An EXIF orientation is applied, alpha
dropped, the first frame of several taken. 16-bit samples span 0..65535, as PNG defines them, whatever an image uses.
Decoding runs in the caller's thread; threads of the resize are the caller's torch setting.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

if TYPE_CHECKING:  # importing torch costs seconds; listing a folder needs none of it
    import torch

MIN_SIDE = 16  # pixels; below it an icon or a broken export, not a film
MAX_PIXELS = 50_000_000  # over twice the largest digital radiograph; 200 MB as float32
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")  # by content: some .jpg files are something else


class ImageError(ValueError):
    """An image that cannot be used; the message is the reason, without the path."""


@dataclass(frozen=True)
class Decoded:
    """A grey image.

    Attributes:
        image_1HW: uint8 tensor, (1, size, size).
        width, height: pixels of the file's image, upright.
    """

    image_1HW: torch.Tensor
    width: int
    height: int


def read_grey(data: bytes, size: int) -> Decoded:
    """Decodes `data` to a grey square of `size` pixels.

    Raises:
        ImageError: unreadable, truncated, a side under 16 pixels, or over 50 megapixels (known from the header alone).
    """
    import torch
    from torchvision.transforms.v2.functional import resize

    grey_1HW = _grey(data, _checked_format(data))
    height, width = grey_1HW.shape[-2:]
    resized_1HW = resize(grey_1HW, [size, size], antialias=True)  # bilinear is the default
    return Decoded(resized_1HW.round_().clamp_(0, 255).to(torch.uint8), width, height)


def _checked_format(data: bytes) -> str:
    """The image format, from the header alone: nothing is decoded of a file whose header promises too much."""
    if not data:
        raise ImageError("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL warns of large images; we refuse them
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height, found = image.width, image.height, image.format or ""
    except Image.DecompressionBombError:
        raise ImageError(f"over {MAX_PIXELS // 10**6} megapixels") from None
    except Exception as error:  # PIL's parsers raise OSError, SyntaxError, struct.error, ... on broken bytes
        raise ImageError(f"not a readable image ({type(error).__name__})") from None
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{width} x {height} pixels, a side under {MIN_SIDE}")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width} x {height} pixels, over {MAX_PIXELS // 10**6} megapixels")
    if found == "PNG":
        _check_png(data)
    return found


def _check_png(data: bytes) -> None:
    """Every chunk that the pixels need is whole and the last one is there; PIL looks at neither."""
    place = 8
    while place + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        body = data[place + 4 : place + 8 + length]
        if name[:1].isupper() and data[place + 8 + length : place + 12 + length] != zlib.crc32(body).to_bytes(4, "big"):
            raise ImageError("truncated or damaged PNG")
        if name == b"IEND":
            return
        place += 12 + length
    raise ImageError("truncated PNG")


def _grey(data: bytes, found: str) -> torch.Tensor:
    """float32 grey levels 0..255, (1, H, W)."""
    import torch
    from torchvision.io import ImageReadMode, decode_image

    if found in ("JPEG", "MPO"):  # MPO: a camera's JPEG with a second picture behind the first
        raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)  # a copy: frombuffer wants a writable buffer
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # torchvision 0.29 recommends torchcodec, per image
                grey_1HW: torch.Tensor = decode_image(raw, mode=ImageReadMode.GRAY, apply_exif_orientation=True)
        except RuntimeError:
            return _grey_by_pil(data)
        return grey_1HW.to(torch.float32)
    return _grey_by_pil(data)


def picture(data: bytes, size: int) -> NDArray[np.uint8]:
    """The image as grey levels (size, size) for people to look at, within rounding what `read_grey` gives, no torch.

    Raises:
        ImageError: as `read_grey`.
    """
    _checked_format(data)
    resized = Image.fromarray(_levels_by_pil(data)).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized).round().clip(0, 255).astype(np.uint8)


def _grey_by_pil(data: bytes) -> torch.Tensor:
    import torch

    return torch.from_numpy(_levels_by_pil(data))[None]


def _levels_by_pil(data: bytes) -> NDArray[np.float32]:
    """Grey levels 0..255, (H, W)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                image.load()
                upright = ImageOps.exif_transpose(image)
                deep = upright.mode.startswith("I")  # PIL would clip 16-bit levels at 255
                grey_HW: NDArray[np.float32] = np.array(upright if deep else upright.convert("L"), dtype=np.float32)
    except Exception as error:
        reason = "truncated" if "truncated" in str(error).lower() else f"broken image data ({type(error).__name__})"
        raise ImageError(reason) from None
    return grey_HW / np.float32(257 if deep else 1)
