"""How many frames a DICOM has that can be images of their own, by its header and the length of its pixels alone.

NumberOfFrames may say anything: it is believed as far as the pixels hold so many, and up to `MOST_FRAMES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from swag_ray.images.dicom_tags import number_of, parsed, transfer_syntax
from swag_ray.images.image_error import is_short_of_memory
from swag_ray.images.silence import silenced

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MOST_FRAMES = 10_000  # eleven minutes of fluoroscopy at 15 frames a second; a slide's tiles are no images
TAGS = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "NumberOfFrames")
PIXEL_DATA = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")  # little and big endian
ITEM = b"\xfe\xff\x00\xe0"  # compressed frames come in items, little endian all
UNDEFINED = 2**32 - 1  # the length of what ends with a delimiter
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")


def count_frames(file: BinaryIO, most_bytes: int) -> int:
    """Returns the number of frames that are images of their own.

    Args:
        file: open, at its start. The pixels are skipped, unless all of it is deflated.
        most_bytes: that it may unpack to.

    Returns:
        1 where the file is one image: it has one frame, says that it has more than it holds or than `MOST_FRAMES`, has
        samples of no 8 or 16 bits, or is damaged before its pixels.

    Raises:
        MemoryError: there is not enough of it here.
    """
    with silenced():
        try:
            tags = parsed(file, most_bytes, TAGS, pixels=False)
            count = number_of(tags, "NumberOfFrames", 1) or 1
            return count if 1 < count <= MOST_FRAMES and _holds(tags, count) else 1
        except Exception as error:  # its text may quote what the file says
            if is_short_of_memory(error):
                raise MemoryError("reading a DICOM") from None
            return 1


def _holds(tags: Dataset, count: int) -> bool:
    """Whether there are the pixels of so many frames."""
    rows, columns, bits = (number_of(tags, keyword, 0) or 0 for keyword in ("Rows", "Columns", "BitsAllocated"))
    if rows <= 0 or columns <= 0 or bits not in (8, 16):
        return False
    file: Any = tags.buffer  # before the pixels
    implicit, little = tags.original_encoding
    if file.read(4) not in PIXEL_DATA:
        return False
    if not implicit:
        file.seek(4, 1)  # OB or OW, and two bytes that say nothing
    length = int.from_bytes(file.read(4), "little" if little else "big")
    if transfer_syntax(tags) not in NATIVE:
        return length == UNDEFINED and _items(file, count + 1) > count  # the first one is a table
    samples = number_of(tags, "SamplesPerPixel", 1) or 1
    if "422" in str(tags.get("PhotometricInterpretation", "")):  # two pixels share their colours
        samples = 2
    start = file.tell()
    return min(length, file.seek(0, 2) - start) >= count * rows * columns * samples * bits // 8


def _items(file: Any, most: int) -> int:
    """How many items follow each other, counted up to `most`: a frame may be in several, and is in one at least."""
    count = 0
    while count < most and (head := file.read(8))[:4] == ITEM and len(head) == 8:
        count += 1
        file.seek(int.from_bytes(head[4:], "little"), 1)
    return count
