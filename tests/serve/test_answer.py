"""What a replica says beyond a plain image: of frames, at a site, of a bundle that does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swag_ray.detector.bundle import bundle_files, digest_of
from swag_ray.detector.site import Site
from swag_ray.errors import InputError
from swag_ray.serve.answer import Wish, answering
from tests.support.dicom import film, saved, twelve_bits
from tests.support.images import blocks, encoded

pytestmark = pytest.mark.ray  # the run whose detector it is
FRAMES = saved(film(np.stack([twelve_bits(np.asarray(blocks(n, 64))) for n in range(3)])))


@pytest.fixture
def files(finished: Path) -> dict[str, bytes]:
    return bundle_files(finished / "detector")


def changed(files: dict[str, bytes], change: Callable[[dict[str, Any]], object]) -> dict[str, bytes]:
    """The bundle with something else in its detector.json."""
    record = json.loads(files["detector.json"])
    change(record)
    return files | {"detector.json": json.dumps(record).encode()}


def test_a_frame_is_an_image_where_the_detector_says_so(files: dict[str, bytes]) -> None:
    answer = answering(changed(files, lambda record: record["spec"].update(frames="all")), None, 0.05)
    found = [answer(FRAMES, Wish(frame=n)) for n in (1, 2, 3)]
    assert [one.status for one in found] == [200] * 3
    assert len({one.fields["score"] for one in found}) == 3
    assert [one.fields["id"][-6:] for one in found] == ["-00001", "-00002", "-00003"]
    for wish in (Wish(), Wish(frame=4)):
        assert answer(FRAMES, wish).status == 422 and "3 frames" in answer(FRAMES, wish).reason
    single = saved(film(twelve_bits(np.asarray(blocks(1, 64)))))
    assert answer(single, Wish()).fields["score"] == answer(single, Wish(frame=1)).fields["score"]
    assert answer(single, Wish()).fields["score"] == found[1].fields["score"]


def test_a_site_flags_by_its_own_p_values(finished: Path, files: dict[str, bytes]) -> None:
    digest, image = digest_of(finished / "detector"), encoded(blocks(1, 64))
    plain = answering(files, None, 0.05)(image, Wish()).fields
    high, low = (plain["score"] + step for step in (1, -1))
    for known, p, flagged in ((high, 1.0, False), (low, 1 / 21, True)):
        site = Site("normals", digest, 20, "2026-01-31", known_m=(known,) * 20)
        found = answering(files, site, 0.05)(image, Wish()).fields
        assert found["aligned_p"] == pytest.approx(p) and found["above_threshold"] is flagged
        assert {name: found[name] for name in ("score", "p")} == {name: plain[name] for name in ("score", "p")}


def test_the_rate_is_the_line(files: dict[str, bytes]) -> None:
    image = encoded(blocks(1, 64))
    p = answering(files, None, 0.5)(image, Wish()).fields["p"]
    assert [answering(files, None, rate)(image, Wish()).fields["above_threshold"] for rate in (p, p * 0.999)] == [
        True, False,
    ]  # fmt: skip


def test_a_bundle_that_does_not_fit_is_told_as_such(files: dict[str, bytes]) -> None:
    with pytest.raises(InputError, match="backbone"):
        answering(files | {"backbone.safetensors": b"other"}, None, 0.05)
