"""Which test images have masks, and where: for evaluation alone.

Shapes: m test images that take part.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swag_ray.features.reader import FeatureReader, Rows
from swag_ray.images.audit import Audit
from swag_ray.images.manifest import place_of
from swag_ray.images.mask import check_mask
from swag_ray.images.places import Place, locate


@dataclass(frozen=True)
class MaskedTests:
    """Test images whose abnormal pixels are known: anomalies that have a mask, and normals, which need none.

    Attributes:
        row_m: of the test images.
        place_m: their masks; None: nothing is marked.
        size_m2: width and height of the images.
    """

    row_m: NDArray[np.int64]
    place_m: tuple[Place | None, ...]
    size_m2: NDArray[np.int32]


def masked_tests(audit: Audit, manifest: str | None, reader: FeatureReader, rows_T: Rows) -> MaskedTests | None:
    """Returns the test images whose abnormal pixels are known; None where no anomaly has a mask.

    Args:
        manifest: where masks are relative to.
        reader: knows the images' sizes.

    Raises:
        InputError: a mask cannot be read, or is not of its image's size, as far as its header tells.
    """
    has_mask_T = audit.mask_T != ""
    if manifest is None or not (audit.anomaly_T & has_mask_T).any():
        return None
    row_m = np.flatnonzero((audit.label_T == 0) | (audit.anomaly_T & has_mask_T))
    base = locate(manifest)
    base = base.expanduser().absolute() if isinstance(base, Path) else base
    place_m = tuple(place_of(base, name) if name else None for name in audit.mask_T[row_m].tolist())
    size_m2 = reader.statistics(rows_T.take(row_m), np.zeros(len(row_m), np.int64)).size_N2
    for place, (width, height) in zip(place_m, size_m2.tolist(), strict=True):
        if place is not None:
            check_mask(place, (width, height))
    return MaskedTests(row_m, place_m, size_m2)
