"""Images unlike any trusted one are told from those that are merely ill; made-up images of discs on a ramp."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from swag_ray.core.domain import NAMES, Domain, Traits, depth_reason, distances, fit_domain, reasons, texture
from swag_ray.core.shortcuts import image_statistics

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE, FOLDS = 128, 5
Pixels = NDArray[np.uint8]


def film(generator: np.random.Generator, *, lesion: bool = False) -> Pixels:
    """Two dark fields beside a bright middle, their place, grey levels and grain drawn."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    image = 150 + 40 * generator.normal(0, 0.2) - 50 * y + generator.normal(0, 4, (SIZE, SIZE))
    for side in (0.28, 0.72):
        centre_x, centre_y = side + generator.normal(0, 0.02), 0.5 + generator.normal(0, 0.02)
        image -= 80 * np.exp(-(((x - centre_x) / 0.13) ** 2) - ((y - centre_y) / 0.3) ** 2)
    if lesion:
        image += 70 * np.exp(-(((x - 0.3) / 0.06) ** 2) - ((y - generator.uniform(0.4, 0.6)) / 0.06) ** 2)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def patches(image: Pixels) -> NDArray[np.float16]:
    """Local contrasts at several distances in 8 x 8 places: what a backbone's first stage sees."""
    grey = image.astype(np.float32)
    maps = [np.abs(grey - np.roll(grey, shift, axis)) for shift in (1, 2, 3, 5, 8, 12) for axis in (0, 1)]
    side = SIZE // 8
    return np.stack([m.reshape(8, side, 8, side).mean(axis=(1, 3)).ravel() for m in maps], axis=1).astype(np.float16)


def traits(images: list[Pixels], size: tuple[int, int] = (SIZE, SIZE)) -> Traits:
    statistics = [image_statistics(image) for image in images]
    return Traits(
        np.stack([thumbnail for thumbnail, _, _ in statistics]),
        np.stack([grey for _, grey, _ in statistics]),
        np.array([size] * len(images)),
        texture(np.stack([patches(image) for image in images])),
    )


def films(count: int, random_seed: int, *, lesion: bool = False) -> list[Pixels]:
    generator = np.random.default_rng(random_seed)
    return [film(generator, lesion=lesion) for _ in range(count)]


@pytest.fixture(scope="module", params=[35, 100])
def domain(request: pytest.FixtureRequest) -> Domain:
    return fit_domain(traits(films(request.param, 0)), np.arange(request.param) % FOLDS)


def square(image: Pixels, level: int, start: int = 48, side: int = 32) -> Pixels:
    covered = image.copy()
    covered[start : start + side, start : start + side] = level
    return covered


def test_few_images_like_the_seeds_are_out_of_domain_and_no_more_of_the_ill(domain: Domain) -> None:
    for lesion in (False, True):
        flagged = [reason for reason in reasons(domain, traits(films(50, 1, lesion=lesion))) if reason]
        assert len(flagged) <= 1, flagged


