"""Images to frozen features: decode, embed in batches of one size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from swag_ray.core.shortcuts import image_statistics

if TYPE_CHECKING:
    from swag_ray.features.backbone import Backbone


BATCH, GPU_BATCH = 4, 64  # a core is fastest when a batch's maps stay in its cache, a GPU when it is full


def extract(backbone: Backbone, images: Iterable[bytes], image_size: int) -> Iterator[dict[str, Any]]:
    """Decode and embed images in batches of a fixed size.

    Yields:
        One dict an image, in order: `error` (None or why it cannot be read), `features` {stride: (P, C) float16} or
        None, `statistics` or None, `width`, `height`.
    """
    import torch

    from swag_ray.images.decode import read_grey
    from swag_ray.images.image_error import ImageError

    device = next(backbone.parameters()).device
    batch = BATCH if device.type == "cpu" else GPU_BATCH
    pending: list[dict[str, Any]] = []
    pixels: list[torch.Tensor] = []

    def flush() -> Iterator[dict[str, Any]]:
        if pixels:
            filled = pixels + [torch.zeros_like(pixels[0])] * (batch - len(pixels))
            features = {s: f.cpu().numpy() for s, f in backbone(torch.stack(filled).to(device)).items()}
            good = (row for row in pending if row["error"] is None)
            for i, row in enumerate(good):
                row["features"] = {stride: f[i] for stride, f in features.items()}
        yield from pending
        pending.clear()
        pixels.clear()

    for data in images:
        row: dict[str, Any] = {"error": None, "features": None, "statistics": None, "width": 0, "height": 0}
        try:
            decoded = read_grey(data, image_size)
            row |= {"width": decoded.width, "height": decoded.height}
            row["statistics"] = image_statistics(decoded.image_1HW[0].numpy())
            pixels.append(decoded.image_1HW)
        except ImageError as error:
            row["error"] = str(error)
        pending.append(row)
        if len(pixels) == batch:
            yield from flush()
    yield from flush()
