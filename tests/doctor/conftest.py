"""A config on a folder of small images, for all tests of `swag-ray doctor`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swag_ray.config import Config
from tests.support.images import small_set


@pytest.fixture
def folder(tiny: Callable[..., Config], tmp_path: Path) -> Callable[..., Config]:
    """A config on a folder of small images, with an empty store of its own."""
    root = small_set(tmp_path / "data", normals=30, anomalies=8)

    def make(*overrides: str, store: Path | None = None, **top: Any) -> Config:
        data = {"kind": "folder", "root": str(root), "anomaly": "PNEUMONIA"}
        return tiny(*overrides, dataset=data, store=store or tmp_path / "store", **top)

    return make