@pytest.mark.parametrize(
    ("alter", "words"),
    [
        (lambda image: 255 - image, "inverted"),
        (lambda image: np.clip(image.astype(int) // 4, 0, 255), "darker than every trusted image: mean grey"),
        (lambda image: np.clip(200 + image.astype(int) // 5, 0, 255), "brighter than every trusted image"),
        (lambda image: image * 0 + 90, "blank"),
        (lambda image: np.clip(image + np.random.default_rng(0).normal(0, 25, image.shape), 0, 255), "noise"),
        (lambda image: square(image, 0), "covered: 6% of it is a rectangle"),
        (lambda image: square(image, 255, start=47), "covered"),  # not on the bounds of the thumbnail's cells
    ],
)  # fmt: skip
def test_an_altered_image_is_out_of_domain_for_what_was_done_to_it(domain: Domain, alter: Any, words: str) -> None:
    found = reasons(domain, traits([np.asarray(alter(image)).astype(np.uint8) for image in films(10, 2)]))
    assert sum(reason is not None for reason in found) >= 9, found
    assert sum(words in (reason or "") for reason in found) >= 8, found


def test_another_view_is_out_of_domain(domain: Domain) -> None:
    found = distances(domain, traits([np.rot90(image).copy() for image in films(10, 3)]))
    assert (found["kind"] > 1).mean() >= 0.9


@pytest.mark.parametrize(
    ("size", "words"), [((64, 128), "64 x 128 pixels"), ((32, 32), "32 x 32 pixels"), ((150, 140), None)]
)
def test_another_size_or_shape_is_named_in_pixels(domain: Domain, size: tuple[int, int], words: str | None) -> None:
    for reason in reasons(domain, traits(films(5, 4), size)):
        assert (words in (reason or "")) if words else reason is None


def test_what_trusted_images_have_covered_is_nothing_new_and_round_is_no_cover() -> None:
    """A collimated corner is where they have it; a cyst has one level and no straight edge."""
    generator = np.random.default_rng(5)
    corner = [square(film(generator), 0, start=0) for _ in range(60)]
    domain = fit_domain(traits(corner), np.arange(60) % FOLDS)
    y, x = np.mgrid[:SIZE, :SIZE]
    cyst = square(film(generator), 0, start=0)
    cyst[(y - 64) ** 2 + (x - 64) ** 2 < 22**2] = 0
    images = traits([corner[0], square(corner[1], 0, start=60), cyst])
    assert (distances(domain, images)["covered"] > domain.limits["covered"]).tolist() == [False, True, False]


def test_a_lesion_hardly_moves_the_texture_that_noise_moves() -> None:
    plain, ill = films(1, 6)[0], films(1, 6, lesion=True)[0]
    noisy = np.clip(plain + np.random.default_rng(0).normal(0, 20, plain.shape), 0, 255).astype(np.uint8)
    at = traits([plain, ill, noisy]).texture_NC
    assert np.linalg.norm(at[1] - at[0]) < 0.1 * np.linalg.norm(at[2] - at[0])


def test_one_broken_seed_does_not_blind_the_limits() -> None:
    seeds = films(60, 7)
    seeds[0] = 255 - seeds[0]
    domain = fit_domain(traits(seeds), np.arange(60) % FOLDS)
    assert all("inverted" in (reason or "") for reason in reasons(domain, traits([255 - i for i in films(10, 8)])))


def test_seeds_that_are_all_alike_flag_neither_themselves_nor_raise() -> None:
    """Blank seeds have no view, no spread and no limit worth a name: they say nothing of polarity."""
    seeds = traits([np.full((SIZE, SIZE), 90, np.uint8)] * 20)
    domain = fit_domain(seeds, np.arange(20) % FOLDS)
    assert reasons(domain, seeds) == [None] * 20
    assert reasons(domain, traits(films(1, 12))) != [None]
    assert all(np.isfinite(found).all() for found in distances(domain, seeds).values())
    assert list(domain.limits) == list(NAMES)


def test_limits_come_from_seeds_outside_the_fit() -> None:
    """Were they from the fit itself, 200 channels would follow 35 seeds and flag the next ones."""
    generator = np.random.default_rng(9)
    base = traits(films(70, 10))
    wide = Traits(base.thumbnail_NHW, base.grey_NQ, base.size_N2, generator.normal(size=(70, 200)).astype(np.float32))
    seeds, others = wide.take(np.arange(35)), wide.take(np.arange(35, 70))
    domain = fit_domain(seeds, np.arange(35) % FOLDS)
    assert not any(reasons(domain, others))


@pytest.mark.parametrize(
    ("top", "white", "flagged"), [(None, 65535, False), (1023, 4095, True), (2047, 4095, False), (4095, 65535, True)]
)
def test_bits_in_use_far_below_the_detectors(top: int | None, white: int, flagged: bool) -> None:
    reason = depth_reason(top, white)
    assert (reason is not None) == flagged
    if reason:
        assert f"{top.bit_length()} of {white.bit_length()} bits" in reason  # type: ignore[union-attr]


@pytest.mark.parametrize("folds", [np.zeros(20), np.arange(19)])
def test_a_single_fold_or_another_length_is_refused(folds: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="fold_n"):
        fit_domain(traits(films(20, 11)), folds)
