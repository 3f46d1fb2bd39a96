"""Why an image cannot be used."""

from __future__ import annotations


class ImageError(ValueError):
    """An image that cannot be used; the message is the reason, without the path."""
