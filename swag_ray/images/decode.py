"""Image bytes -> one grey square: JPEG by libjpeg-turbo (`images/jpeg.py`), DICOM by pydicom (`images/dicom.py`), all
else by PIL. The content says which it is, not the file's name.

torchvision 0.29 ends the whole process (segmentation fault) on a PNG with a damaged byte, so PNG is not given to it.
No crop: the image is squeezed to size x size (bilinear with antialias, in float32, rounded once: so it does not depend
on which uint8 kernels a CPU has, and 16-bit levels are not rounded twice). An EXIF orientation is applied, alpha
dropped, the first frame of an animation and the first page of a TIFF taken. Samples of 16 bits span 0..`white`: films
of 10, 12 or 14 bits are stored so too, and which they are shows in a set of them, not in one (`images/deep.py`).
Decoding runs in the caller's thread; threads of the resize are the caller's torch setting.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from swag_ray.images.dicom import HEAD, is_dicom
from swag_ray.images.dicom_grey import dicom_levels
from swag_ray.images.frames import ALL, file_and_frame
from swag_ray.images.image_error import ImageError, is_short_of_memory
from swag_ray.images.jpeg import UnusualJpeg, bits_of_jpeg, decode_jpeg, decode_unusual
from swag_ray.images.places import Place, locate
from swag_ray.images.png import SIGNATURE, deep_tiles, pixels_only
from swag_ray.images.silence import silenced

if TYPE_CHECKING:  # importing torch costs seconds; listing a folder needs none of it
    import torch

MIN_SIDE = 16  # pixels; below it an icon or a broken export, not a film
MAX_PIXELS = 50_000_000  # over twice the largest digital radiograph; 200 MB as float32
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")  # by content: some .jpg files are something else
FULL_WHITE = 65535  # the greatest sample that 16 bits hold
ORIENTATION = 0x0112  # EXIF
PHOTOMETRIC, BITS = 262, 258  # TIFF; of the first, 0 says that 0 is white
# Compressions of a TIFF that libtiff reads on through damage, and only prints that it does.
UNCHECKED = {
    "jpeg": "JPEG", "tiff_jpeg": "JPEG", "group3": "Group 3", "group4": "Group 4", "tiff_ccitt": "CCITT",
}  # fmt: skip
WEBP_BYTES = 24  # per pixel, more than any decoder of it takes
# Turns and mirrors of the EXIF orientations 2 to 8: quarter turns to the left, then whether left and right are swapped.
UPRIGHT = {2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}


@dataclass(frozen=True)
class Reading:
    """What a set's images are read by, beside what their files say.

    Attributes:
        white: the greatest sample that 16-bit images of this set hold; it is read as white. Of DICOM each file says it.
        range: of a DICOM without VOI LUT and window: the `bits` it has in use, or its own `percentile`s.
        frames: a DICOM of several frames: `refuse` it, take the `middle` one, or `all`: each is an image by its name.
        frame: which frame of its file an image is, from 1; None: `frames` says.
    """

    white: int = FULL_WHITE
    range: str = "bits"
    frames: str = "refuse"
    frame: int | None = None

    def of(self, image: str | Place) -> Reading:
        """Returns what one image of the set is read by: where it is says which frame of its file it is."""
        if self.frames != ALL:
            return self
        return replace(self, frame=file_and_frame(locate(image) if isinstance(image, str) else image, self.frames)[1])


AS_STORED = Reading()


@dataclass(frozen=True)
class Decoded:
    """A grey image.

    Attributes:
        image_1HW: uint8 tensor, (1, size, size).
        width, height: pixels of the file's image, upright.
        top: greatest sample of an image of 16 bits a sample; None for any other.
    """

    image_1HW: torch.Tensor
    width: int
    height: int
    top: int | None = None


@dataclass(frozen=True)
class _Header:
    """What is known before any pixel is decoded: the format, PIL's mode, and the EXIF orientation of a JPEG."""

    format: str
    mode: str
    orientation: int


