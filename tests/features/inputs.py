"""What the tests of features have in common: a small backbone's settings, images, and the bits of what comes out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from swag_ray.features.backbone import Backbone
from swag_ray.features.extract import extract
from swag_ray.features.recipe import Recipe
from tests.support.images import blocks, encoded

NAME, SIZE, STRIDES, GRID = "tf_efficientnet_lite0", 64, (8, 16, 32), 8


def image(seed: int) -> bytes:
    return encoded(blocks(seed, 48))


def rows(backbone: Backbone, images: list[bytes]) -> list[dict[str, Any]]:
    return list(extract(backbone, images, SIZE))


def bits(row: dict[str, Any]) -> tuple[bytes, ...]:
    return tuple(row["features"][stride].tobytes() for stride in STRIDES)


def shards(**recipes: Iterable[Recipe]) -> dict[str, Any]:
    """What an extraction actor is handed: the recipes of each shard by its name."""
    return {
        "name": [f"{name}.parquet" for name in recipes],
        "recipes": [[asdict(recipe) for recipe in some] for some in recipes.values()],
    }
