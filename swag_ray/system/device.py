"""Where tensors are worked on: the GPU that this process sees, or the CPU. The arithmetic is the same code on both."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def device() -> torch.device:
    """The GPU of this process (Ray shows an actor its own), else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
