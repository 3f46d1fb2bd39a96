"""DICOM files: which they are, and one frame's stored values. What grey these mean is `images/dicom_grey.py`.

Of a file only the tags of PIXELS and GREY are read, all of them about pixels (and by `images/dicom_patient.py`, where a
config asks for it, the patient's id). No message quotes what a tag says, and
none of pydicom's, which may, is passed on. pydicom is imported where a DICOM is decoded, nowhere else.

Compressed frames are decoded by pylibjpeg's plug-ins alone, so that pixels do not depend on what else is installed; RLE
by pydicom itself, because pylibjpeg-rle 2.2 panics on a damaged file. No decoder minds a frame that is larger than its
header says, or that ends too early: both are looked for here before anything is decoded.

Shapes: H x W pixels.
"""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from swag_ray.errors import InputError
from swag_ray.images.dicom_frames import MOST_FRAMES, count_frames
from swag_ray.images.dicom_tags import number_of, parsed, transfer_syntax
from swag_ray.images.image_error import ImageError, is_short_of_memory
from swag_ray.images.silence import silenced

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

HEAD = 1024  # bytes that tell a DICOM, and a DICOMDIR from an image
PREFIX, PREAMBLE = b"DICM", 128
DIRECTORY = b"1.2.840.10008.1.3.10"  # the class of a DICOMDIR
FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")  # what a file without preamble starts with, little endian
BIG_ENDIAN = b"\x00\x08"
LONGEST_FIRST = 1024  # bytes of a first element; more is another kind of file
EXTRA = "pip install 'swag-ray[dicom]'"
PIXELS = (
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "NumberOfFrames", "PixelData", "FloatPixelData",
    "DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
)  # fmt: skip
GREY = (
    "Modality", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept",
    "ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in ("Red", "Green", "Blue")),
    *(f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
)  # fmt: skip
KINDS = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
RLE = "1.2.840.10008.1.2.5"
SYNTAXES = {  # compressed ones, and what a person calls them
    "1.2.840.10008.1.2.4.50": "JPEG", "1.2.840.10008.1.2.4.51": "JPEG of 12 bits",
    "1.2.840.10008.1.2.4.57": "lossless JPEG", "1.2.840.10008.1.2.4.70": "lossless JPEG",
    "1.2.840.10008.1.2.4.80": "JPEG-LS", "1.2.840.10008.1.2.4.81": "JPEG-LS",
    "1.2.840.10008.1.2.4.90": "JPEG 2000", "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "JPEG 2000", "1.2.840.10008.1.2.4.202": "JPEG 2000",
    "1.2.840.10008.1.2.4.203": "JPEG 2000", RLE: "RLE",
}  # fmt: skip
RLE_SEGMENTS, RLE_NOTHING = 15, 128  # the most there are; a byte that says nothing
ENDING = 16  # bytes in which a codestream ends: padding may follow
J2K_START = b"\xff\x4f\xff\x51"  # the second marker gives the size
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"  # the latter ends JPEG-LS and JPEG 2000 too
# Markers of a JPEG that give its size: all SOF, and that of JPEG-LS.
JPEG_FRAMES = (*(m for m in range(0xC0, 0xD0) if m not in (0xC4, 0xC8, 0xCC)), 0xF7)


@dataclass(frozen=True)
class Frame:
    """One frame as it is stored.

    Attributes:
        values: integers, (H, W), or (H, W, 3) for red, green and blue.
        tags: the file's tags of PIXELS and GREY, not to be changed: other frames may be read by them.
        number: of the frame, from 0.
        bits: of a sample that are in use, 8 to 16.
        signed: whether samples may be below 0.
        big_endian: of tables among the tags.
    """

    values: NDArray[Any]
    tags: Dataset
    number: int
    bits: int
    signed: bool
    big_endian: bool


def is_dicom(start: bytes) -> bool:
    """Whether the first HEAD bytes of a file are those of a DICOM, one without preamble or without all of its header
    included.
    """
    if start[PREAMBLE : PREAMBLE + len(PREFIX)] == PREFIX:
        return True
    if len(start) < 8:
        return False
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    if start[:2] == BIG_ENDIAN:
        return explicit
    length = int.from_bytes(start[4:8], "little")
    return start[:2] in FIRST_GROUPS and (explicit or (length <= LONGEST_FIRST and length % 2 == 0))


def is_directory(start: bytes) -> bool:
    """Whether the first HEAD bytes of a DICOM say that it is a DICOMDIR, which names images and is none."""
    return DIRECTORY in start


def require_pydicom() -> None:
    """Raises InputError where DICOM cannot be read at all."""
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise InputError("dataset: there are DICOM files, and pydicom is not installed", EXTRA) from None


def read_frame(data: bytes, frames: str, number: int | None, most_pixels: int, least_side: int) -> Frame:
    """Reads one frame of a DICOM file.

    Args:
        data: the file.
        frames: where no number is given: take the `middle` one of several; with anything else they are refused.
        number: of the frame, from 1.
        most_pixels: over which a frame is refused, known from its header alone.
        least_side: pixels of a side, under which it is refused.

    Raises:
        ImageError: no image, damaged, or of a kind that is not read.
        InputError: pydicom or a plug-in is missing, which says nothing about the image.
        MemoryError: there is not enough of it here.
    """
    require_pydicom()
    if is_directory(data[:HEAD]):
        raise ImageError("a DICOMDIR, which names images and holds none")
    with silenced():
        try:
            tags = _tags(data, 4 * most_pixels, keep=number is not None)
            _check_header(tags, most_pixels, least_side)
            count = number_of(tags, "NumberOfFrames", 1) or 1
            if number is None and count > 1 and frames != "middle":
                raise _several(count, held=count_frames(io.BytesIO(data), 4 * most_pixels) > 1)
            if number is not None and not 1 <= number <= count:
                raise ImageError(f"a DICOM of {count} frames, none of which is number {number}")
            frame = _frame(tags, count // 2 if number is None else number - 1, count)
            if number is None:  # of a file whose other frames may follow they are kept
                for keyword in ("PixelData", "FloatPixelData"):
                    tags.pop(keyword, None)
            return frame
        except (ImageError, InputError):
            raise
        except Exception as error:  # its text may quote what the file says of a patient
            if is_short_of_memory(error):
                raise MemoryError("decoding a DICOM") from None
            raise ImageError(f"truncated or damaged DICOM ({type(error).__name__})") from None


class _LastFile:
    """The tags of the last file of which a frame was asked for by its number, pixels among them: those of each frame
    of an enhanced file stand in all of them, and to find them anew for every frame would take the square of their time.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.held: tuple[bytes, Dataset] | None = None

    def tags(self, data: bytes) -> Dataset | None:
        with self.lock:
            return self.held[1] if self.held is not None and self.held[0] is data else None

    def put(self, data: bytes, tags: Dataset) -> None:
        with self.lock:
            self.held = data, tags


_last_file = _LastFile()


def _tags(data: bytes, most_bytes: int, *, keep: bool) -> Dataset:
    found = _last_file.tags(data) if keep else None
    if found is None:
        found = parsed(data, most_bytes, (*PIXELS, *GREY))
        if keep:
            _last_file.put(data, found)
    return found


def _several(count: int, *, held: bool) -> ImageError:
    if held:
        says = "dataset.frames: middle takes the one in the middle, all makes an image of each"
        return ImageError(f"a DICOM of {count} frames; {says}")
    return ImageError(f"a DICOM of {count} frames by its header, which are more than it holds or than {MOST_FRAMES:,}")


def _frame(tags: Dataset, number: int, count: int) -> Frame:
    """The frame of this number, from 0, of so many."""
    from pydicom.pixels import get_decoder

    bits = _bits(tags)
    syntax = transfer_syntax(tags)
    name = SYNTAXES.get(syntax)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise ImageError("a DICOM whose transfer syntax is none of those that are read") from None
    if decoder.is_encapsulated and name is None:
        raise ImageError("a DICOM whose transfer syntax is none of those that are read")
    plugin = "" if name is None else "pydicom" if syntax == RLE else "pylibjpeg"
    if name is not None:
        if plugin not in decoder.available_plugins:
            raise InputError(f"dataset: a DICOM compressed as {name} needs a plug-in that is not installed", EXTRA)
        _check_codestream(tags, number, count, syntax)
    as_it_is = {"correct_unused_bits": False}
    values, found = decoder.as_array(tags, index=number, decoding_plugin=plugin, **as_it_is)  # type: ignore[arg-type]
    if values.ndim == 3 and found["photometric_interpretation"] != "RGB":
        raise ImageError("a DICOM of a kind of colours that is not read")
    signed = number_of(tags, "PixelRepresentation", 0) == 1
    values = _in_range(values, bits, signed)
    big_endian = tags.original_encoding[1] is False
    return Frame(values, tags, number, bits, signed, big_endian)


def _check_header(tags: Dataset, most_pixels: int, least_side: int) -> None:
    """Refuses what holds no image, or too large or small a one."""
    if "FloatPixelData" in tags or "DoubleFloatPixelData" in tags:
        raise ImageError("a DICOM whose samples are fractions; 8 to 16 bits are read")
    if str(tags.get("PhotometricInterpretation", "")).strip() not in KINDS and "PixelData" in tags:
        raise ImageError("a DICOM of a kind of colours that is not read")
    width, height = (number_of(tags, keyword, 0) or 0 for keyword in ("Columns", "Rows"))
    if "PixelData" not in tags or not width or not height:
        raise ImageError("a DICOM without an image")
    if min(width, height) < least_side:
        raise ImageError(f"{width} x {height} pixels, a side under {least_side}")
    if width * height > most_pixels:
        raise ImageError(f"{width} x {height} pixels, over {most_pixels // 10**6} megapixels")


def _bits(tags: Dataset) -> int:
    """Bits of a sample that are in use."""
    allocated = number_of(tags, "BitsAllocated", 0) or 0
    stored = number_of(tags, "BitsStored", allocated) or 0
    if allocated not in (8, 16) or not 8 <= stored <= allocated:
        raise ImageError(f"a DICOM of {stored} bits a sample, in {allocated}; 8 to 16 bits are read")
    if number_of(tags, "HighBit", stored - 1) != stored - 1:
        raise ImageError("a DICOM whose samples do not end at their lowest bit")
    return stored


def _check_codestream(tags: Dataset, number: int, count: int, syntax: str) -> None:
    """Refuses a compressed frame that has no end, or another size than the header promises."""
    from pydicom.encaps import get_frame

    offsets = tags.get("ExtendedOffsetTable"), tags.get("ExtendedOffsetTableLengths")
    stream = get_frame(
        tags.PixelData, number, number_of_frames=count, extended_offsets=offsets if all(offsets) else None
    )
    if syntax == RLE:
        _check_rle(stream, int(tags.Columns) * int(tags.Rows))
        return
    if JPEG_END not in stream[-ENDING:]:
        raise ImageError("truncated DICOM")
    wanted = tags.Columns, tags.Rows, number_of(tags, "SamplesPerPixel", 1)
    if codestream_size(stream) != wanted:
        raise ImageError("a DICOM whose compressed image is of another size or kind than its header says")


def _check_rle(stream: bytes, pixels: int) -> None:
    """Refuses a frame of which a segment (a byte of each pixel) unpacks to more than it should; pydicom minds too
    little alone.
    """
    count = min(int.from_bytes(stream[:4], "little"), RLE_SEGMENTS)
    starts = [int.from_bytes(stream[4 * i : 4 * i + 4], "little") for i in range(1, count + 1)]
    for place, end in pairwise([*starts, len(stream)]):
        found = 0
        while place < end - 1:
            head = stream[place]  # a run of one byte, or so many bytes as they are
            found += 0 if head == RLE_NOTHING else head + 1 if head < RLE_NOTHING else 257 - head
            place += 1 if head == RLE_NOTHING else head + 2 if head < RLE_NOTHING else 2
            if found > 2 * pixels:  # some writers pad
                raise ImageError("a DICOM whose compressed image is larger than its header says")


def codestream_size(stream: bytes) -> tuple[int, int, int] | None:
    """Returns width, height and channels as a JPEG, JPEG-LS or JPEG 2000 codestream gives them; None where it gives
    none.
    """
    if stream.startswith(J2K_START):  # in the boxes of a JP2 file, which the standard forbids, colours may be swapped
        right, low, left, top = (int.from_bytes(stream[at : at + 4], "big") for at in (8, 12, 16, 20))
        return right - left, low - top, int.from_bytes(stream[40:42], "big")
    place = len(JPEG_START)
    while stream.startswith(JPEG_START) and place + 9 < len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
        elif marker in JPEG_FRAMES:
            height, width = (int.from_bytes(stream[place + at : place + at + 2], "big") for at in (5, 7))
            return width, height, stream[place + 9]
        else:
            place += 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    return None


def _in_range(values: NDArray[Any], bits: int, signed: bool) -> NDArray[Any]:
    """Samples as they are meant: what is negative may be stored without the bits above those in use."""
    low, high = (-(2 ** (bits - 1)) if signed else 0), 2**bits - 1
    if values.min() < low or values.max() > high:
        raise ImageError(f"a DICOM with samples beyond the {bits} bits that its header says are in use")
    if not signed:
        return values
    spare = 8 * values.dtype.itemsize - bits
    return (values << spare) >> spare
