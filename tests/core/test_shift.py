"""Whether a batch scores like a place, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest

from swag_ray.core.shift import sentence, shift_of
from tests.core.test_alignment import FOLDS, draw


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_chance_explains_no_shift_and_not_one_sd(share: float) -> None:
    normals, anomalies = round(100 * (1 - share)), round(100 * share)
    for shift, most, least in ((0.0, 0.2, 0.0), (1.0, 1.0, 0.9)):
        said = [(found := shift_of(*draw(400, normals, anomalies, shift, seed))) and found.found for seed in range(16)]
        assert least <= np.mean(said) <= most


def test_it_says_when_it_cannot_tell() -> None:
    seed_n, batch = draw(400, 49, 0, 0.0, 0)
    assert shift_of(seed_n, batch) is None
    few = shift_of(*draw(400, 20, 80, 0.0, 0))
    assert few is not None and few.doubt is not None and "too few normals" in few.doubt
    rng = np.random.default_rng(0)
    other = shift_of(seed_n, np.abs(rng.normal(0, 4, (300, FOLDS)).mean(axis=1, keepdims=True)) ** 3)
    assert other is not None and other.doubt is not None and "spread otherwise" in other.doubt
    fine = shift_of(*draw(400, 90, 10, 0.5, 1))
    assert fine is not None and fine.doubt is None


def test_the_sentence_warns_of_a_shift_and_of_a_fit_in_doubt_alone() -> None:
    shifted, alike = (shift_of(*draw(400, 200, 20, shift, 1)) for shift in (1.0, 0.0))
    few, doubtful = shift_of(*draw(400, 30, 0, 0.0, 0)), shift_of(*draw(400, 20, 80, 0.0, 0))
    assert shifted is not None and alike is not None and few is None
    assert sentence(shifted, 220, "the site") == (f"they do not score like the site: shifted by {shifted.text}", True)
    assert sentence(alike, 220, "the site") == (f"they score like the site: shift {alike.text}", False)
    assert "takes 50 images or more to tell" in sentence(few, 30, "the site")[0] and not sentence(few, 30, "-")[1]
    said, warns = sentence(doubtful, 100, "the trusted images")
    assert warns and said.startswith("whether they score like the trusted images cannot be told: by the fit")


def test_the_shift_is_said_in_sd_of_the_reference() -> None:
    seed_n, batch = draw(400, 200, 20, 0.5, 1)
    one, ten = shift_of(seed_n, batch), shift_of(10 * seed_n, 10 * batch)
    assert one is not None and ten is not None and one.text == ten.text
    assert one.text.startswith(f"{one.alignment.shift / seed_n.std(ddof=1):+.2f} sd (")


def test_a_place_that_few_images_showed_is_told_apart_less() -> None:
    seed_n, batch = draw(400, 200, 0, 0.3, 1)
    widths = []
    for known in (None, 30):
        found = shift_of(seed_n, batch, known)
        assert found is not None
        widths.append(found.spread.high - found.spread.low)
    assert widths[1] > 1.3 * widths[0]
