"""Tags of a DICOM file by pydicom, which is imported where a DICOM is read, nowhere else."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from swag_ray.images.image_error import ImageError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

AT_A_TIME = 2**20  # bytes that are unpacked to count them


class _Bounded:
    """A file of which pydicom reads all that is left, without a size, only to unpack it in one go: that it is not too
    much is found out before.
    """

    def __init__(self, file: BinaryIO, most_bytes: int) -> None:
        self.seek, self.tell = file.seek, file.tell
        self.file, self.most_bytes = file, most_bytes

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        if size < 0:
            unpacker, left, found = zlib.decompressobj(-zlib.MAX_WBITS), data, 0
            while left and not unpacker.eof:
                found += len(unpacker.decompress(left, AT_A_TIME))
                left = unpacker.unconsumed_tail
                if found > self.most_bytes:
                    raise ImageError(f"a DICOM that unpacks to over {self.most_bytes // 10**6} MB")
        return data


def parsed(data: bytes | BinaryIO, most_bytes: int, keywords: Sequence[str], *, pixels: bool = True) -> Dataset:
    """Returns some tags of a DICOM file.

    Args:
        data: the file, or one that is open.
        most_bytes: that it may unpack to.
        keywords: of the tags.
        pixels: whether any of them stands with the pixels or behind; without, `buffer` of what is returned stands
            before the pixels.

    Raises:
        ImageError: it unpacks to more.
        Exception: whatever pydicom raises for a damaged file.
    """
    from pydicom import dcmread

    file: Any = _Bounded(io.BytesIO(data) if isinstance(data, bytes) else data, most_bytes)
    return dcmread(cast(BinaryIO, file), force=True, specific_tags=list(keywords), stop_before_pixels=not pixels)


def number_of(tags: Dataset, keyword: str, default: int | None = None) -> int | None:
    """Returns a tag's whole number; `default` where it is absent or empty. Raises ImageError where it is none."""
    value = tags.get(keyword)
    if value is None or value == "":
        return default
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise ImageError(f"a DICOM whose {keyword} is no number") from None


def transfer_syntax(tags: Dataset) -> str:
    """Returns the transfer syntax; what pydicom found it to be where the file does not say."""
    given = tags.file_meta.get("TransferSyntaxUID")
    if given:
        return str(given)
    implicit, little = tags.original_encoding
    return f"1.2.840.10008.1.2{'' if implicit else '.1' if little else '.2'}"
