"""Amounts in words."""

from __future__ import annotations

import pytest

from swag_ray.wording import duration, plural, size


@pytest.mark.parametrize(
    "amount, words",
    [
        (0, "0 bytes"), (999, "999 bytes"), (1_000, "1.0 KB"), (61_400, "61 KB"), (2_340_000, "2.3 MB"),
        (512_000_000, "512 MB"), (25_340_000_000, "25.3 GB"), (1.25e12, "1.2 TB"), (12.5e12, "12.5 TB"),
    ],
)  # fmt: skip
def test_bytes(amount: float, words: str) -> None:
    assert size(amount) == words


@pytest.mark.parametrize(
    "seconds, words",
    [(0, "0.0 s"), (59.4, "59.4 s"), (59.96, "1 min 00 s"), (125, "2 min 05 s"), (3725, "1 h 02 min")],
)
def test_seconds(seconds: float, words: str) -> None:
    assert duration(seconds) == words
    assert duration(seconds, "_") == words.replace(" s", "_s").replace(" min", "_min").replace(" h", "_h")


def test_plurals() -> None:
    assert plural(0, "node") == "0 nodes" and plural(1, "node") == "1 node" and plural(1.0, "CPU") == "1 CPU"
    assert plural(1_200, "image") == "1,200 images" and plural(2.5, "CPU") == "2.5 CPUs"
