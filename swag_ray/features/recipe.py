"""What the pixels of a row of features are made of: an image file, or a variant of one (`core/auxiliary.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from swag_ray.core.auxiliary import variant, variant_and_place
from swag_ray.core.seeding import numpy_generator
from swag_ray.images.decode import Decoded, Reading, picture, read_grey
from swag_ray.store.stages import VERSIONS, digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

Read = Callable[[str, str], bytes]  # (path, the SHA-256 it was listed with) -> the file, of a frame the file it is in


@dataclass(frozen=True, slots=True)
class Recipe:
    """An image file, or a variant of one.

    Attributes:
        path, sha256: the image as it is listed, and the SHA-256 that it is listed with; of a variant, the host's.
        kind: of the variant, a name in `core.auxiliary.KINDS`; "" for the file as it is.
        donor, donor_sha256: the file that lends a patch; "" for kinds that take none.
        draw: number among the variants of one host and kind.
    """

    path: str
    sha256: str
    kind: str = ""
    donor: str = ""
    donor_sha256: str = ""
    draw: int = 0

    @property
    def key(self) -> str:
        """Names the row: the file's SHA-256, or a digest of all that a variant depends on, paths apart."""
        if not self.kind:
            return self.sha256
        parts = [VERSIONS["auxiliary"], self.kind, self.sha256, self.donor_sha256, self.draw]
        return f"variant-{digest(parts)}"

    def files(self, read: Read) -> tuple[bytes, ...]:
        """Returns the files that the pixels are made of, the host's first."""
        first = read(self.path, self.sha256)
        return (first, read(self.donor, self.donor_sha256)) if self.donor else (first,)

    def decode(self, files: tuple[bytes, ...], size: int, reading: Reading) -> Decoded:
        """Decodes the files to the grey square that is to be embedded.

        Raises:
            ImageError: as `read_grey`, of host or donor.
        """
        host = read_grey(files[0], size, reading.of(self.path))
        if not self.kind:
            return host
        import torch

        def grey(decoded: Decoded) -> NDArray[np.uint8]:
            return np.asarray(decoded.image_1HW[0].numpy())

        donor = read_grey(files[1], size, reading.of(self.donor)) if len(files) > 1 else host
        altered = self._altered(grey(host), grey(donor))
        return Decoded(torch.from_numpy(altered)[None], host.width, host.height, host.top)

    def pictures(
        self, files: tuple[bytes, ...], size: int, reading: Reading
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Returns a variant's host and the variant, (size, size) each, for people to look at: within rounding what
        `decode` gives, no torch.

        Raises:
            ImageError, MemoryError: as `picture`, of host or donor.
        """
        host = picture(files[0], size, reading.of(self.path))
        donor = picture(files[1], size, reading.of(self.donor)) if len(files) > 1 else host
        return host, self._altered(host, donor)

    def place(self, size: int) -> NDArray[np.bool_]:
        """Returns where a variant of this size is altered, (size, size); no file is read."""
        blank = np.zeros((size, size), np.uint8)  # what is altered depends on the draws alone
        return variant_and_place(self.kind, blank, blank, numpy_generator(self.key))[1]

    def _altered(self, host: NDArray[np.uint8], donor: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return variant(self.kind, host, donor, numpy_generator(self.key))
