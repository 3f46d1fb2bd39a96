"""Auxiliary anomalies: label-free variants of trusted images, each altered in one place.

A head that tells trusted images from their own variants learns what "altered here" looks like, without having seen an
anomaly. Nothing in them is meant to resemble a disease.

Shapes: an image is (S, S), grey 0..255; the host is the image that is altered, the donor lends what goes into it.
Lengths are shares of S, so that a variant looks the same at every image size. A *place* is (S, S) in [0, 1]: how
much of a pixel is altered, 1 where most is; over a soft rim it falls to 0.

Sources: foreign patch interpolation, Tan et al. 2020 (arXiv 2011.04197); its Poisson form, Tan et al. 2021 (arXiv
2107.02622) and Schlueter et al. 2022 (arXiv 2109.15222); cut-and-paste, Li et al. 2021 (arXiv 2104.04015).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float64]  # in float64 a processor's last bit never reaches the rounded grey value
Draw = np.random.Generator

RADII = (0.08, 0.27)  # of an ellipse: from a nodule to most of a lobe
CENTRES = (0.15, 0.85)  # a centre nearer to the rim would alter little but background
RIM = 0.25  # of an ellipse's radius: over it the change fades out, so that no edge gives it away
STRENGTH = (0.4, 1.0)  # share of the donor inside: below it a variant is hardly different from its host
OFFSET = 0.23  # how far the donor is shifted at most, each way
SIDES = (0.15, 0.55)  # of a rectangle
BLOBS = (1, 4)  # opacities an image
BLOB_RADII = (0.05, 0.23)
GREY = (15.0, 70.0)  # of an opacity's centre, lighter or darker than what is there
INSIDE = 0.25  # of a place: an ellipse with half its soft rim; of an opacity 1.7 radii, which hold 3/4 of its change


@dataclass(frozen=True)
class Kind:
    """One way to alter an image.

    Attributes:
        alter: (host, donor, generator) -> the altered image and its place, (S, S) float64; the donor is the host where
            none is asked.
        foreign: whether the donor is another image.
    """

    alter: Callable[[Image, Image, Draw], tuple[Image, Image]]
    foreign: bool


def variant(kind: str, host_SS: NDArray[np.uint8], donor_SS: NDArray[np.uint8], generator: Draw) -> NDArray[np.uint8]:
    """Returns the host altered in one place, (S, S) uint8.

    Args:
        kind: a name in `KINDS`.
        host_SS, donor_SS: (S, S) uint8; the host itself as the donor for kinds that are not foreign.
        generator: place, size and strength are drawn from it.

    Raises:
        ValueError: images that are no squares of one size.
    """
    return variant_and_place(kind, host_SS, donor_SS, generator)[0]


def variant_and_place(
    kind: str, host_SS: NDArray[np.uint8], donor_SS: NDArray[np.uint8], generator: Draw
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Returns what `variant` does, and where it is altered: (S, S), true from `INSIDE` on."""
    if host_SS.ndim != 2 or len(set(host_SS.shape + donor_SS.shape)) != 1:
        raise ValueError(f"host {host_SS.shape} and donor {donor_SS.shape} must be squares of one size")
    altered, place = KINDS[kind].alter(host_SS.astype(np.float64), donor_SS.astype(np.float64), generator)
    return np.rint(np.clip(altered, 0, 255)).astype(np.uint8), place >= INSIDE


def _foreign_patch(host: Image, donor: Image, draw: Draw) -> tuple[Image, Image]:
    """Blends a soft ellipse of another image, shifted, into the host."""
    strength, place = draw.uniform(*STRENGTH), _ellipse(len(host), draw)
    return host + strength * place * (_shifted(donor, _offsets(len(host), draw)) - host), place


