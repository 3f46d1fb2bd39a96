"""Masks: which pixels of a test image are abnormal. For evaluation alone; no model and no decision reads one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from swag_ray.errors import InputError, reason_of
from swag_ray.images.decode import MAX_PIXELS
from swag_ray.images.places import Place
from swag_ray.images.silence import silenced

FIELD = "dataset.manifest"
FORMATS = ("PNG", "BMP", "GIF", "TIFF")  # in a JPEG a 0 does not stay 0
WITHOUT_ALPHA = {"LA": "L", "PA": "P", "RGBA": "RGB"}


def check_mask(place: Place, size: tuple[int, int]) -> None:
    """Refuses a mask whose header cannot be read or tells another size.

    Args:
        size: width and height of the image.

    Raises:
        InputError: one line.
    """
    _read(place, size, pixels=False)


def read_mask(place: Place, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Returns where an image is abnormal: what is not 0 in any channel but alpha, (height, width).

    Args:
        size: width and height of the image.

    Raises:
        InputError: it cannot be read, or is of another size.
    """
    value = _read(place, size, pixels=True)
    return np.asarray(value.any(axis=2) if value.ndim == 3 else value != 0)


def _read(place: Place, size: tuple[int, int], *, pixels: bool) -> NDArray[np.uint8]:
    try:
        with place.open("rb") as file, silenced(), Image.open(file, formats=FORMATS) as image:
            found = image.size
            if found == size and found[0] * found[1] <= MAX_PIXELS and pixels:
                return np.asarray(image.convert(WITHOUT_ALPHA[image.mode]) if image.mode in WITHOUT_ALPHA else image)
    except MemoryError:
        raise
    except OSError as error:
        raise InputError(f"{FIELD}: cannot read the mask '{place}' ({reason_of(error)})", _CURE) from None
    except Exception as error:  # PIL's parsers raise SyntaxError, struct.error, ... on broken bytes
        raise InputError(f"{FIELD}: cannot read the mask '{place}' ({type(error).__name__})", _CURE) from None
    if found != size:
        sizes = f"{found[0]} x {found[1]} pixels, its image {size[0]} x {size[1]}"
        raise InputError(f"{FIELD}: the mask '{place}' has {sizes}", "give one of the image's size, or leave it empty")
    return np.empty((0, 0), np.uint8)


_CURE = "give a PNG, BMP, GIF or TIFF, or leave it empty"
