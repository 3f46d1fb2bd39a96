"""JPEG files whole, torn, unterminated and unusual: what is read is all there, and read as torchvision reads it."""

from __future__ import annotations

import re
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_image

from swag_ray.images.decode import read_grey
from swag_ray.images.image_error import ImageError
from swag_ray.images.jpeg import END, _has_all_scans, decode_jpeg
from tests.support.images import encoded, real_set

SIDE = 200


def film(mode: str = "L", side: int = SIDE) -> Image.Image:
    """Coloured blocks under noise, so that every part of the file says something."""
    generator = np.random.default_rng(0)
    blocks = np.kron(generator.integers(0, 256, (side // 8, side // 8, 3)), np.ones((8, 8, 1)))
    noisy = blocks * 0.7 + generator.integers(0, 70, blocks.shape)
    return Image.fromarray(noisy.astype(np.uint8)).convert(mode)


def by_torchvision(data: bytes) -> np.ndarray:
    raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return decode_image(raw, mode=ImageReadMode.GRAY, apply_exif_orientation=True)[0].numpy()


KINDS = [
    {"mode": mode, "subsampling": sampling, "progressive": progressive}
    for mode in ("L", "RGB", "CMYK")
    for sampling in (0, 1, 2)
    for progressive in (False, True)
]


def made(kind: dict[str, object], **more: object) -> bytes:
    options = {name: value for name, value in kind.items() if name != "mode"}
    return encoded(film(str(kind["mode"])), "JPEG", quality=80, **options, **more)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_levels_are_torchvisions(kind: dict[str, object]) -> None:
    data = made(kind)
    np.testing.assert_array_equal(read_grey(data, SIDE).image_1HW[0].numpy(), by_torchvision(data))


@pytest.mark.parametrize("orientation", range(9))
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_every_orientation_is_torchvisions(orientation: int, mode: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(film(mode).crop((0, 0, 160, 96)), "JPEG", exif=exif)
    decoded, expected = read_grey(data, 96), by_torchvision(data)
    assert (decoded.height, decoded.width) == expected.shape
    whole = torch.from_numpy(expected.copy())[None]
    from torchvision.transforms.v2.functional import resize

    assert torch.equal(decoded.image_1HW, resize(whole.float(), [96, 96], antialias=True).round().to(torch.uint8))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_torn_files_are_refused_with_the_reason(kind: dict[str, object]) -> None:
    data = made(kind)
    n = len(data)
    torn = {"the last third": data[: n * 2 // 3]}
    if kind["mode"] != "CMYK" or not kind["progressive"] or not kind["subsampling"]:  # of those no decoder tells
        torn["the last third but its end marker"] = data[: n * 2 // 3] + END
        torn["the middle"] = data[: n // 3] + data[n * 2 // 3 :]
    for what, part in torn.items():
        with pytest.raises(ImageError, match=r"truncated|damaged"):
            read_grey(part, SIDE)
            pytest.fail(f"without {what} it was read")


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_missing_end_marker_alone_is_no_harm(kind: dict[str, object]) -> None:
    data = made(kind)
    assert data.endswith(END)
    if kind["mode"] == "CMYK" and kind["progressive"] and kind["subsampling"]:
        with pytest.raises(ImageError, match="truncated"):
            read_grey(data[:-2], SIDE)
        return
    np.testing.assert_array_equal(read_grey(data[:-2], SIDE).image_1HW, read_grey(data, SIDE).image_1HW)


def test_a_progressive_file_cut_between_two_scans_is_truncated() -> None:
    data = made({"mode": "L", "progressive": True})
    last = data.rindex(b"\xff\xda")
    cut = data.rindex(b"\xff\xc4", 0, last)  # the last scan's table and the scan
    with pytest.raises(ImageError, match="truncated JPEG"):
        decode_jpeg(data[:cut])
    decode_jpeg(data[:-2])


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_progressive_file_with_an_end_sewn_on_between_two_scans_is_truncated(mode: str) -> None:
    data = made({"mode": mode, "progressive": True, "subsampling": 0})
    starts = [found.start() for found in re.finditer(b"\xff\xda", data)]
    for before, scan in pairwise(starts):
        table = data.rfind(b"\xff\xc4", before, scan)
        with pytest.raises(ImageError, match="truncated JPEG"):
            read_grey(data[: table if table > 0 else scan] + END, SIDE)


def headed(data: bytes, jfif: bytes = b"", adobe: int | None = None) -> bytes:
    """The file with another JFIF revision, and an Adobe segment in place of that of JFIF where a transform is given."""
    start = data.find(b"\xff\xe0")
    if jfif:
        return data[: start + 9] + jfif + data[start + 11 :]
    if (place := data.find(b"Adobe")) > 0:
        return data[: place + 11] + bytes([adobe or 0]) + data[place + 12 :]
    segment = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([adobe or 0])
    return data[:start] + segment + data[start + 18 :]


HEADERS = {
    "JFIF 2.1": ("L", lambda data: headed(data, b"\2\1")), "JFIF 0.9": ("RGB", lambda data: headed(data, b"\0\x09")),
    "Adobe 5": ("RGB", lambda data: headed(data, adobe=5)),
    "Adobe 5, four colours": ("CMYK", lambda data: headed(data, adobe=5)),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("progressive", [False, True])
def test_an_unknown_header_is_read_and_hides_no_damage(name: str, progressive: bool) -> None:
    mode, change = HEADERS[name]
    data = change(made({"mode": mode, "progressive": progressive, "subsampling": 0}))
    n = len(data)
    expected = by_torchvision(data)
    for whole in (data, data[:-2], data[:-2] + bytes(9) + END):
        np.testing.assert_array_equal(read_grey(whole, SIDE).image_1HW[0].numpy(), expected)
    for torn in (data[: n // 2], data[: n // 2] + END, data[: n // 2] + data[n * 3 // 4 :]):
        with pytest.raises(ImageError, match=r"truncated|damaged"):
            read_grey(torn, SIDE)


def test_padding_hides_no_missing_restart_intervals() -> None:
    data = made({"mode": "L"}, restart_marker_blocks=8)
    cut = data.index(b"\xff\xd3", len(data) // 2)
    with pytest.raises(ImageError, match=r"truncated|damaged"):
        decode_jpeg(data[:cut] + bytes(9) + END)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_fill_bytes_before_a_marker_are_no_harm(mode: str) -> None:
    data = made({"mode": mode, "subsampling": 0})
    for marker in (b"\xff\xdb", b"\xff\xc0", b"\xff\xda", END):
        filled = data.replace(marker, b"\xff\xff" + marker, 1)
        for file in (filled, filled[:-2].rstrip(b"\xff")):
            np.testing.assert_array_equal(read_grey(file, SIDE).image_1HW[0].numpy(), by_torchvision(data))


@pytest.mark.parametrize("progressive", [False, True])
def test_headers_cut_short_or_of_other_codes_are_errors_of_the_image(progressive: bool) -> None:
    data = made({"mode": "RGB", "subsampling": 0, "progressive": progressive})
    last = data.rindex(b"\xff\xda")
    frame = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    for cut in [*range(2, frame + 20), *range(last, last + 16)]:
        with pytest.raises(ImageError):
            read_grey(data[:cut], SIDE)
    assert _has_all_scans(data) and not _has_all_scans(data[: last + 6])
    arithmetic = b"\xca" if progressive else b"\xc9"
    assert _has_all_scans(data[: frame + 1] + arithmetic + data[frame + 2 : -2])
    for code in (b"\xc9", b"\xca", b"\xc5"):  # arithmetic and hierarchical ones
        for file in (data, data[:-2], data[: last + 4]):
            with pytest.raises(ImageError):
                read_grey(file[: frame + 1] + code + file[frame + 2 :], SIDE)


def test_damage_inside_is_found_and_padding_at_the_end_is_none() -> None:
    data = made({"mode": "RGB", "subsampling": 0})
    n = len(data)
    for padded in (data + bytes(100), data[:-2] + bytes(9) + END):
        np.testing.assert_array_equal(decode_jpeg(padded), decode_jpeg(data))
    with pytest.raises(ImageError, match=r"damaged|truncated"):
        decode_jpeg(data[: n // 2] + bytes(512) + data[n // 2 + 512 :])


def test_twelve_bits_name_what_to_do() -> None:
    data = bytearray(made({"mode": "L"}))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(ImageError, match="JPEG of 12 bits; save it as a 16-bit PNG"):
        read_grey(bytes(data), SIDE)


@pytest.mark.data
@pytest.mark.parametrize("name", ["chest_xray", "covid_cxr"])
def test_real_films_are_read_as_before(name: str) -> None:
    for path in sorted((real_set(name) / "train" / "NORMAL").iterdir())[::40]:
        data = path.read_bytes()
        assert np.array_equal(decode_jpeg(data), by_torchvision(data)), path
