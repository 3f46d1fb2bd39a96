"""Generators derived from names, so that a result depends on (seed, round, fold, sample) and never on who computed
it when.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(*parts: object) -> int:
    """A 63-bit seed from any printable parts; the same on every machine and Python version."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def numpy_generator(*parts: object) -> np.random.Generator:
    """A numpy generator for these parts."""
    return np.random.default_rng(derive(*parts))


def torch_generator(*parts: object) -> torch.Generator:
    """A CPU torch generator for these parts; draws made on the CPU are the same with and without a GPU."""
    import torch

    return torch.Generator().manual_seed(derive(*parts))
