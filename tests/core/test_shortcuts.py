"""Trivial image properties: exact on images whose answer is known, and found when they give a data set away."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from swag_ray.core import shortcuts
from swag_ray.core.shortcuts import ImageStatistics


def statistics(count: int, random_seed: int) -> ImageStatistics:
    """Images that tell nothing."""
    rng = np.random.default_rng(random_seed)
    return ImageStatistics(
        thumbnail_NHW=rng.integers(0, 256, (count, 32, 32)).astype(np.uint8),
        grey_NQ=rng.normal(size=(count, 7)).astype(np.float32),
        border_N=rng.normal(size=count),
        size_N2=rng.integers(200, 2_000, (count, 2)),
        file_bytes_N=rng.integers(10_000, 1_000_000, count),
    )


@settings(max_examples=40)
@given(st.integers(32, 90), st.integers(32, 90), st.integers(0, 255), st.integers(1, 256), st.integers(0, 999))
def test_grey_statistics_are_numpys(height: int, width: int, low: int, spread: int, random_seed: int) -> None:
    rng = np.random.default_rng(random_seed)
    image = rng.integers(low, min(256, low + spread), (height, width)).astype(np.uint8)
    _, grey, border = shortcuts.image_statistics(image)
    expected = [image.mean(), image.std(), *np.quantile(image, [0.05, 0.25, 0.5, 0.75, 0.95])]
    np.testing.assert_allclose(grey, expected, rtol=1e-5, atol=1e-4)
    rows, columns = max(1, round(0.05 * height)), max(1, round(0.05 * width))
    frame = np.ones(image.shape, dtype=bool)
    frame[rows:-rows, columns:-columns] = False
    assert border == pytest.approx(image[frame].mean())


def test_thumbnail_is_the_mean_of_blocks() -> None:
    image = np.random.default_rng(0).integers(0, 256, (256, 256)).astype(np.uint8)
    thumbnail = shortcuts.image_statistics(image)[0]
    np.testing.assert_array_equal(thumbnail, np.rint(image.reshape(32, 8, 32, 8).mean(axis=(1, 3))))
    assert thumbnail.dtype == np.uint8
    np.testing.assert_array_equal(shortcuts.image_statistics(np.full((33, 71), 255, dtype=np.uint8))[0], 255)


def test_a_torch_image_gives_the_same() -> None:
    image = np.random.default_rng(1).integers(0, 256, (64, 80)).astype(np.uint8)
    for ours, theirs in zip(
        shortcuts.image_statistics(image), shortcuts.image_statistics(torch.from_numpy(image)), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_image_statistics_are_fast() -> None:
    image = np.random.default_rng(2).integers(0, 256, (256, 256)).astype(np.uint8)
    times = []
    for _ in range(50):
        started = time.thread_time()
        shortcuts.image_statistics(image)
        times.append(time.thread_time() - started)
    assert min(times) < 5e-3  # 0.7 ms on a slow core


@pytest.mark.parametrize("wrong", [np.zeros((64, 64)), np.zeros((3, 64, 64), np.uint8), np.zeros((31, 64), np.uint8)])
def test_image_statistics_refuse_other_images(wrong: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="grey_HW"):
        shortcuts.image_statistics(wrong)


def test_nearest_distance_is_the_loop_and_a_copy_is_at_zero() -> None:
    rng = np.random.default_rng(3)
    reference, query = (rng.integers(0, 256, (n, 32, 32)).astype(np.uint8) for n in (7, 1_100))
    query[5] = reference[2]
    naive = [min(np.linalg.norm(q.astype(float) - r) for r in reference) for q in query]
    nearest = shortcuts.nearest_distance(query, reference)
    np.testing.assert_allclose(nearest, naive, rtol=1e-12)
    assert nearest[5] == 0
    with pytest.raises(ValueError, match="no images"):
        shortcuts.nearest_distance(query, reference[:0])


def test_images_that_tell_nothing_are_near_chance() -> None:
    label = np.arange(2_000) % 2 == 0
    areas = shortcuts.shortcut_aucs(label, statistics(2_000, 4), statistics(50, 5))
    assert areas.keys() == {"thumbnail_1nn", "grey", "border", "image_size", "file_bytes"}
    assert all(0.5 <= area < 0.56 for area in areas.values())


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("name", ["thumbnail_1nn", "grey", "border", "image_size", "file_bytes"])
def test_each_shortcut_is_found_alone_in_either_direction(name: str, direction: int) -> None:
    test, seed = statistics(400, 6), statistics(50, 7)
    label = np.arange(400) % 2 == 0
    sign = direction * np.where(label, 1.0, -1.0)
    height = test.size_N2[:, 1]
    like_seed = np.resize(seed.thumbnail_NHW, (400, 32, 32))
    given_away: dict[str, dict[str, Any]] = {
        "thumbnail_1nn": {"thumbnail_NHW": np.where((sign > 0)[:, None, None], like_seed, test.thumbnail_NHW)},
        "grey": {"grey_NQ": np.column_stack([test.grey_NQ[:, :6], sign]).astype(np.float32)},
        "border": {"border_N": sign},
        # Only the aspect differs: neither width nor height alone would tell.
        "image_size": {"size_N2": np.column_stack([height * np.where(sign > 0, 2, 1), height])},
        "file_bytes": {"file_bytes_N": 1_000 + sign},
    }
    areas = shortcuts.shortcut_aucs(label, dataclasses.replace(test, **given_away[name]), seed)
    assert areas.pop(name) == 1
    assert all(area < 0.7 for area in areas.values())


def test_statistics_of_different_images_are_refused() -> None:
    test = statistics(4, 8)
    with pytest.raises(ValueError, match="border_N"):
        dataclasses.replace(test, border_N=np.zeros(3))
    with pytest.raises(ValueError, match="score_T"):
        shortcuts.shortcut_aucs(np.array([True, False, True]), test, test)
