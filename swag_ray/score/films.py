"""What a person looks at: an image under its heatmap."""

from __future__ import annotations

import io
import os

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from swag_ray.detector.heatmap import HeatScale
from swag_ray.images.decode import picture_within
from swag_ray.report.page.overlay import heat_overlay
from swag_ray.score.scorer import ImageBytes, ImageScorer, ScoredImage

LARGEST = 1024  # pixels a side of a film under its heatmap
LONGEST = 200  # bytes of a file's name, of the 255 that there are


def overlay_name(image: ScoredImage) -> str:
    """Returns what the file of an image's overlay is called."""
    name = image.id if len(os.fsencode(image.id)) <= LONGEST else image.sha256[:16]
    return f"{name}.png"


def grey_picture(scorer: ImageScorer, image: ImageBytes, most: int) -> NDArray[np.uint8]:
    """Returns the grey image (H, W) of at most `most` pixels a side. Raises ImageError where it cannot be read."""
    return picture_within(image.data, most, scorer.detector.spec.reading.of(image.place))


def overlay_png(scorer: ImageScorer, image: ImageBytes, heat_GG: NDArray[np.float32]) -> bytes:
    """Returns the image under its heatmap as a PNG file. Raises ImageError where it cannot be read any more."""
    scale = scorer.detector.heat
    assert isinstance(scale, HeatScale)  # else there is no heatmap
    grey_HW = grey_picture(scorer, image, LARGEST).astype(np.float32)
    pixels = heat_overlay(grey_HW, heat_GG, scale.low, scale.high)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
