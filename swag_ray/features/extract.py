"""Images to frozen features: decode, embed in batches of one size."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from swag_ray.core.shortcuts import image_statistics
from swag_ray.images.decode import AS_STORED, Decoded, Reading, read_grey
from swag_ray.images.image_error import ImageError

if TYPE_CHECKING:
    import torch

    from swag_ray.features.backbone import Backbone


BATCH, GPU_BATCH = 4, 64  # a core is fastest when a batch's maps stay in its cache, a GPU when it is full
NOT_FINITE = "its features are not finite numbers"
T = TypeVar("T")
R = TypeVar("R")
Row = dict[str, Any]
Pixels: TypeAlias = "tuple[Row, torch.Tensor | None]"


def extract(
    backbone: Backbone, images: Iterable[bytes], image_size: int, reading: Reading = AS_STORED
) -> Iterator[Row]:
    """Decodes and embeds images in batches of a fixed size, all in the caller's thread.

    Args:
        backbone: what makes the features.
        images: files, read when their turn comes.
        image_size: pixels a side.
        reading: of the set that they are scored with or belong to.

    Yields:
        One dict per image, in order: `error` (None or why it cannot be used), `features` {stride: (P, C) float16} or
        None, `statistics` or None, `width`, `height`, `top` (greatest sample of a 16-bit image, or None).

    Raises:
        MemoryError: an image needs more than there is, which says nothing about the image.
        InputError: what reads DICOM is not installed.
    """
    return embed(backbone, (decode(partial(read_grey, data, image_size, reading)) for data in images))


def decode(read: Callable[[], Decoded]) -> Pixels:
    """Returns what `extract` yields for an image, its features still None, and the pixels (1, size, size) to embed;
    None in place of the pixels where the image cannot be read.

    Args:
        read: decodes the image to its grey square, or raises ImageError.
    """
    row: Row = {"error": None, "features": None, "statistics": None, "width": 0, "height": 0, "top": None}
    try:
        decoded = read()
        row |= {"width": decoded.width, "height": decoded.height, "top": decoded.top}
        row["statistics"] = image_statistics(decoded.image_1HW[0].numpy())
    except ImageError as error:
        row["error"] = str(error)
        return row, None
    return row, decoded.image_1HW


def embed(backbone: Backbone, images: Iterable[Pixels]) -> Iterator[Row]:
    """Yields the rows of decoded images with their features, in order. Every batch has the same size, padded where
    images are few, so that an image's bits do not depend on how many there are.
    """
    import torch

    device = next(backbone.parameters()).device
    batch = BATCH if device.type == "cpu" else GPU_BATCH
    pending: list[Row] = []
    pixels: list[torch.Tensor] = []

    def flush() -> Iterator[Row]:
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

    for row, image_1HW in images:
        pending.append(row)
        if image_1HW is not None:
            pixels.append(image_1HW)
        if len(pixels) == batch:
            yield from flush()
    yield from flush()


def ahead(threads: Executor, work: Callable[[T], R], items: Iterable[T], most: int) -> Generator[R]:
    """Yields `work(item)` in the order of the items, done in threads that are at most `most` items ahead of whoever
    reads: `Executor.map` would hold the results of all items at once.
    """
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(threads.submit(work, item))
            if len(waiting) == most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
