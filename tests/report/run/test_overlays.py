"""The maps over the test images: what is drawn, on which scale."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swag_ray.report.page.overlay import heat_overlay
from swag_ray.report.run.overlays import _in_seed_sd, gallery
from swag_ray.report.run.read import read_run
from tests.report.run.fixture import write_run
from tests.support.html import Page

GREY = np.full((64, 64), 90.0, np.float32)


def drawn(distance_nGG: NDArray[np.float32], scale: NDArray[np.float64] | None) -> NDArray[np.bool_]:
    """Which pixels of each image are coloured, (n, 64, 64)."""
    maps, low, high = _in_seed_sd(distance_nGG, scale)
    return np.stack([np.ptp(heat_overlay(GREY, m, low, high), axis=2) > 2 for m in maps])


def test_what_seeds_look_like_is_left_clear() -> None:
    """The highest-scored films were yellow nearly everywhere: the lowest quarter of what is shown was the zero."""
    generator = np.random.default_rng(0)
    seeds = generator.gamma(9, 0.05, 20_000)
    scale = np.array([seeds.mean(), seeds.std(), np.percentile(seeds, 99)])
    shown = generator.gamma(9, 0.05, (12, 8, 8)).astype(np.float32)
    assert drawn(shown, scale).mean() < 0.03, "normals"
    assert drawn(shown, None).mean() > 0.5, "on the scale of old runs"
    shown[0, 2, 3] = 1.5
    found = drawn(shown, scale)
    assert found[0, 20, 28] and found[0].mean() < 0.1 and found[1:].mean() < 0.03


def test_a_scale_is_as_wide_where_nothing_stands_out() -> None:
    flat = np.full((2, 4, 4), 0.5, np.float32)
    _, low, high = _in_seed_sd(flat, np.array([0.5, 0.1, 0.75]))
    assert (low, high) == (2.5, 3.5)


def test_the_unit_is_told(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", overlays=2))
    text = Page(f"<main>{gallery(run.overlays, run.scores, 0.05)}</main>").text
    assert "transparent below the seeds' 99th centile" in text and re.search(r"2\.[3-9]\d", text)
    with np.load(tmp_path / "run" / "plots" / "overlays.npz") as held:
        arrays = {name: held[name] for name in held.files if name != "seed_patches"}
    np.savez(tmp_path / "run" / "plots" / "overlays.npz", **arrays)
    run = read_run(tmp_path / "run")
    assert "99th centile" not in Page(f"<main>{gallery(run.overlays, run.scores, 0.05)}</main>").text
