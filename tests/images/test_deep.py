"""One grey range for a set of 16-bit images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from swag_ray.errors import InputError
from swag_ray.images.deep import bits_in_use, may_be_deep, range_warnings, white_of
from tests.support.images import blocks, encoded, write


def deep(path: Path, white: int, seed: int = 0, form: str = "PNG", **options: object) -> Path:
    """A film whose samples span 0 to `white`, in 16 bits."""
    samples = np.asarray(blocks(seed, 64)).astype(float)
    samples = np.round((samples - samples.min()) / np.ptp(samples) * white).astype(np.uint16)
    path.write_bytes(encoded(Image.fromarray(samples), form, **options))
    return path


def test_the_bits_of_a_set(tmp_path: Path) -> None:
    paths = [
        deep(tmp_path / "a.png", 4095), deep(tmp_path / "b.png", 3000), deep(tmp_path / "c.png", 900),
        write(tmp_path / "d.png", 1), deep(tmp_path / "e.tif", 4095, form="TIFF"), write(tmp_path / "f.tif", 1, "TIFF"),
        tmp_path / "broken.png",
    ]  # fmt: skip
    paths[-1].write_bytes(paths[0].read_bytes()[:200])
    done: list[int] = []
    bits_N = bits_in_use(paths, threads=2, advance=done.append)
    assert bits_N.tolist() == [12, 12, 10, 0, 12, 0, 0]
    assert sum(done) == len(paths)
    assert white_of(bits_N) == 4095
    assert [may_be_deep(path.read_bytes()[:26]) for path in paths[:6]] == [True, True, True, False, True, True]
    lines = range_warnings([path.name for path in paths], bits_N, 4095)
    assert "4 16-bit images use 12 bits at most and are read with the range 0 to 4095" in lines[0]
    assert "1 of 4 16-bit images uses 10 bits at most" in lines[1] and "c.png" in lines[1]


def test_a_set_of_whole_16_bits_or_of_none_has_the_files_own_range() -> None:
    for bits in ([16, 15, 16], [0, 0], []):
        bits_N = np.array(bits, np.uint8)
        assert white_of(bits_N) == 65535
        assert range_warnings(["a", "b", "c"], bits_N, 65535) == []
    (line,) = range_warnings(["a", "b"], np.array([16, 12], np.uint8), 65535)
    assert "1 of 2 16-bit images uses 12 bits at most" in line and "it comes out dark (for instance b)" in line


def test_big_tiffs_are_deep_too(tmp_path: Path) -> None:
    path = deep(tmp_path / "a.tif", 4095, form="TIFF", big_tiff=True)
    start = path.read_bytes()[:26]
    assert may_be_deep(start) and may_be_deep(b"MM\0+" + start[4:])
    assert bits_in_use([path], threads=1, advance=lambda images: None).tolist() == [12]


def test_a_passing_fault_ends_the_search_and_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [deep(tmp_path / "a.png", 900), tmp_path / "gone.png"]
    with pytest.raises(InputError, match=r"^dataset: '.*gone\.png' cannot be read \(No such file or directory\)"):
        bits_in_use(paths, threads=2, advance=lambda images: None)
    assert bits_in_use(paths, threads=2, advance=lambda images: None, lenient=True).tolist() == [10, 0]

    def full(_: bytes) -> int:
        raise MemoryError

    monkeypatch.setattr("swag_ray.images.deep.deep_top", full)
    with pytest.raises(InputError, match=r"^memory: too little"):
        bits_in_use(paths[:1], threads=1, advance=lambda images: None)


def test_a_few_films_of_more_bits_than_all_others_are_the_odd_ones() -> None:
    bits_N = np.array([0, 12, 16] + [12] * 38, np.uint8)
    paths = [f"{row}.png" for row in range(41)]
    (line,) = range_warnings(paths, bits_N, 65535)
    assert line.startswith(
        "dataset.range: 1 of 40 16-bit images uses more than 12 bits (2.png); the others come out dark"
    )
    bits_N[5:9] = 15
    (line,) = range_warnings(paths, bits_N, 65535)
    assert line.startswith("dataset.range: 35 of 40 16-bit images use 12 bits at most")
    bits_N[5:9] = 12
    (line,) = range_warnings(paths, bits_N, 65535, given=True)
    assert "39 of 40 16-bit images use 12 bits at most" in line, "a detector's range is right, what is scored is odd"
