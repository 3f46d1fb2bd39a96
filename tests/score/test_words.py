"""What the threshold means, in words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from swag_ray.core.alignment import Alignment
from swag_ray.core.local_normals import place_of
from swag_ray.core.shift import shift_of
from swag_ray.detector.site import Site
from swag_ray.score.words import threshold_sentence

SEEDS = np.random.default_rng(0).normal(size=400)


def detector() -> Any:
    return SimpleNamespace(seed_s=SEEDS, site_seed_s=SEEDS, rate=0.05)


def batch(move: float, count: int = 300) -> np.ndarray:
    return np.random.default_rng(1).normal(loc=move, size=(count, 1))


@pytest.mark.parametrize(
    ("rate", "words"),
    [(0.05, "about 1 in 20 images"), (0.01, "about 1 in 100"), (0.5, "about 1 in 2 "), (0.4, "40.0% of")],
)
def test_a_rate_as_people_say_it(rate: float, words: str) -> None:
    said, doubtful = threshold_sentence(detector(), rate, 7, None, None)
    assert f"the threshold flags {words}" in said and said.endswith("takes 50 images or more to tell") and not doubtful


def test_films_that_score_otherwise_say_which_way() -> None:
    for move, way in ((1.0, "more"), (-1.0, "fewer")):
        shift = shift_of(SEEDS, batch(move))
        said, doubtful = threshold_sentence(detector(), 0.05, 300, shift, None)
        assert doubtful and f"so it flags {way} of their normals; swag-ray calibrate sets it for this place" in said
        assert "(3.3% to 6.9% of them, in 90 of 100 cases)" in said and "these do not score like" in said
    said, doubtful = threshold_sentence(detector(), 0.05, 300, shift_of(SEEDS, batch(0.0)), None)
    assert not doubtful and "these score like the trusted images: shift" in said


def test_so_few_seeds_that_nothing_can_be_flagged() -> None:
    few: Any = SimpleNamespace(seed_s=SEEDS[:5], site_seed_s=SEEDS[:5], rate=0.05)
    said, doubtful = threshold_sentence(few, 0.05, 7, None, None)
    assert said == "the threshold can flag nothing: 5 trusted images are too few" and not doubtful


def test_at_a_site_it_speaks_of_the_site() -> None:
    aligned = Site("aligned", "0", 312, "", alignment=Alignment(1.0, 0.1, 0.0), low=0.9, high=1.1)
    shift = shift_of(aligned.reference(detector()), batch(1.0), aligned.known)
    said, doubtful = threshold_sentence(detector(), 0.05, 300, shift, aligned)
    assert not doubtful and said.startswith(
        "at this site the threshold flags about 1 in 20 normal images, as far as 312 unlabelled images can tell; these "
        "score like the site: shift"
    )
    known = Site("normals", "0", 40, "", place=place_of(batch(1.0, 40)), site_place=place_of(batch(1.0, 40)))
    said, doubtful = threshold_sentence(
        detector(), 0.05, 300, shift_of(known.reference(detector()), batch(3.0), 40), known
    )
    assert doubtful and "by 40 known normals" in said and said.endswith("so calibrate again")
