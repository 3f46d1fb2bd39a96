"""A film with a map laid over it, and pictures that stand in the page itself.

Shapes: H x W pixels, G x G grid cells.
"""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from swag_ray.report.page.markup import Html, element

LARGEST = 320  # pixels a side; a thumbnail on the page, not the image for reading
LAYER = 128  # pixels a side of a map by itself, which a browser enlarges smoothly


def grey_levels(image_HW: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns an image of at most `LARGEST` pixels a side."""
    picture = Image.fromarray(image_HW)
    picture.thumbnail((LARGEST, LARGEST))
    return np.asarray(picture, dtype=np.float32)


def enlarged(map_GG: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Returns a map as smooth as a film of this shape (H, W, ...) wants it."""
    size = (shape[1], shape[0])
    return np.asarray(Image.fromarray(map_GG).resize(size, Image.Resampling.BICUBIC), dtype=np.float32)


def data_uri(pixels: NDArray[np.float32]) -> str:
    """Returns grey (H, W) or coloured (H, W, 3) levels as an image that stands in the page itself."""
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=86)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def blend(
    grey_HW: NDArray[np.float32], colour_HW3: NDArray[np.float64], alpha_HW: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Returns the grey image under colours: alpha 0 shows the image, 1 the colour. (H, W, 3)."""
    weight_HW1 = alpha_HW[..., None]
    return ((1 - weight_HW1) * grey_HW[..., None] + weight_HW1 * colour_HW3).astype(np.float32)


def heat_colour(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns colours (..., 3), 0..255, of what lies between the ends of a scale of heat: 0 at its low end, 1 at its
    high one.
    """
    import matplotlib

    return np.asarray(255 * np.asarray(matplotlib.colormaps["inferno"](0.25 + 0.72 * x))[..., :3])


def heat_overlay(
    grey_HW: NDArray[np.float32], map_GG: NDArray[np.float32], low: float, high: float
) -> NDArray[np.float32]:
    """Returns the grey image under a map of heat: nothing up to `low`, brightest from `high` on. (H, W, 3)."""
    x_HW = _strength(map_GG, grey_HW.shape, low, high)
    return blend(grey_HW, heat_colour(x_HW), _opacity(x_HW))


def heat_layer(map_GG: NDArray[np.float32], low: float, high: float) -> str:
    """Returns the colours of `heat_overlay` alone, as a picture to lay over the image in the page."""
    x_HW = _strength(map_GG, (LAYER, LAYER), low, high)
    rgba_HW4 = np.dstack([heat_colour(x_HW), 255 * _opacity(x_HW)])
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.rint(rgba_HW4), 0, 255).astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def heat_bar(low: float, high: float) -> Html:
    """Returns the colours from one end of the scale to the other, with its figures."""
    colours = ", ".join("rgb({:.0f}, {:.0f}, {:.0f})".format(*heat_colour(np.array(x))) for x in np.linspace(0, 1, 6))
    bar = element("span", class_="scale", style=f"background: linear-gradient(to right, {colours})")
    return element("span", f"{low:.1f} ", bar, f" {high:.1f}", class_="range")


def _strength(map_GG: NDArray[np.float32], shape: tuple[int, ...], low: float, high: float) -> NDArray[np.float64]:
    """Where between the ends of the scale each pixel lies, 0 to 1."""
    return np.clip((enlarged(map_GG, shape) - low) / max(high - low, 1e-12), 0, 1).astype(np.float64)


def _opacity(x_HW: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.75 * x_HW**0.7)