def _foreign_gradients(host: Image, donor: Image, draw: Draw) -> tuple[Image, Image]:
    """Mixes gradients of another image into a rectangle, and solves for grey values that meet the host at its rim."""
    from scipy.fft import dstn, idstn

    size = len(host)
    (height, top), (width, left) = (_side_and_start(size, draw) for _ in range(2))
    strength = draw.uniform(*STRENGTH)
    window = np.s_[top - 1 : top + height + 1, left - 1 : left + width + 1]
    change = (_shifted(donor, _offsets(size, draw)) - host)[window]
    inside = change[1:-1, 1:-1]
    laplacian = change[:-2, 1:-1] + change[2:, 1:-1] + change[1:-1, :-2] + change[1:-1, 2:] - 4 * inside
    # The discrete Poisson equation with zero on the rim is diagonal under the sine transform.
    rows, columns = (2 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1)) - 2 for n in inside.shape)
    solved = idstn(dstn(strength * laplacian, type=1) / (rows[:, None] + columns), type=1)
    out, place = host.copy(), np.zeros_like(host)
    out[top : top + height, left : left + width] += solved
    place[top : top + height, left : left + width] = 1
    return out, place


def _own_patch(host: Image, donor: Image, draw: Draw) -> tuple[Image, Image]:
    """Blends a soft ellipse of the host itself, mirrored or not and shifted, into the host."""
    strength, place = draw.uniform(*STRENGTH), _ellipse(len(host), draw)
    across, along = draw.integers(0, 2, size=2)
    turned = host[:: -1 if along else 1, :: -1 if across else 1]
    return host + strength * place * (_shifted(turned, _offsets(len(host), draw)) - host), place


def _cut_paste(host: Image, donor: Image, draw: Draw) -> tuple[Image, Image]:
    """Copies a rectangle of the host to another place of it, edges and all."""
    size = len(host)
    (height, top), (width, left) = (_side_and_start(size, draw) for _ in range(2))
    to_top, to_left = (int(draw.integers(0, size - side)) for side in (height, width))
    out, place = host.copy(), np.zeros_like(host)
    out[to_top : to_top + height, to_left : to_left + width] = host[top : top + height, left : left + width]
    place[to_top : to_top + height, to_left : to_left + width] = 1
    return out, place


def _opacities(host: Image, donor: Image, draw: Draw) -> tuple[Image, Image]:
    """Adds smooth lighter or darker blobs."""
    out, place = host.copy(), np.zeros_like(host)
    for _ in range(draw.integers(BLOBS[0], BLOBS[1] + 1)):
        blob = np.exp(-0.5 * _distance(len(host), BLOB_RADII, draw) ** 2)
        out += draw.choice((-1, 1)) * draw.uniform(*GREY) * blob
        place = np.maximum(place, blob)
    return out, place


KINDS: Mapping[str, Kind] = {
    "foreign_patch": Kind(_foreign_patch, foreign=True),
    "foreign_gradients": Kind(_foreign_gradients, foreign=True),
    "own_patch": Kind(_own_patch, foreign=False),
    "cut_paste": Kind(_cut_paste, foreign=False),
    "opacities": Kind(_opacities, foreign=False),
}


def _distance(size: int, radii: tuple[float, float], draw: Draw) -> Image:
    """Distance of every pixel to the centre of an ellipse that is drawn, in its radii: 1 on its rim."""
    radius_y, radius_x = draw.uniform(*radii, size=2) * size
    centre_y, centre_x = draw.uniform(*CENTRES, size=2) * size
    angle = draw.uniform(0, np.pi)
    y, x = np.ogrid[:size, :size]
    up, right = y - centre_y, x - centre_x
    cos, sin = np.cos(angle), np.sin(angle)
    distance: Image = np.hypot((up * cos + right * sin) / radius_y, (right * cos - up * sin) / radius_x)
    return distance


def _ellipse(size: int, draw: Draw) -> Image:
    """A soft ellipse: 1 inside, 0 outside, falling over its rim."""
    return np.clip((1 + RIM / 2 - _distance(size, RADII, draw)) / RIM, 0, 1)


def _offsets(size: int, draw: Draw) -> tuple[int, int]:
    most = int(OFFSET * size)
    down, right = draw.integers(-most, most + 1, size=2)
    return int(down), int(right)


def _shifted(image: Image, offsets: tuple[int, int]) -> Image:
    """The image moved down and right; what moves in repeats the rim."""
    rows, columns = (np.clip(np.arange(len(image)) - offset, 0, len(image) - 1) for offset in offsets)
    return image[rows][:, columns]


def _side_and_start(size: int, draw: Draw) -> tuple[int, int]:
    """A side of a rectangle, and where it starts so that a rim of one pixel is left on both ends."""
    side = max(1, int(draw.uniform(*SIDES) * size))
    return side, int(draw.integers(1, size - side))
