"""Blank, inverted and repeated images are found, and films as they should be are left alone."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from swag_ray.images.decode import read_grey
from swag_ray.images.near import NEAR, near_pairs
from swag_ray.images.oddities import Looks, inverted, looks_of, oddity_warnings, twins, typical_image
from tests.support.images import real_set


def films(count: int, seed: int = 0) -> np.ndarray:
    """(count, 32, 32) grey levels: a bright middle between dark sides, each another way."""
    generator = np.random.default_rng(seed)
    column = 40 + 150 * np.exp(-(np.linspace(-2, 2, 32) ** 2))
    noise = generator.normal(0, 15, (count, 32, 32)) + generator.normal(0, 20, (count, 1, 1))
    return np.clip(column + noise, 0, 255).astype(np.uint8)


def looks(thumbnails: np.ndarray) -> Looks:
    return looks_of(((thumbnail, 900, 800) for thumbnail in thumbnails), len(thumbnails))


def test_films_in_negative_are_inverted_and_others_are_not() -> None:
    seeds, images = films(30), films(20, seed=1)
    images[::4] = 255 - images[::4]
    typical = typical_image(looks(seeds))
    assert np.flatnonzero(inverted(looks(images), typical)).tolist() == [0, 4, 8, 12, 16]
    seeds[:9] = 255 - seeds[:9]  # the seeds' majority says which is which
    mixed = typical_image(looks(seeds))
    assert np.flatnonzero(inverted(looks(images), mixed)).tolist() == [0, 4, 8, 12, 16]
    assert np.flatnonzero(inverted(looks(seeds), mixed)).tolist() == list(range(9))


def test_seeds_that_have_nothing_in_common_say_nothing() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 32, 32)).astype(np.uint8)
    assert typical_image(looks(noise)) is None
    assert not inverted(looks(255 - films(4)), None).any()
    assert typical_image(looks(np.zeros((30, 32, 32), np.uint8))) is None, "blank ones are not asked"
    assert typical_image(looks(films(2))) is None


def test_blank_and_nearly_blank_images() -> None:
    generator = np.random.default_rng(0)
    flat = np.stack([np.zeros((32, 32)), np.full((32, 32), 200), generator.integers(99, 102, (32, 32))])
    assert looks(flat.astype(np.uint8)).blank_N.all()
    assert not looks(films(5)).blank_N.any()
    assert not inverted(looks(flat.astype(np.uint8)), typical_image(looks(films(9)))).any()


def test_twins_look_the_same_and_differ_in_bytes() -> None:
    images = films(6)
    images[3] = images[1]
    images[5] = images[1]
    images[4] = images[2]
    names = ["a", "b", "c", "d", "c", "e"]
    found = looks(images)
    assert twins(found, names) == [[1, 3, 5]], "rows 2 and 4 are the same bytes"
    assert twins(looks(np.zeros((4, 32, 32), np.uint8)), names[:4]) == [], "blank ones are told as blank"
    other_size = looks_of([(images[1], 900, 800), (images[1], 450, 400)], 2)
    assert twins(other_size, ["a", "b"]) == [[0, 1]], "a copy of half the size"
    assert twins(looks(images[:0]), []) == []


def test_copies_that_were_saved_again_or_resized_are_twins_and_other_films_are_not() -> None:
    generator = np.random.default_rng(0)
    images = films(300)
    images[200:] = np.clip(np.rint(images[:100] + generator.normal(0, 1, (100, 32, 32))), 0, 255)  # what JPEG leaves
    pairs = twins(looks(images), [str(i) for i in range(300)])
    assert pairs == [[i, i + 200] for i in range(100)]
    small = looks(films(200)).small_ND.astype(int)
    apart = np.abs(small[:, None] - small[None]).max(axis=2)
    by_force = sorted((i, j) for i, j in zip(*np.nonzero(apart <= NEAR), strict=True) if i < j)
    assert near_pairs(small.astype(np.uint8)) == by_force == [], "no two of these are within the limit"
    steps = np.repeat(np.arange(0, 40, 2)[:, None], 64, axis=1).astype(np.uint8)
    assert near_pairs(steps) == [(i, i + 1) for i in range(19)], "at the limit itself, whatever the bins"
    assert near_pairs(small[:0].astype(np.uint8)) == [] and near_pairs(small[:1].astype(np.uint8)) == []


def test_warnings_count_and_name_the_first() -> None:
    paths = [f"{i}.png" for i in range(9)]
    on = np.arange(9) < 5
    lines = oddity_warnings(paths, on, ~on, [[1, 2], [4, 8]])
    assert [line.split("(")[0] for line in lines] == [
        "dataset: 5 images are blank or nearly so ",
        "dataset: 4 images look inverted, black where trusted ones are white ",
        "dataset: 4 images of other bytes look the same as a thumbnail, 2 pictures in all ",
    ]
    assert "(0.png, 1.png, 2.png, ...)" in lines[0] and "(5.png, 6.png, 7.png, ...)" in lines[1]
    assert oddity_warnings(paths, on & ~on, on & ~on, []) == []
    one = np.arange(9) == 3
    blank, negative = oddity_warnings(paths, one, one, [])
    assert blank.startswith("dataset: 1 image is blank") and negative.startswith("dataset: 1 image looks inverted")


@pytest.mark.data
@pytest.mark.parametrize(("name", "kinds"), [("chest_xray", ("PNEUMONIA",)), ("busi", ("BENIGN", "MALIGNANT"))])
def test_real_films_give_no_alarm_and_their_negatives_do(name: str, kinds: tuple[str, ...]) -> None:
    root = real_set(name)

    def some(folder: str, step: int) -> list[tuple[np.ndarray, str]]:
        data = [path.read_bytes() for path in sorted((root / folder).iterdir())[::step]]
        return [(read_grey(x, 32).image_1HW[0].numpy(), hashlib.sha256(x).hexdigest()) for x in data]

    typical = typical_image(looks(np.stack([x for x, _ in some("train/NORMAL", 5)])))
    for folder in ("test/NORMAL", *(f"test/{kind}" for kind in kinds)):
        images, names = zip(*some(folder, 3), strict=True)
        found = looks(np.stack(images))
        assert not inverted(found, typical).any() and not found.blank_N.any() and twins(found, names) == []
        assert inverted(looks(255 - np.stack(images)), typical).mean() > 0.7
