"""Whether an image is of the kind that a detector was made for at all, from trusted images alone.

A score says how far an image is from trusted ones, not why: an inverted film, a covered one or another organ scores
high and is not diseased. Four statistics look at what disease hardly moves; each has a limit well beyond what seeds
reach that were left out of the fit:

    size      side and aspect of the file's image, beyond the range of the seeds
    grey      Mahalanobis distance of the seven grey statistics
    covered   area of a rectangle of one grey level where no seed has any
    kind      root of the squares of view and texture, each in units of its limit: another organ is far in both
      view      1 - t, t the position between the seeds (1) and their negatives (-1) on Fisher's linear discriminant of
                8 x 8 thumbnails: 2 is inverted, about 1 another view or organ
      texture   Mahalanobis distance of the interquartile mean over the patches of the finest stride, which a lesion
                hardly moves: noise, blur, another modality

Shapes: N images, n seeds, P patches, C channels, Q = 7 grey statistics, D = 64 cells, 32 x 32 pixels of a
thumbnail.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.array_checks import finite
from swag_ray.core.cover import covered_share, flat_places
from swag_ray.core.mahalanobis import Spread, fit_spread, spread_distance
from swag_ray.core.shortcuts import GREY, THUMBNAIL

NAMES = ("size", "grey", "covered", "kind")
# Beyond this many times the seeds' own cross-fitted reach nothing is like them. At 1.25 one in ten anomalies of other
# hospitals counts as strange for its grey levels and nine in ten for their texture; noise and blur lie beyond 2.
FACTOR = 2.0
BROKEN = 3.0  # seeds beyond this many times their 90th centile are broken themselves and set no limit
VIEW = 1.25  # limit of the view alone, a quarter on the negatives' side of the middle; and of the seeds' reach
SIDE = 8  # cells a side of what a view is judged by
SHRINKAGE = 0.1  # of the covariance of the cells
SCALE, ASPECT = np.log(3.0), np.log(1.25)  # beyond the seeds' range: a side of a third, a square in place of 4 : 5
INVERTED = 1.5  # of the view, halfway between the middle and the negatives
BLANK = 2.0  # sd of an image's grey levels
FEWER_BITS = 2  # a film with a quarter of the set's greatest sample; one bit less is a dark film

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Traits:
    """What is looked at of N images.

    Attributes:
        thumbnail_NHW: (N, 32, 32) uint8.
        grey_NQ: (N, 7), in the order of `shortcuts.GREY`.
        size_N2: (N, 2) width and height in pixels of the original file.
        texture_NC: (N, C), of `texture`.
    """

    thumbnail_NHW: NDArray[np.uint8]
    grey_NQ: NDArray[Any]
    size_N2: NDArray[Any]
    texture_NC: NDArray[Any]

    def take(self, rows: NDArray[Any]) -> Traits:
        """Returns those of some of the images."""
        return Traits(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True)
class Domain:
    """What the seeds' images are like.

    Attributes:
        size_22: lowest and highest log side and log aspect of the seeds.
        grey_2Q: lowest and highest grey statistics.
        grey, texture: their distributions.
        view_D: discriminant of the cells; t is its product with a standardised thumbnail.
        flat_HW: where seeds have a window of one grey level, bool.
        reach_4: how far seeds lie from the others: in grey, covered, view and texture.
    """

    size_22: NDArray[np.float32]
    grey_2Q: NDArray[np.float32]
    grey: Spread
    texture: Spread
    view_D: NDArray[np.float32]
    flat_HW: NDArray[np.bool_]
    reach_4: NDArray[np.float32]

    @property
    def limits(self) -> dict[str, float]:
        """Of each statistic, what is out of domain lies beyond it."""
        grey, covered, _, _ = self.reach_4.tolist()
        return {"size": 1.0, "grey": FACTOR * max(grey, 1e-6), "covered": covered, "kind": 1.0}

    @property
    def view_limit(self) -> float:
        """Of the view alone."""
        return VIEW * max(1.0, float(self.reach_4[2]))

    @property
    def texture_limit(self) -> float:
        """Of the texture alone."""
        return FACTOR * max(float(self.reach_4[3]), 1e-6)


def texture(patches_NPC: NDArray[Any]) -> NDArray[np.float32]:
    """Returns the interquartile mean over the patches, (N, C): what most of an image is like, whatever a part is."""
    ordered_NPC = np.sort(patches_NPC, axis=1)
    cut = ordered_NPC.shape[1] // 4
    return ordered_NPC[:, cut : ordered_NPC.shape[1] - cut].mean(axis=1, dtype=np.float32)


def fit_domain(seeds: Traits, fold_n: NDArray[Any]) -> Domain:
    """Learns what the seeds are like, and the limits from distances of each fold's seeds to those outside it.

    Args:
        seeds: of the trusted images.
        fold_n: (n,) their folds, at least two: images of one patient in one.

    Raises:
        ValueError: another shape, values that are not finite, or a single fold.
    """
    finite("grey_NQ", seeds.grey_NQ, None, len(GREY))
    finite("texture_NC", seeds.texture_NC, len(seeds.grey_NQ), None)
    folds = np.unique(fold_n)
    if len(folds) < 2 or len(fold_n) != len(seeds.grey_NQ):
        raise ValueError(f"fold_n: expected {len(seeds.grey_NQ)} entries of two folds at least, found {len(folds)}")
    held_out_n4 = np.empty((len(fold_n), 4))
    for k in folds:
        own = fold_n == k
        held_out_n4[own] = _parts(_fitted(seeds.take(~own)), seeds.take(own))
    reach_4 = np.minimum(held_out_n4.max(axis=0), BROKEN * np.quantile(held_out_n4, 0.9, axis=0))
    reach_4[1] = np.quantile(held_out_n4[:, 1], 0.98, method="lower")  # of most seeds nothing is covered
    return replace(_fitted(seeds), reach_4=reach_4.astype(np.float32))


def distances(domain: Domain, images: Traits) -> dict[str, Floats]:
    """Returns {statistic: (N,) distance}, of `NAMES`; what exceeds `domain.limits` is out of domain."""
    return _distances(domain, images, _parts(domain, images))


def reasons(domain: Domain, images: Traits) -> list[str | None]:
    """Returns why each image is out of domain, in a few words with the figure; None where it is not.

    Besides what `distances` measures, an image is out of domain that is blank where no seed is.
    """
    parts_N4, limits = _parts(domain, images), domain.limits
    over = {name: d > limits[name] for name, d in _distances(domain, images, parts_N4).items()}
    sd = GREY.index("sd")
    blank_N = (images.grey_NQ[:, sd] < BLANK) & (domain.grey_2Q[0, sd] >= BLANK)
    mean_N, (low, high) = images.grey_NQ[:, GREY.index("mean")], domain.grey_2Q[:, GREY.index("mean")]
    seen_mean_N = (mean_N >= low) & (mean_N <= high)
    words: list[str | None] = []
    for i, (grey, covered, view, texture) in enumerate(parts_N4.tolist()):
        if over["size"][i]:
            words.append(_size_words(domain, images.size_N2[i]))
        elif blank_N[i]:
            words.append("blank, or nearly so")
        elif over["kind"][i] and view > INVERTED:
            words.append("inverted: black where trusted images are white")
        elif over["covered"][i]:
            words.append(
                f"covered: {covered:.0%} of it is a rectangle of one grey level, where no trusted image has one"
            )
        elif over["grey"][i] and (not over["kind"][i] or not seen_mean_N[i]):  # texture moves with the grey levels
            words.append(_grey_words(domain, images.grey_NQ[i], grey))
        else:
            words.append(_kind_words(domain, view, texture) if over["kind"][i] else None)
    return words


def depth_reason(top: int | None, white: int) -> str | None:
    """Returns why an image's bits in use are unlike the detector's; None where they are not.

    Args:
        top: greatest sample of a 16-bit image; None of any other.
        white: the greatest sample that the detector's 16-bit images hold.
    """
    if not top or top.bit_length() > white.bit_length() - FEWER_BITS:
        return None
    return f"another depth: it uses {top.bit_length()} of {white.bit_length()} bits, and is read far too dark"


def _fitted(seeds: Traits) -> Domain:
    """The domain of these seeds, without limits."""
    sizes, grey = _sizes(seeds), np.asarray(seeds.grey_NQ)
    return Domain(
        size_22=np.stack([sizes.min(axis=0), sizes.max(axis=0)]).astype(np.float32),
        grey_2Q=np.stack([grey.min(axis=0), grey.max(axis=0)]).astype(np.float32),
        grey=fit_spread(grey, least=1.0),  # a grey level
        texture=fit_spread(seeds.texture_NC),
        view_D=_discriminant(_cells(seeds.thumbnail_NHW)),
        flat_HW=flat_places(seeds.thumbnail_NHW),
        reach_4=np.zeros(4, np.float32),
    )  # fmt: skip


def _distances(domain: Domain, images: Traits, parts_N4: Floats) -> dict[str, Floats]:
    beyond_N2 = np.maximum(domain.size_22[0] - _sizes(images), _sizes(images) - domain.size_22[1])
    margin_2 = np.maximum([SCALE, ASPECT], (domain.size_22[1] - domain.size_22[0]) / 2)
    grey_N, covered_N, view_N, texture_N = parts_N4.T
    return {
        "size": np.maximum(beyond_N2 / margin_2, 0).max(axis=1),
        "grey": grey_N,
        "covered": covered_N,
        "kind": np.hypot(np.maximum(view_N, 0) / domain.view_limit, texture_N / domain.texture_limit),
    }


def _parts(domain: Domain, images: Traits) -> Floats:
    """Distances in grey, covered, view and texture, (N, 4)."""
    view_N = 1 - _cells(images.thumbnail_NHW) @ domain.view_D.astype(np.float64)
    covered_N = covered_share(images.thumbnail_NHW, domain.flat_HW)
    grey_N = spread_distance(domain.grey, images.grey_NQ)
    return np.stack([grey_N, covered_N, view_N, spread_distance(domain.texture, images.texture_NC)], axis=1)


def _sizes(images: Traits) -> Floats:
    """Log of the geometric mean side, and of the aspect: (N, 2)."""
    width_N, height_N = np.log(np.asarray(images.size_N2, dtype=np.float64)).T
    return np.stack([(width_N + height_N) / 2, width_N - height_N], axis=1)


def _cells(thumbnail_NHW: NDArray[np.uint8]) -> Floats:
    """Means of 8 x 8 cells, of mean 0 and sd 1 in each image: (N, 64)."""
    cell = THUMBNAIL // SIDE
    x_ND = thumbnail_NHW.reshape(-1, SIDE, cell, SIDE, cell).mean(axis=(2, 4)).reshape(-1, SIDE**2)
    x_ND = x_ND - x_ND.mean(axis=1, keepdims=True)
    return x_ND / np.maximum(x_ND.std(axis=1, keepdims=True), 1.0)  # below a grey level it is blank


def _discriminant(x_nD: Floats) -> NDArray[np.float32]:
    """Fisher's direction between the seeds and their negatives, (D,), scaled so that the seeds' mean is at 1; zeros
    where seeds have nothing in common."""
    mean_D = x_nD.mean(axis=0)
    covariance_DD = np.cov(x_nD.T, bias=True)
    level = np.trace(covariance_DD) / len(mean_D) + 1e-3
    w_D = np.linalg.solve((1 - SHRINKAGE) * covariance_DD + SHRINKAGE * level * np.eye(len(mean_D)), mean_D)
    along = mean_D @ w_D
    return (w_D / along if along > 1e-6 else 0 * w_D).astype(np.float32)


def _size_words(domain: Domain, size_2: NDArray[Any]) -> str:
    sides = np.exp(domain.size_22[:, 0])
    aspects = np.exp(domain.size_22[:, 1])
    return (
        f"another size or shape: {size_2[0]} x {size_2[1]} pixels; trusted images have sides of about "
        f"{_span(sides, '.0f')} and are {_span(aspects, '.2f')} times as wide as high"
    )


def _kind_words(domain: Domain, view: float, texture: float) -> str:
    if view / domain.view_limit < texture / domain.texture_limit:
        times = texture / domain.texture_limit * FACTOR
        return f"noise, blur or another modality: its texture lies {times:.1f} times as far off as trusted images' does"
    return (
        f"another view or organ: on a scale from the trusted images, 1, to their negatives, -1, it is at {1 - view:.1f}"
    )


def _grey_words(domain: Domain, grey_Q: NDArray[Any], distance: float) -> str:
    low_Q, high_Q = domain.grey_2Q
    mean = GREY.index("mean")
    if not low_Q[mean] <= grey_Q[mean] <= high_Q[mean]:
        word = "darker" if grey_Q[mean] < low_Q[mean] else "brighter"
        theirs = _span(domain.grey_2Q[:, mean], ".0f")
        return f"{word} than every trusted image: mean grey {grey_Q[mean]:.0f}, theirs {theirs}"
    times = distance / domain.limits["grey"] * FACTOR
    return f"another grey range: its grey levels lie {times:.1f} times as far off as trusted images' do"


def _span(low_high: NDArray[Any], form: str) -> str:
    low, high = (format(float(value), form) for value in low_high)
    return low if low == high else f"{low} to {high}"
