"""Small images and folders for the tests of swag_ray.data."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REAL = Path(__file__).parents[3] / "shared" / "data"
PATIENT = r"^(person\d+|(?:NORMAL2-)?IM-\d+)"


def real_set(name: str) -> Path:
    folder = REAL / name
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}")
    return folder


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def blocks(seed: int, side: int = 32) -> Image.Image:
    """A grey image of flat 8 x 8 blocks, another for every seed."""
    levels = np.random.default_rng(seed).integers(0, 256, (side // 8, side // 8))
    return Image.fromarray(np.kron(levels, np.ones((8, 8))).astype(np.uint8))


def write(path: Path, seed: int, form: str = "PNG", side: int = 32) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(blocks(seed, side), form))
    return path


def small_set(root: Path, normals: int = 4, anomalies: int = 3) -> Path:
    """root/train|test/NORMAL|PNEUMONIA with distinct images."""
    seed = 0
    for split in ("train", "test"):
        for name, count in (("NORMAL", normals), ("PNEUMONIA", anomalies)):
            for number in range(count):
                seed += 1
                write(root / split / name / f"{name.lower()}{split}{number}.jpeg", seed, "JPEG")
    return root
