"""Where tensors are worked on: the GPU that this process sees, or the CPU. The arithmetic is the same code on both, in
float32: features and fits are named by what they depend on, and the device is not part of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from swag_ray.errors import InputError

if TYPE_CHECKING:
    import torch

FEWER = "end other programs, or use nodes with more memory"


def device() -> torch.device:
    """The GPU of this process (Ray shows an actor its own), else the CPU; from then on without TF32.

    That keeps 10 bits of a factor, no more than the float16 that features are stored as, and is what torch convolves in
    on a GPU unless told otherwise.
    """
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def is_out_of_gpu_memory(error: BaseException) -> bool:
    """Whether torch raised this because the GPU has too little memory left."""
    import torch

    return isinstance(error, torch.OutOfMemoryError)


def shortage(error: MemoryError | RuntimeError, work: str) -> InputError:
    """Returns the line for work that memory was too little for, this machine's or the GPU's; raises any other error
    again.
    """
    if isinstance(error, MemoryError):
        return InputError(f"memory: too little for {work}", FEWER)
    if is_out_of_gpu_memory(error):
        return InputError(f"GPU memory: too little for {work}", "free the GPU")
    raise error
