"""Auxiliary anomalies: one place of an image is altered, the rest is the host, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from swag_ray.core import auxiliary
from swag_ray.core.auxiliary import KINDS, variant, variant_and_place

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
SIZE = 96
DRAWS = range(12)


def picture(seed: int, size: int = SIZE) -> Pixels:
    """A smooth picture, the same at every size but for its resolution."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(192, 192)), 12)
    grey = np.rint(128 + 90 * noise / np.abs(noise).max()).astype(np.uint8)
    return np.asarray(Image.fromarray(grey).resize((size, size), Image.Resampling.BOX))


HOST, DONOR = picture(0), picture(1)


def made(kind: str, draw: int, host: Pixels = HOST, donor: Pixels = DONOR) -> Pixels:
    return variant(kind, host, donor if KINDS[kind].foreign else host, np.random.default_rng(draw))


def changed(kind: str, draw: int) -> NDArray[np.bool_]:
    return made(kind, draw) != HOST


def box(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The smallest rectangle around what is set."""
    y, x = np.nonzero(mask)
    return np.s_[y.min() : y.max() + 1, x.min() : x.max() + 1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_place_of_the_host_is_altered_and_nothing_else(kind: str) -> None:
    shares = []
    for draw in DRAWS:
        out, before = made(kind, draw), HOST.copy()
        assert out.dtype == np.uint8 and out.shape == HOST.shape and np.array_equal(HOST, before)
        different = out != HOST
        shares.append((np.abs(out.astype(int) - HOST) > 8).mean())
        assert different.any() and np.abs(out.astype(int) - HOST)[different].max() > 3, "hardly different"
        if kind != "opacities":  # a blob has no rim, and there may be four
            assert (~different).any(), "somewhere it is the host, bit for bit"
    assert 0.005 < np.mean(shares) < 0.6


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_alone_decides(kind: str) -> None:
    assert np.array_equal(made(kind, 3), made(kind, 3))
    assert len({made(kind, draw).tobytes() for draw in DRAWS}) == len(DRAWS)


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if not kind.foreign])
def test_own_kinds_look_at_no_donor(kind: str) -> None:
    other = variant(kind, HOST, DONOR, np.random.default_rng(5))
    assert np.array_equal(other, variant(kind, HOST, HOST, np.random.default_rng(5)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_variant_looks_the_same_at_every_size(kind: str) -> None:
    """The change at half the size is the change, halved: lengths are shares of the side."""
    for draw in range(4):
        large, small = (
            variant(kind, picture(0, size), picture(1, size) if KINDS[kind].foreign else picture(0, size),
                    np.random.default_rng(draw)).astype(float) - picture(0, size)
            for size in (192, 96)
        )  # fmt: skip
        halved = large.reshape(96, 2, 96, 2).mean(axis=(1, 3))
        if kind in ("cut_paste", "own_patch", "foreign_patch", "foreign_gradients"):
            # Whole numbers of pixels are drawn: the place may be moved by one, what is taken there by some grey levels.
            assert abs((np.abs(halved) > 1).mean() - (np.abs(small) > 1).mean()) < 0.12
        else:
            np.testing.assert_allclose(small, halved, atol=4)


def drawn_distance(draw: np.random.Generator, least: float, most: float) -> Floats:
    """Distance of every pixel to the centre of a turned ellipse, in its radii."""
    radius_y, radius_x = SIZE * draw.uniform(least, most, size=2)
    centre_y, centre_x = SIZE * draw.uniform(0.15, 0.85, size=2)
    y, x = np.mgrid[:SIZE, :SIZE]
    turned = (y - centre_y + 1j * (x - centre_x)) * np.exp(-1j * draw.uniform(0, np.pi))
    return np.sqrt((turned.real / radius_y) ** 2 + (turned.imag / radius_x) ** 2)


def drawn_shift(image: Floats, draw: np.random.Generator) -> Floats:
    """The image moved by up to .23 of its side each way, its rim repeated."""
    down, right = draw.integers(-22, 23, size=2)
    return np.pad(image, 22, mode="edge")[22 - down : 22 - down + SIZE, 22 - right : 22 - right + SIZE]


def drawn_rectangle(draw: np.random.Generator) -> tuple[int, int, int, int]:
    """Height, top, width, left."""
    height = int(draw.uniform(0.15, 0.55) * SIZE)
    top = int(draw.integers(1, SIZE - height))
    width = int(draw.uniform(0.15, 0.55) * SIZE)
    return height, top, width, int(draw.integers(1, SIZE - width))


def altered(kind: str, host: Floats, donor: Floats, draw: np.random.Generator) -> Floats:
    """What the docstrings say, from numbers in the order in which they are drawn."""
    out = host.copy()
    match kind:
        case "foreign_patch" | "own_patch":
            strength, distance = draw.uniform(0.4, 1), drawn_distance(draw, 0.08, 0.27)
            if kind == "own_patch":
                across, along = draw.integers(0, 2, size=2)
                donor = np.fliplr(host) if across else host
                donor = np.flipud(donor) if along else donor
            share = strength * np.interp(distance, [0.875, 1.125], [1, 0])  # half of it on the rim
            out = (1 - share) * host + share * drawn_shift(donor, draw)
        case "cut_paste":
            height, top, width, left = drawn_rectangle(draw)
            down, right = int(draw.integers(0, SIZE - height)), int(draw.integers(0, SIZE - width))
            for y, x in np.ndindex(height, width):
                out[down + y, right + x] = host[top + y, left + x]
        case "opacities":
            for _ in range(draw.integers(1, 5)):
                distance = drawn_distance(draw, 0.05, 0.23)
                out += draw.choice((-1, 1)) * draw.uniform(15, 70) / np.exp(distance**2 / 2)
    return out


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"foreign_gradients"}))  # whose equation is tested below
def test_an_image_is_altered_as_its_kind_says(kind: str) -> None:
    host, donor = HOST.astype(float), DONOR.astype(float)
    for draw in DRAWS:
        out, _ = KINDS[kind].alter(host, donor, np.random.default_rng(draw))
        np.testing.assert_allclose(out, altered(kind, host, donor, np.random.default_rng(draw)), atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_the_place_is_where_most_of_the_change_is(kind: str) -> None:
    """Known without an image; nothing of the host's grey values decides it."""
    for draw in DRAWS:
        out, place = variant_and_place(kind, HOST, DONOR, np.random.default_rng(draw))
        assert np.array_equal(out, variant(kind, HOST, DONOR, np.random.default_rng(draw)))
        blank = np.zeros_like(HOST)
        assert np.array_equal(place, variant_and_place(kind, blank, blank, np.random.default_rng(draw))[1])
        change = np.abs(out.astype(float) - HOST)
        assert place.any() and not place.all()
        if kind == "opacities":  # blobs of several signs may overlap; tails reach far
            assert change[place].mean() > 2 * change[~place].mean()
        else:
            assert change[place].sum() > 0.8 * change.sum()


def flat(grey: int) -> Pixels:
    return np.full((SIZE, SIZE), grey, np.uint8)


def test_a_patch_is_a_blend_with_a_soft_rim() -> None:
    """Of a constant host and donor: between them, most in the middle, and next to the host's grey at its rim."""
    for draw in DRAWS:
        out = made("foreign_patch", draw, flat(100), flat(200)).astype(int)
        assert out.min() == 100 and 100 + 100 * auxiliary.STRENGTH[0] - 1 <= out.max() <= 200
        steps = max(np.abs(np.diff(out, axis=axis)).max() for axis in (0, 1))
        assert steps < 0.65 * (out.max() - 100), "no edge gives it away"
    assert np.array_equal(made("foreign_patch", 0, flat(100), flat(100)), flat(100))


def test_the_poisson_form_takes_differences_alone() -> None:
    """A donor that is the host but for a constant has the host's differences, and changes nothing."""
    brighter = np.clip(HOST.astype(int) + 20, 0, 255).astype(np.uint8)
    for draw in DRAWS:
        unshifted = variant("foreign_gradients", HOST, brighter, _unshifted(draw))
        assert np.abs(unshifted.astype(int) - HOST).max() <= 1
        edge = np.ones_like(HOST, dtype=bool)
        edge[1:-1, 1:-1] = False
        assert not changed("foreign_gradients", draw)[edge].any(), "the place has a rim of the host all around"


def _unshifted(draw: int) -> np.random.Generator:
    """A generator whose whole numbers for the donor's shift are 0; sides, starts and strength are drawn as ever."""
    generator = np.random.default_rng(draw)

    class Still:
        def uniform(self, *between: float) -> float:
            return float(generator.uniform(*between))

        def integers(self, low: int, high: int, size: int | None = None) -> object:
            return np.zeros(size, np.int64) if size == 2 else generator.integers(low, high)

    return Still()  # type: ignore[return-value]


def test_the_poisson_form_solves_the_poisson_equation() -> None:
    """Inside, the change has the laplacian of donor less host times a strength; on the rim it is 0."""
    host, donor = HOST.astype(float), DONOR.astype(float)
    draw = np.random.default_rng(2)
    change = KINDS["foreign_gradients"].alter(host, donor, draw)[0] - host
    again = np.random.default_rng(2)
    (height, top), (width, left) = (auxiliary._side_and_start(SIZE, again) for _ in range(2))
    strength = again.uniform(*auxiliary.STRENGTH)
    shifted = auxiliary._shifted(donor, auxiliary._offsets(SIZE, again)) - host
    inside = np.s_[top : top + height, left : left + width]
    outside = np.ones_like(host, dtype=bool)
    outside[inside] = False
    assert (change[outside] == 0).all()

    def laplacian(image: NDArray[np.float64]) -> NDArray[np.float64]:
        padded = np.pad(image, 1, mode="edge")
        around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
        return np.asarray((around - 4 * image)[inside])

    np.testing.assert_allclose(laplacian(change), strength * laplacian(shifted), atol=1e-8)


def test_cut_and_paste_copies_a_rectangle() -> None:
    for draw in DRAWS:
        place = box(changed("cut_paste", draw))
        out = made("cut_paste", draw)
        patch = out[place]
        windows = np.lib.stride_tricks.sliding_window_view(HOST, patch.shape)
        assert (windows == patch).all(axis=(2, 3)).any(), "what is there now is somewhere in the host"


def test_opacities_are_smooth_and_go_both_ways() -> None:
    lighter = darker = 0
    for draw in DRAWS:
        change = made("opacities", draw, flat(128)).astype(int) - 128
        assert max(np.abs(np.diff(change, axis=axis)).max() for axis in (0, 1)) <= 16
        lighter, darker = lighter + (change.max() > 10), darker + (change.min() < -10)
    assert lighter > 2 and darker > 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grey", [0, 255])
def test_no_grey_runs_over(kind: str, grey: int) -> None:
    """Blank films and full white: values stay within 0 to 255 and do not wrap around."""
    for draw in DRAWS:
        out = made(kind, draw, flat(grey), flat(255 - grey)).astype(int)
        assert np.abs(out - grey).min() == 0
        steps = max(np.abs(np.diff(out, axis=axis)).max() for axis in (0, 1))
        assert steps < 200


@pytest.mark.parametrize("size", [16, 32])
def test_the_smallest_images_can_be_altered(size: int) -> None:
    for kind in KINDS:
        for draw in DRAWS:
            assert made(kind, draw, HOST[:size, :size], DONOR[:size, :size]).shape == (size, size)


@pytest.mark.parametrize(
    ("host", "donor"), [((8, 8), (8, 9)), ((8, 9), (8, 9)), ((8, 8, 1), (8, 8, 1)), ((8, 8), (9, 9))]
)
def test_what_are_no_squares_of_one_size_is_refused(host: tuple[int, ...], donor: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="squares of one size"):
        variant("foreign_patch", np.zeros(host, np.uint8), np.zeros(donor, np.uint8), np.random.default_rng(0))


def test_lengths_are_shares_of_the_side() -> None:
    """An ellipse of 256 and one of 64 pixels cover the same share, wherever it lies."""
    ellipse: Callable[[int, np.random.Generator], NDArray[np.float64]] = auxiliary._ellipse
    for draw in DRAWS:
        covered = [ellipse(size, np.random.default_rng(draw)).mean() for size in (64, 256)]
        assert covered[0] == pytest.approx(covered[1], abs=0.01) and 0 < covered[1] < 0.35


def test_a_shift_is_down_and_right_and_what_moves_in_repeats_the_rim() -> None:
    square = np.arange(16.0).reshape(4, 4)
    assert auxiliary._shifted(square, (1, -2)).tolist() == [
        [2, 3, 3, 3], [2, 3, 3, 3], [6, 7, 7, 7], [10, 11, 11, 11],
    ]  # fmt: skip
    drawn = np.array([auxiliary._offsets(100, np.random.default_rng(draw)) for draw in range(300)])
    assert drawn.min() == -23 and drawn.max() == 23


def test_own_patches_are_mirrored_in_every_way() -> None:
    """Of a ramp to the right or down, whatever is blended in: the mirrored ramp, or the plain one, shifted."""
    ramps = np.tile(np.arange(SIZE, dtype=np.uint8) * 2, (SIZE, 1))
    for host in (ramps, ramps.T.copy()):
        steps = []
        for draw in range(40):
            change = made("own_patch", draw, host, host).astype(float) - host
            # Shifted alone the change is one number over the place but for its rim; mirrored it runs through the ramp.
            steps.append(np.ptp(change[np.abs(change) > 0]) if (change != 0).any() else 0)
        assert min(steps) < 40 < 90 < max(steps)
