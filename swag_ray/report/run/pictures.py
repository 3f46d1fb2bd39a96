"""overlays.npz: the pictures that a run leaves for its report. Files of older runs hold those of test images alone.

Shapes: n pictures, H x W their size, G and g the grids of the two maps. Labels are int8: 1 anomaly, 0 normal, -1
unknown.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.report.page.reading import damaged

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class MappedImages:
    """Images with the maps of where their scores come from. `id`: of the images; None: maps that there are none of."""

    id: list[str]
    image_nHW: NDArray[np.uint8]
    distance_nGG: NDArray[np.float32] | None
    evidence_ngg: NDArray[np.float32] | None


@dataclass(frozen=True)
class ScoredImages(MappedImages):
    """Images with their maps and scores, the highest first. `p_n`: NaN where there is none."""

    score_n: NDArray[np.float64]
    p_n: NDArray[np.float64]


@dataclass(frozen=True)
class VariantPairs:
    """Auxiliary anomalies beside the seeds that they are made of. `id`: of the seeds; `kind`: how they were altered."""

    id: list[str]
    kind: list[str]
    host_nHW: NDArray[np.uint8]
    image_nHW: NDArray[np.uint8]


@dataclass(frozen=True)
class Overlays(MappedImages):
    """The first half are the highest-scored test images, the second half the lowest-scored.

    Attributes:
        score_n, p_n, label_n: of the test images.
        seed_patches: mean, standard deviation and 99th centile of the seeds' patch distances, (3,); older runs lack it.
        odd_seeds: the seeds least like the others, the least like first.
        variants: examples of auxiliary anomalies.
        suspects: of a pool without labels, the highest-scored images.
    """

    score_n: NDArray[np.float64]
    p_n: NDArray[np.float64] | None
    label_n: NDArray[np.int8]
    seed_patches: NDArray[np.float64] | None
    odd_seeds: MappedImages | None
    variants: VariantPairs | None
    suspects: ScoredImages | None


def read_overlays(path: Path) -> Overlays:
    """Reads the file; nothing in it is unpickled.

    Raises:
        InputError: it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            held = {name: arrays[name] for name in arrays.files}
        seeds, variants, pool = (_part(held, f"{name}.") for name in ("seed", "variant", "pool"))
        own = {name: array for name, array in held.items() if "." not in name}
        seed_patches = own.pop("seed_patches", None)
        if seed_patches is not None and seed_patches.shape != (3,):
            raise ValueError("seed_patches: wrong shape")
        _check(own, {"score": 1, "p": 1, "label": 1, "image": 3, "distance": 3, "evidence": 3})
        label_n = np.nan_to_num(np.asarray(own["label"], dtype=np.float64), nan=-1) if "label" in own else None
        return Overlays(
            **vars(_mapped_images(own)),
            score_n=np.asarray(own["score"], dtype=np.float64),
            p_n=np.asarray(own["p"], dtype=np.float64) if "p" in own else None,
            label_n=np.full(len(own["id"]), -1, np.int8) if label_n is None else label_n.astype(np.int8),
            seed_patches=None if seed_patches is None else np.asarray(seed_patches, dtype=np.float64),
            odd_seeds=_mapped_images(seeds) if seeds else None,
            variants=_pairs(variants) if variants else None,
            suspects=_scored(pool) if pool else None,
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise damaged(path, error) from None


def _part(held: Arrays, prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in held.items() if name.startswith(prefix)}


def _mapped_images(held: Arrays) -> MappedImages:
    _check(held, {"image": 3, "distance": 3, "evidence": 3})
    return MappedImages(
        id=[str(value) for value in held["id"]],
        image_nHW=np.asarray(held["image"], dtype=np.uint8),
        distance_nGG=np.asarray(held["distance"], dtype=np.float32) if "distance" in held else None,
        evidence_ngg=np.asarray(held["evidence"], dtype=np.float32) if "evidence" in held else None,
    )


def _scored(held: Arrays) -> ScoredImages:
    _check(held, {"score": 1, "p": 1})
    score_n, p_n = (np.asarray(held[name], dtype=np.float64) for name in ("score", "p"))
    return ScoredImages(**vars(_mapped_images(held)), score_n=score_n, p_n=p_n)


def _pairs(held: Arrays) -> VariantPairs:
    _check(held, {"kind": 1, "host": 3, "image": 3})
    return VariantPairs(
        id=[str(value) for value in held["id"]],
        kind=[str(value) for value in held["kind"]],
        host_nHW=np.asarray(held["host"], dtype=np.uint8),
        image_nHW=np.asarray(held["image"], dtype=np.uint8),
    )


def _check(held: Arrays, dimensions: Mapping[str, int]) -> None:
    """Refuses arrays of another shape than one entry per picture.

    Raises:
        ValueError: with their names.
    """
    count = len(held["id"])
    wrong = [name for name, array in held.items() if array.ndim == 0 or len(array) != count]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: not one entry per image")
    wrong = [name for name, ndim in dimensions.items() if name in held and held[name].ndim != ndim]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: wrong shape")
