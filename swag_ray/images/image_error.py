"""Why an image cannot be used, and when it is not the image's fault."""

from __future__ import annotations


class ImageError(ValueError):
    """An image that cannot be used; the message is the reason, without the path."""


def is_short_of_memory(error: Exception) -> bool:
    """Whether a decoder failed for want of memory, not for the image's sake: few of them raise MemoryError."""
    return isinstance(error, MemoryError) or "memory" in str(error).lower()
