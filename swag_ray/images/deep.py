"""The grey range of a set of 16-bit images: films of 10, 12 or 14 bits are stored in 16 too, and no file says so.

One range for a set, from the bits in use over all its deep images: were each film stretched to its own, a dark film
and a bright one would look alike.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from swag_ray.errors import InputError, reason_of
from swag_ray.images.decode import FULL_WHITE, deep_top
from swag_ray.images.image_error import ImageError
from swag_ray.images.places import Place
from swag_ray.images.png import is_deep
from swag_ray.wording import clause, plural

TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the latter two of BigTIFF
FEW_DEEPER = 0.1  # share of a set's deep images up to which those of most bits are its odd ones
SHOWN = 3  # paths that a warning names
CLEARLY_FEWER = 2  # bits: a film with a quarter of the set's greatest sample; one bit less is a dark film


def may_be_deep(start: bytes) -> bool:
    """Whether the first bytes of a file are those of a 16-bit PNG, or of a TIFF, whose depth stands further on."""
    return is_deep(start) or start.startswith(TIFFS)


def bits_in_use(
    paths: Sequence[Place], *, threads: int, advance: Callable[[int], None], lenient: bool = False
) -> NDArray[np.uint8]:
    """Returns the bits of the greatest sample of each image, (N,): 1 to 16, and 0 for one of 8 bits or damaged.

    Every sample is decoded, in threads: PIL lets go of the interpreter meanwhile.

    Args:
        paths: of the images, (N,).
        threads: that decode.
        advance: is told of each image.
        lenient: a file that cannot be read counts 0. A result that is kept must not hold such a passing fault.

    Raises:
        InputError: a file that cannot be read, or too little memory to decode it.
    """

    def bits(path: Place) -> int:
        try:
            top = deep_top(path.read_bytes())
        except ImageError:  # said where images are read
            top = None
        except MemoryError:
            advice = "run where there is more memory"
            raise InputError(f"memory: too little to decode images like '{path}'", advice) from None
        except OSError as error:
            if not lenient:
                raise InputError(f"dataset: '{path}' cannot be read ({reason_of(error)})", "run again") from None
            top = None
        advance(1)
        return 0 if top is None else max(1, top.bit_length())

    # Two threads that each silence warnings would undo each other's.
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("ignore")
        return np.fromiter(pool.map(bits, paths), np.uint8, len(paths))


def white_of(bits_N: NDArray[np.uint8]) -> int:
    """Returns the greatest sample of a set: 2^bits - 1 for the most bits in use; 65535 without a deep image."""
    most = int(bits_N.max(initial=0))
    return 2**most - 1 if most else FULL_WHITE


def range_warnings(paths: Sequence[str], bits_N: NDArray[np.uint8], white: int, *, given: bool = False) -> list[str]:
    """Returns what the user must know of the range: that it is not the file's own, and images far below it.

    Args:
        paths: (N,) names for the user.
        bits_N: as `bits_in_use` gives them.
        white: the greatest sample of that range.
        given: the range was found in other images, a detector's.
    """
    lines = []
    deep = int(np.count_nonzero(bits_N))
    images = plural(deep, "16-bit image")
    if white != FULL_WHITE:
        lines.append(
            f"dataset.range: {clause(deep, '16-bit image', 'uses', 'use')} {white.bit_length()} bits at most and "
            f"{'is' if deep == 1 else 'are'} read with the range 0 to {white}"
        )
    few_N = (bits_N > 0) & (bits_N.astype(int) <= white.bit_length() - CLEARLY_FEWER)
    if not few_N.any():
        return lines
    most = int(bits_N[few_N].max())
    deeper = np.flatnonzero((bits_N > 0) & ~few_N)
    if not given and len(deeper) <= FEW_DEEPER * deep:
        names = ", ".join(paths[row] for row in deeper[:SHOWN]) + (", ..." if len(deeper) > SHOWN else "")
        lines.append(
            f"dataset.range: {len(deeper)} of {images} {'uses' if len(deeper) == 1 else 'use'} more than {most} bits "
            f"({names}); the others come out dark with the range 0 to {white} that this sets; "
            "mend or leave out what is odd"
        )
        return lines
    few = np.flatnonzero(few_N)
    verb, come = ("uses", "it comes") if len(few) == 1 else ("use", "they come")
    lines.append(
        f"dataset.range: {len(few)} of {images} {verb} {most} bits at most, with the range 0 to {white} {come} out "
        f"dark (for instance {paths[few[0]]}); films of another depth belong in a set of their own"
    )
    return lines
