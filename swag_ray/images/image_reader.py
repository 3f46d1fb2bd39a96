"""Reads the bytes of images; a file of several frames once for those of its frames that follow each other."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from swag_ray.images.decode import MAX_PIXELS
from swag_ray.images.dicom import HEAD, is_dicom, require_pydicom
from swag_ray.images.dicom_frames import count_frames
from swag_ray.images.frames import ALL, file_and_frame, frame_digest, frame_name, refuse_frame_names
from swag_ray.images.places import Place

KEPT = 256 * 2**20  # bytes of files that are kept beside the last one: a variant's donor may be of another file


@dataclass(frozen=True)
class _File:
    data: bytes
    sha256: str


def images_of(files: Sequence[Place], frames: str, called: str) -> list[Place]:
    """Returns where the images of files are: with `dataset.frames: all` every frame of those that have several.

    Args:
        files: that are no listing's.
        frames: `dataset.frames`.
        called: who asks, for messages.

    Raises:
        InputError: pydicom is missing, or a file is called as a frame is.
    """
    if frames != ALL:
        return list(files)
    refuse_frame_names((file.name for file in files), frames, called)
    found: list[Place] = []
    for file in files:
        count = frames_in(file)
        found += [file.parent / frame_name(file.name, n + 1) for n in range(count)] if count > 1 else [file]
    return found


def frames_in(file: Place) -> int:
    """Returns how many images a file is, by `count_frames`; 1 where it cannot be read: who reads it says why.

    Raises:
        InputError: it is a DICOM, and pydicom is missing.
    """
    with suppress(OSError), file.open("rb") as opened:
        if is_dicom(opened.read(HEAD)):
            require_pydicom()
            opened.seek(0)
            return count_frames(opened, 4 * MAX_PIXELS)
    return 1


class ImageReader:
    """Reads images by where a listing says that they are; threads may share it.

    What is no frame is read anew each time, and not kept. Of files of several frames the last is kept, whatever its
    size: who reads its frame needs all of it anyway.

    Args:
        frames: `dataset.frames`, which says whether a place may name a frame.
        kept: bytes of files before the last that are kept too.
    """

    def __init__(self, frames: str, kept: int = KEPT) -> None:
        self.frames, self.kept = frames, kept
        self.bytes_read = 0
        self._files: OrderedDict[Place, _File] = OrderedDict()  # the last that was asked for at the end
        self._lock = threading.Lock()

    def read(self, image: Place) -> bytes:
        """Returns the file that an image is in. Raises OSError."""
        file, number = file_and_frame(image, self.frames)
        return self._file(file).data if number is not None else self._fresh(file)

    def read_hashed(self, image: Place) -> tuple[bytes, str, str]:
        """Returns the file that an image is in, the SHA-256 of the file, and the digest of the image in it, which is
        what a listing calls the image's `sha256`. Raises OSError.
        """
        file, number = file_and_frame(image, self.frames)
        if number is not None:
            known = self._file(file)
            return known.data, known.sha256, frame_digest(known.sha256, number)
        data = self._fresh(file)
        sha256 = hashlib.sha256(data).hexdigest()
        return data, sha256, sha256

    def _fresh(self, file: Place) -> bytes:
        data = file.read_bytes()
        self.bytes_read += len(data)  # of threads at once one may be lost: it is a rough count
        return data

    def _file(self, file: Place) -> _File:
        with self._lock:  # while one thread reads a file, others would read the same one
            found = self._files.get(file)
            if found is None:
                data = self._fresh(file)
                found = self._files[file] = _File(data, hashlib.sha256(data).hexdigest())
            self._files.move_to_end(file)
            while len(self._files) > 1 and self._size() - len(found.data) > self.kept:
                self._files.popitem(last=False)
            return found

    def _size(self) -> int:
        return sum(len(file.data) for file in self._files.values())
