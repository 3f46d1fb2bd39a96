"""Images to frozen features: decode, embed in batches of one size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from swag_ray.core.shortcuts import image_statistics
from swag_ray.images.decode import FULL_WHITE, read_grey
from swag_ray.images.image_error import ImageError

if TYPE_CHECKING:
    from swag_ray.features.backbone import Backbone


BATCH, GPU_BATCH = 4, 64  # a core is fastest when a batch's maps stay in its cache, a GPU when it is full
NOT_FINITE = "its features are not finite numbers"


def extract(
    backbone: Backbone, images: Iterable[bytes], image_size: int, white: int = FULL_WHITE
) -> Iterator[dict[str, Any]]:
    """Decodes and embeds images in batches of a fixed size.

    Args:
        backbone: what makes the features.
        images: files, read when their turn comes.
        image_size: pixels a side.
        white: the greatest sample of 16-bit images.

    Yields:
        One dict an image, in order: `error` (None or why it cannot be used), `features` {stride: (P, C) float16} or
        None, `statistics` or None, `width`, `height`, `top` (greatest sample of a 16-bit image, or None).

    Raises:
        MemoryError: an image needs more than there is, which says nothing about the image.
    """
    import torch

    device = next(backbone.parameters()).device
    batch = BATCH if device.type == "cpu" else GPU_BATCH
    pending: list[dict[str, Any]] = []
    pixels: list[torch.Tensor] = []

    def flush() -> Iterator[dict[str, Any]]:
        if pixels:
            filled = pixels + [torch.zeros_like(pixels[0])] * (batch - len(pixels))
            features = {s: f.cpu().numpy() for s, f in backbone(torch.stack(filled).to(device)).items()}
            good = [row for row in pending if row["error"] is None]
            for i, row in enumerate(good):
                own = {stride: f[i] for stride, f in features.items()}
                if all(np.isfinite(f).all() for f in own.values()):
                    row["features"] = own
                else:
                    row |= {"error": NOT_FINITE, "statistics": None}
        yield from pending
        pending.clear()
        pixels.clear()

    for data in images:
        row: dict[str, Any] = {
            "error": None,
            "features": None,
            "statistics": None,
            "width": 0,
            "height": 0,
            "top": None,
        }
        try:
            decoded = read_grey(data, image_size, white)
            row |= {"width": decoded.width, "height": decoded.height, "top": decoded.top}
            row["statistics"] = image_statistics(decoded.image_1HW[0].numpy())
            pixels.append(decoded.image_1HW)
        except ImageError as error:
            row["error"] = str(error)
        pending.append(row)
        if len(pixels) == batch:
            yield from flush()
    yield from flush()