def read_grey(data: bytes, size: int, reading: Reading = AS_STORED) -> Decoded:
    """Decodes `data` to a grey square of `size` pixels.

    Args:
        data: the file.
        size: pixels a side.
        reading: of the set.

    Raises:
        ImageError: unreadable, truncated, a side under 16 pixels, or over 50 megapixels (known from the header alone);
            a 16-bit image with samples above `reading.white`.
        InputError: what reads DICOM is not installed.
        MemoryError: there is not enough of it here, which says nothing about the image.
    """
    import torch
    from torch.nn.functional import interpolate

    levels_HW, top = _dicom_levels(data, reading) or _levels(*_checked(data), reading.white)
    height, width = levels_HW.shape
    try:
        grey_1HW = torch.from_numpy(levels_HW)[None].to(torch.float32)
        # What torchvision's resize does, which takes seconds to import.
        resized_1HW = interpolate(grey_1HW[None], (size, size), mode="bilinear", align_corners=False, antialias=True)[0]
        return Decoded(resized_1HW.round_().clamp_(0, 255).to(torch.uint8), width, height, top)
    except RuntimeError as error:  # of torch
        if is_short_of_memory(error):
            raise MemoryError(str(error)) from None
        raise


def picture(data: bytes, size: int, reading: Reading = AS_STORED) -> NDArray[np.uint8]:
    """The image as grey levels (size, size) for people to look at, within rounding what `read_grey` gives, no torch.

    Raises:
        ImageError, InputError, MemoryError: as `read_grey`.
    """
    return _resized(_levels_to_see(data, reading), size, size)


def picture_within(data: bytes, most: int, reading: Reading = AS_STORED) -> NDArray[np.uint8]:
    """As `picture`, in the file's own proportions: (H, W) of at most `most` pixels a side, never enlarged.

    Raises:
        ImageError, InputError, MemoryError: as `read_grey`.
    """
    levels_HW = _levels_to_see(data, reading)
    height, width = levels_HW.shape
    share = min(1.0, most / max(height, width))
    return _resized(levels_HW, max(1, round(height * share)), max(1, round(width * share)))


def _levels_to_see(data: bytes, reading: Reading) -> NDArray[np.float32]:
    """Grey levels 0..255, (H, W), without torch."""
    return (_dicom_levels(data, reading) or _levels_by_pil(_checked(data)[0], reading.white))[0]


def _resized(levels_HW: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
    resized = Image.fromarray(levels_HW.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized).round().clip(0, 255).astype(np.uint8)


def deep_top(data: bytes) -> int | None:
    """Returns the greatest sample of an image of 16 bits a sample; None for any other.

    Raises:
        ImageError, MemoryError: as `read_grey`.
    """
    if is_dicom(data[:HEAD]):
        return None
    data, header = _checked(data)
    return _levels_by_pil(data, FULL_WHITE)[1] if header.mode.startswith("I") or deep_tiles(data) else None


def _dicom_levels(data: bytes, reading: Reading) -> tuple[NDArray[np.float32], None] | None:
    """What `_levels` gives, of a DICOM, which says its range itself; None for any other file."""
    if not is_dicom(data[:HEAD]):
        return None
    limits = {"most_pixels": MAX_PIXELS, "least_side": MIN_SIDE}
    return dicom_levels(data, grey_range=reading.range, frames=reading.frames, number=reading.frame, **limits), None


def _checked(data: bytes) -> tuple[bytes, _Header]:
    """The part of the file that the pixels need, and its header: nothing is decoded of one that promises too much."""
    if not data:
        raise ImageError("empty file")
    if data.startswith(SIGNATURE):
        data = pixels_only(data)
    return data, _header(data)


def _header(data: bytes) -> _Header:
    try:
        with silenced(), Image.open(io.BytesIO(data), formats=FORMATS) as image:  # of large images, which we refuse
            width, height, found, mode = image.width, image.height, image.format or "", image.mode
            turned = _orientation(image) if found in ("JPEG", "MPO") and "exif" in image.info else 1
            compression = UNCHECKED.get(image.info.get("compression", "")) if found == "TIFF" else None
    except Image.DecompressionBombError:
        raise ImageError(f"over {MAX_PIXELS // 10**6} megapixels") from None
    except Exception as error:  # PIL's parsers raise OSError, SyntaxError, struct.error, ... on broken bytes
        _require_memory(error, data)
        if (bits := bits_of_jpeg(data) or 8) > 8:
            raise ImageError(f"a JPEG of {bits} bits; save it as a 16-bit PNG") from None
        raise ImageError(f"not a readable image ({type(error).__name__})") from None
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{width} x {height} pixels, a side under {MIN_SIDE}")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width} x {height} pixels, over {MAX_PIXELS // 10**6} megapixels")
    if compression:
        raise ImageError(f"a TIFF with {compression} compression cannot be checked for damage; convert it to PNG")
    return _Header(found, mode, turned)


