"""PNG files: what must be whole, and what only gets in the way of the pixels."""

from __future__ import annotations

import struct
import zlib

from swag_ray.images.image_error import ImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXT = (b"tEXt", b"zTXt", b"iTXt")
PROFILE = b"iCCP"  # nothing is made of it, and it unpacks to any size
LONG = 2**20  # bytes; PIL refuses a file with a longer text
TURNED = (b"XML:com.adobe.xmp", b"Raw profile type")  # texts that may say which side is up


def is_deep(start: bytes) -> bool:
    """Whether the first 26 bytes of a file are those of a PNG with 16 bits a sample."""
    return start.startswith(SIGNATURE) and len(start) >= 26 and start[24] == 16


def pixels_only(data: bytes) -> bytes:
    """Returns a PNG without what its pixels do not need and a reader may stumble over: texts and damaged extras.

    Short texts that may say which side is up stay.

    Raises:
        ImageError: a chunk that the pixels need is damaged, or the last one is missing; PIL looks at neither.
    """
    view = memoryview(data)  # a film of many megabytes is not copied for its checksum
    kept: list[bytes | memoryview] = [SIGNATURE]
    place = len(SIGNATURE)
    while place + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        whole = view[end - 4 : end] == zlib.crc32(view[place + 4 : end - 4]).to_bytes(4, "big")
        if name[:1].isupper() and not whole:
            raise ImageError("truncated or damaged PNG")
        wanted = _tells_side(name, data, place + 8, length) if name in TEXT else name != PROFILE
        if whole and wanted:
            kept.append(view[place:end])
        if name == b"IEND":
            return b"".join(kept) if sum(map(len, kept)) < end else data
        place = end
    raise ImageError("truncated PNG")


def _tells_side(name: bytes, data: bytes, start: int, length: int) -> bool:
    """Whether a text may say which side is up, and is none of those that PIL refuses a file for."""
    if not data.startswith(TURNED, start) or length > LONG:
        return False
    if name != b"zTXt":
        return name == b"tEXt" or data[start : start + length].partition(b"\0")[2][:1] == b"\0"  # not packed
    packed = data[start : start + length].partition(b"\0\0")[2]
    try:
        return len(zlib.decompressobj().decompress(packed, LONG)) < LONG
    except zlib.error:
        return False


def deep_tiles(data: bytes) -> list[str] | None:
    """Returns how PIL is to unpack a 16-bit PNG of several channels, which it reads as 8 bits: once for the high
    bytes and once for the low ones, or once for both (grey with alpha); None for any other PNG.
    """
    if not is_deep(data[:26]):
        return None
    return {2: ["RGB;16B", "RGB;16L"], 4: ["RGBA"], 6: ["RGBA;16B", "RGBA;16L"]}.get(data[25])
