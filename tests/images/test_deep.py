"""One grey range for a set of 16-bit images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from swag_ray.images.deep import bits_in_use, may_be_deep, range_warnings, white_of
from tests.support.images import blocks, encoded, write


def deep(path: Path, white: int, seed: int = 0, form: str = "PNG") -> Path:
    """A film whose samples span 0 to `white`, in 16 bits."""
    samples = np.asarray(blocks(seed, 64)).astype(float)
    samples = np.round((samples - samples.min()) / np.ptp(samples) * white).astype(np.uint16)
    path.write_bytes(encoded(Image.fromarray(samples), form))
    return path


def test_the_bits_of_a_set(tmp_path: Path) -> None:
    paths = [
        deep(tmp_path / "a.png", 4095), deep(tmp_path / "b.png", 3000), deep(tmp_path / "c.png", 900),
        write(tmp_path / "d.png", 1), deep(tmp_path / "e.tif", 4095, form="TIFF"), write(tmp_path / "f.tif", 1, "TIFF"),
        tmp_path / "gone.png", tmp_path / "broken.png",
    ]  # fmt: skip
    paths[-1].write_bytes(paths[0].read_bytes()[:200])
    done: list[int] = []
    bits_N = bits_in_use(paths, threads=2, advance=done.append)
    assert bits_N.tolist() == [12, 12, 10, 0, 12, 0, 0, 0]
    assert sum(done) == len(paths)
    assert white_of(bits_N) == 4095
    assert [may_be_deep(path.read_bytes()[:26]) for path in paths[:6]] == [True, True, True, False, True, True]
    lines = range_warnings([path.name for path in paths], bits_N, 4095)
    assert "4 16-bit images use 12 bits at most and are read with the range 0 to 4095" in lines[0]
    assert "1 of 4 16-bit images use 10 bits at most" in lines[1] and "c.png" in lines[1]


def test_a_set_of_whole_16_bits_or_of_none_has_the_files_own_range() -> None:
    for bits in ([16, 15, 16], [0, 0], []):
        bits_N = np.array(bits, np.uint8)
        assert white_of(bits_N) == 65535
        assert range_warnings(["a", "b", "c"], bits_N, 65535) == []
    (line,) = range_warnings(["a", "b"], np.array([16, 12], np.uint8), 65535)
    assert "1 of 2 16-bit images use 12 bits at most" in line and "come out dark (for instance b)" in line