def _require_memory(error: Exception, data: bytes) -> None:
    """Raises MemoryError if that is what a decoder lacked. That of WebP does not say why it failed: whether there is
    as much as it needs does.
    """
    if is_short_of_memory(error):
        raise MemoryError(str(error)) from error
    if data[:4] == b"RIFF" and (pixels := _webp_pixels(data)) <= MAX_PIXELS:
        np.empty(WEBP_BYTES * pixels, np.uint8)


def _webp_pixels(data: bytes) -> int:
    """Width by height as the first header of a WebP file gives them; 0 where it is none."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        width, height = (int.from_bytes(data[place : place + 3], "little") + 1 for place in (24, 27))
    elif chunk == b"VP8 ":
        width, height = (int.from_bytes(data[place : place + 2], "little") & 0x3FFF for place in (26, 28))
    elif chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        return 0
    return width * height


def _orientation(image: Image.Image) -> int:
    exif = Image.Exif()
    try:
        exif.load(image.info["exif"])
        return int(exif.get(ORIENTATION, 1))
    except Exception:  # a camera's broken notes are no reason to refuse its picture
        return 1


def _levels(data: bytes, header: _Header, white: int) -> tuple[NDArray[Any], int | None]:
    """Grey levels 0..255, (H, W), and the greatest sample where there are 16 bits."""
    if header.format in ("JPEG", "MPO"):  # MPO: a camera's JPEG with a second picture behind the first
        try:
            if header.mode != "CMYK":
                return _upright(decode_jpeg(data), header.orientation), None
        except UnusualJpeg:
            pass
        return decode_unusual(data), None
    return _levels_by_pil(data, white)


def _levels_by_pil(data: bytes, white: int) -> tuple[NDArray[np.float32], int | None]:
    """Grey levels 0..255, (H, W), and the greatest sample where there are 16 bits."""
    try:
        with silenced(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            samples = _deep_samples(data, image)
            if samples is None or (samples.ndim == 3 and white == FULL_WHITE):  # of colours the high bytes will do
                image.load()
                grey_HW = np.array(ImageOps.exif_transpose(image).convert("L"), dtype=np.float32)
                return grey_HW, None if samples is None else int(samples.max())
            white_is_0 = image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == 0  # type: ignore[attr-defined]
    except ImageError:
        raise
    except Exception as error:
        _require_memory(error, data)
        reason = "truncated" if "truncated" in str(error).lower() else f"broken image data ({type(error).__name__})"
        raise ImageError(reason) from None
    low, top = int(samples.min()), int(samples.max())
    if low < 0 or top > FULL_WHITE:
        raise ImageError(f"samples from {low} to {top}; save it as 16-bit grey, 0 to {FULL_WHITE}")
    if top > white:
        raise ImageError(f"samples up to {top}, in a set or for a detector whose 16-bit images end at {white}")
    grey = samples @ np.array([0.299, 0.587, 0.114]) if samples.ndim == 3 else samples  # as PIL weighs colours
    levels_HW: NDArray[np.float32] = grey.astype(np.float32) / np.float32(white / 255)
    return 255 - levels_HW if white_is_0 else levels_HW, top


def _deep_samples(data: bytes, image: Image.Image) -> NDArray[Any] | None:
    """The samples of an image of more than 8 bits, upright, (H, W) or (H, W, 3); None for any other.

    Raises:
        ImageError: samples that PIL would cut to 8 bits, or that are no grey levels.
    """
    if image.mode.startswith("I"):
        image.load()
        return np.asarray(ImageOps.exif_transpose(image))
    if image.mode == "F":
        raise ImageError("samples are fractions; save it as 8- or 16-bit grey")
    if image.format == "TIFF" and max(image.tag_v2.get(BITS, (8,))) > 8:  # type: ignore[attr-defined]
        raise ImageError("a TIFF of colours of more than 8 bits; save it as 16-bit grey")
    tiles = deep_tiles(data) if image.format == "PNG" else None
    if tiles is None:
        return None
    turned = int(image.getexif().get(ORIENTATION, 1))
    halves = []
    for mode in tiles:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as half:
            half.tile = [tile._replace(args=mode) for tile in half.tile]
            halves.append(np.asarray(half).astype(np.uint16))
    if len(halves) == 1:  # grey and alpha, each as a high and a low byte
        return _upright(halves[0][..., 0] * 256 + halves[0][..., 1], turned)
    return _upright(halves[0][..., :3] * 256 + halves[1][..., :3], turned)


def _upright(levels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turns and mirrors rows and columns as an EXIF orientation asks."""
    if orientation not in UPRIGHT:
        return levels
    turns, mirrored = UPRIGHT[orientation]
    turned = np.rot90(levels, turns)
    return np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)
