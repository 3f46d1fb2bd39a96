"""Files whose bytes an earlier listing has hashed, so that this one need not read them.

A file is taken for the one that was hashed where its path, size, time of change of content (mtime) and of anything
(ctime), both to the nanosecond, and inode are as they were. A program may set an mtime back; a ctime it cannot set, so
other bytes of the same size with the old mtime are hashed again. What changed less than `SETTLED` ago is not noted: a
second change might leave the same times. What is trusted is thus the file system: that writing moves ctime. One that
keeps none (FAT), or a disk whose bits turn, shows a change of the same size and mtime to whoever hashes all alone.

The table holds no path: of path, size, times and inode, only a digest.

Shapes: N files.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swag_ray.images.places import Place

VERSION = 1  # raise it where a file of the same bytes comes to be `deep` or `dicom`, or no longer is
SETTLED = 3.0  # seconds; the coarsest clocks of file systems tick every two
DEEP, DICOM = 1, 2


@dataclass(frozen=True, slots=True)
class Content:
    """What a listing wants to know of a file's bytes.

    Attributes:
        sha256: in hex.
        bytes: how many.
        deep: whether it may hold 16 bits a sample.
        dicom: whether it is a DICOM.
    """

    sha256: str
    bytes: int
    deep: bool
    dicom: bool


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells a file from any other, as it was when it was looked at.

    Attributes:
        key: 16 bytes over path, size, mtime, ctime and inode.
        settled: whether its last change is so long ago that a later one will show.
    """

    key: bytes
    settled: bool


def stamp_of(folder: Place, name: str) -> Stamp | None:
    """Returns the stamp of a file; None of one on `s3://`, and where there is none to be had.

    To be taken before the file is read: what is written while it is read then has another.
    """
    if not isinstance(folder, Path):
        return None
    path = f"{folder}/{name}"
    now = time.time_ns()
    try:
        seen = os.stat(path)
    except OSError:  # whoever reads it says what is wrong
        return None
    facts = f"{seen.st_size} {seen.st_mtime_ns} {seen.st_ctime_ns} {seen.st_ino}\0{path}"
    key = hashlib.blake2b(os.fsencode(facts), digest_size=16).digest()
    return Stamp(key, now - seen.st_ctime_ns > SETTLED * 1e9)


class KnownFiles:
    """The table of an earlier listing, and what this one adds.

    Args:
        data: what `data` returned then; None, or anything else: nothing is known.
    """

    def __init__(self, data: bytes | None = None) -> None:
        self._key_N, self._row_N = _read(data)  # sorted by key
        self._noted: list[tuple[bytes, bytes]] = []
        self.changed = False  # whether anything was noted that was not known

    def find(self, stamps: Sequence[Stamp | None]) -> list[Content | None]:
        """Returns what is known of each file; None of those that have to be read."""
        found: list[Content | None] = [None] * len(stamps)
        asked = [i for i, stamp in enumerate(stamps) if stamp is not None]
        if not len(self._key_N) or not asked:
            return found
        key_n = _keys(stamp.key for stamp in stamps if stamp is not None)
        place_n = np.minimum(np.searchsorted(self._key_N, key_n), len(self._key_N) - 1)
        for i, place, same in zip(asked, place_n.tolist(), (self._key_N[place_n] == key_n).tolist(), strict=True):
            stamp, row = stamps[i], self._row_N[place].tobytes() if same else b""
            if same and stamp is not None and row[:16] == stamp.key:
                found[i] = _unpacked(row)
        return found

    def note(self, stamps: Sequence[Stamp | None], contents: Sequence[Content], fresh: Iterable[int]) -> None:
        """Notes files for the next listing.

        Args:
            stamps: taken before their content was.
            contents: what each holds.
            fresh: which of them were read.
        """
        self.changed |= any(stamp is not None and stamp.settled for stamp in (stamps[i] for i in fresh))
        self._noted += [
            (stamp.key, _packed(stamp.key, content))
            for stamp, content in zip(stamps, contents, strict=True)
            if stamp is not None and stamp.settled
        ]

    def data(self) -> bytes:
        """Returns what this listing noted, with a checksum before it: of files that it did not meet, nothing."""
        row_N = np.frombuffer(b"".join(row for _, row in self._noted), np.uint8).reshape(len(self._noted), ROW)
        order = np.argsort(_keys(key for key, _ in self._noted), kind="stable")
        buffer = io.BytesIO()
        np.savez(buffer, version=np.array(VERSION), rows=row_N[order])
        return hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue()


ROW = 16 + 32 + 8 + 1  # key, SHA-256, bytes, flags


def _packed(key: bytes, content: Content) -> bytes:
    flags = DEEP * content.deep | DICOM * content.dicom
    return key + bytes.fromhex(content.sha256) + content.bytes.to_bytes(8, "little") + bytes([flags])


def _unpacked(row: bytes) -> Content:
    flags = row[56]
    size = int.from_bytes(row[48:56], "little")
    return Content(row[16:48].hex(), size, bool(flags & DEEP), bool(flags & DICOM))


def _keys(keys: Iterable[bytes]) -> NDArray[np.uint64]:
    """The first half of each key, to sort and search by."""
    return np.frombuffer(b"".join(key[:8] for key in keys), "<u8").astype(np.uint64)


def _read(data: bytes | None) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """The table: first halves of the keys (N,), ascending, and rows (N, ROW); empty where it is not whole."""
    nothing = np.empty(0, np.uint64), np.empty((0, ROW), np.uint8)
    if data is None or hashlib.sha256(data[32:]).digest() != data[:32]:
        return nothing
    with np.load(io.BytesIO(data[32:]), allow_pickle=False) as arrays:
        if int(arrays["version"]) != VERSION:
            return nothing
        row_N = arrays["rows"]
    return np.ascontiguousarray(row_N[:, :8]).view("<u8").ravel().astype(np.uint64), row_N
