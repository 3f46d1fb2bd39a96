"""Draws that depend on nothing but a seed and names: a hash of each name orders it, whatever else there is.

Shapes: G names, n some of them.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def keyed_order(random_seed: int, purpose: str, names: pa.Array, number: NDArray[Any]) -> NDArray[Any]:
    """These numbers of sorted names in the order of the names' hashes; of equal hashes, in that of the names."""
    return number[np.argsort(keyed_hashes(random_seed, purpose, names, number), kind="stable")]


def keyed_hashes(random_seed: int, purpose: str, names: pa.Array, number: NDArray[Any]) -> NDArray[np.uint64]:
    """Returns the hashes of these numbers of names."""
    hashes = (keyed_hash(random_seed, purpose, names[i].as_py()) for i in number)
    return np.fromiter(hashes, np.uint64, len(number))


def keyed_hash(random_seed: int, purpose: str, name: str) -> int:
    """Returns the number, 64 bits, by which a name is ordered in a draw."""
    # Not Python's hash: it differs from one process to the next.
    text = f"{random_seed}\0{purpose}\0{name}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
