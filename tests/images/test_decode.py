from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from swag_ray.images.decode import Reading, _webp_pixels, deep_top, picture, read_grey
from swag_ray.images.image_error import ImageError
from tests.support.images import blocks, encoded, real_set

SIDE = 64


def levels(data: bytes, size: int = SIDE) -> np.ndarray:
    return read_grey(data, size).image_1HW[0].numpy().astype(int)


@pytest.fixture
def grey() -> Image.Image:
    return blocks(0, SIDE)


def test_shape_and_type(grey: Image.Image) -> None:
    decoded = read_grey(encoded(grey.resize((80, 40))), 32)
    assert decoded.image_1HW.shape == (1, 32, 32)
    assert decoded.image_1HW.dtype == torch.uint8
    assert (decoded.width, decoded.height) == (80, 40)


def test_png_of_the_asked_size_is_exact(grey: Image.Image) -> None:
    np.testing.assert_array_equal(levels(encoded(grey)), np.asarray(grey))


def test_resize_is_antialiased_and_uncropped() -> None:
    checker = Image.fromarray((np.indices((128, 128)).sum(0) % 2 * 255).astype(np.uint8))
    assert abs(levels(encoded(checker), 32)[4:-4, 4:-4] - 127.5).max() < 3
    edge = np.zeros((64, 128), np.uint8)
    edge[:, :8] = 255
    assert (levels(encoded(Image.fromarray(edge)), 32)[:, 0] > 250).all()


@pytest.mark.parametrize(("width", "height"), [(300, 200), (64, 64), (63, 65), (17, 400)])
def test_resizing_is_that_of_torchvision_bit_for_bit(width: int, height: int) -> None:
    """Features of before were made with it; importing it takes seconds."""
    from torchvision.transforms.v2.functional import resize

    levels_HW = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    expected = resize(torch.from_numpy(levels_HW)[None].to(torch.float32), [64, 64], antialias=True)
    found = read_grey(encoded(Image.fromarray(levels_HW), "PNG"), 64).image_1HW
    assert torch.equal(found, expected.round().clamp(0, 255).to(torch.uint8))


def test_sixteen_bits_are_scaled(grey: Image.Image) -> None:
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    np.testing.assert_array_equal(levels(encoded(deep)), np.asarray(grey))
    between = Image.fromarray(np.full((SIDE, SIDE), 257 * 100 + 200, np.uint16))  # 100.78
    assert (levels(encoded(between)) == 101).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_other_png_modes_keep_their_grey_levels(grey: Image.Image, mode: str) -> None:
    image = grey.convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(np.tile(np.arange(SIDE, dtype=np.uint8), (SIDE, 1))))
    assert abs(levels(encoded(image)) - np.asarray(grey)).max() <= 1


def test_bilevel_and_transparent_palette(grey: Image.Image) -> None:
    ink = np.asarray(grey) > 127
    np.testing.assert_array_equal(levels(encoded(Image.fromarray(ink))), ink * 255)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = encoded(grey.convert("P"), transparency=bytes(range(256)))
        assert abs(levels(data) - np.asarray(grey)).max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_modes_keep_their_grey_levels(grey: Image.Image, mode: str, progressive: bool) -> None:
    data = encoded(grey.convert(mode), "JPEG", quality=95, progressive=progressive)
    assert abs(levels(data) - np.asarray(grey)).max() <= 12


@pytest.mark.parametrize("form", ["BMP", "GIF", "WEBP"])
def test_misnamed_formats_are_read_by_content(grey: Image.Image, form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    assert abs(levels(encoded(grey, form, **options)) - np.asarray(grey)).max() <= 2


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_exif_orientation_is_applied(form: str) -> None:
    picture = Image.fromarray(np.repeat(np.arange(0, 240, 5, dtype=np.uint8)[None], 32, 0))  # 48 wide, 32 high
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, to be turned a quarter clockwise
    decoded = read_grey(encoded(picture, form, exif=exif), 32)
    assert (decoded.width, decoded.height) == (32, 48)
    rows = decoded.image_1HW[0].float().mean(1)
    assert bool((rows.diff() > 0).all())


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP"])
def test_every_cut_is_found(form: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE)).astype(np.uint8))
    data = encoded(noise, form)
    for share in (0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        with pytest.raises(ImageError) as caught:
            read_grey(data[: int(len(data) * share)], SIDE)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_few_missing_bytes_are_found(grey: Image.Image, form: str) -> None:
    data = encoded(grey, form)
    for cut in (12, 40):
        with pytest.raises(ImageError):
            read_grey(data[:-cut], SIDE)


def test_broken_png_data_is_found(grey: Image.Image) -> None:
    data = bytearray(encoded(grey))
    place = data.index(b"IDAT") + 10
    data[place] ^= 0xFF
    with pytest.raises(ImageError):
        read_grey(bytes(data), SIDE)


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 500, b"<html>not found</html>", b"\xff\xd8\xff", b"%PDF-1.4 " + b"x" * 99]
)
def test_not_an_image(data: bytes) -> None:
    with pytest.raises(ImageError):
        read_grey(data, SIDE)


def test_damaged_bytes_never_end_the_process(grey: Image.Image) -> None:
    """In a process of its own: torchvision 0.29 segfaults on damaged PNGs."""
    code = f"""
import numpy as np
from swag_ray.images.decode import deep_top, picture, read_grey
from swag_ray.images.image_error import ImageError
generator = np.random.default_rng(0)
for whole in {[encoded(grey, form) for form in ("JPEG", "PNG")]!r}:
    for _ in range(200):
        data = bytearray(whole)
        for place in generator.integers(2, len(data), 3):
            data[place] = generator.integers(256)
        try:
            read_grey(bytes(data), 32)
        except ImageError:
            pass
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_small_images_are_refused(grey: Image.Image) -> None:
    with pytest.raises(ImageError, match="15"):
        read_grey(encoded(grey.resize((15, 400))), SIDE)
    read_grey(encoded(grey.resize((16, 16))), SIDE)


@pytest.mark.parametrize("side", [7072, 10_000, 60_000])  # just over; over PIL's warning; over PIL's error
def test_large_images_are_refused_by_the_header_alone(side: int) -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match="over 50 megapixels"):
            read_grey(data, SIDE)


def test_same_bytes_same_levels_whatever_the_threads(grey: Image.Image) -> None:
    data = encoded(grey.resize((301, 299)), "JPEG")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = levels(data)
        torch.set_num_threads(2)
        two = levels(data)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(one, two)


@pytest.mark.data
def test_real_images_agree_with_pil() -> None:
    for path in sorted((real_set("chest_xray") / "test" / "NORMAL").iterdir())[:8]:
        with Image.open(path) as image:
            expected = np.asarray(image.resize((256, 256), Image.Resampling.BILINEAR)).astype(int)
        assert abs(levels(path.read_bytes(), 256) - expected).max() <= 1


def test_the_picture_for_people_is_what_the_network_sees(grey: Image.Image) -> None:
    for image in (grey, grey.resize((150, 90)), grey.convert("RGBA")):
        seen = picture(encoded(image), 32)
        assert seen.shape == (32, 32) and seen.dtype == np.uint8
        assert abs(seen.astype(int) - levels(encoded(image), 32)).max() <= 1
    with pytest.raises(ImageError, match="truncated"):
        picture(encoded(grey)[:-20], 32)


def chunk(name: bytes, body: bytes, broken: bool = False) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body) ^ broken)


def deep_png(samples: np.ndarray, kind: int = 0, interlaced: bool = False) -> bytes:
    """A PNG of 16 bits a sample, of any kind of pixels, which PIL does not write."""
    height, width = samples.shape[:2]
    passes = [samples]
    if interlaced:  # Adam7: (first row, first column, step down, step right)
        steps = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
        passes = [samples[top::down, left::right] for top, left, down, right in steps]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for part in passes for row in part)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, interlaced)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, body) for name, body in parts)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("interlaced", [False, True])
def test_films_of_fewer_bits_are_read_with_their_range(grey: Image.Image, bits: int, interlaced: bool) -> None:
    white = 2**bits - 1
    samples = np.round(np.asarray(grey) * (white / 255)).astype(np.uint16)
    data = deep_png(samples, interlaced=interlaced)
    decoded = read_grey(data, SIDE, Reading(white))
    assert decoded.top == deep_top(data) == samples.max()
    np.testing.assert_array_equal(decoded.image_1HW[0], np.asarray(grey))
    assert abs(picture(data, SIDE, Reading(white)).astype(int) - np.asarray(grey)).max() <= 1
    if bits < 16:
        with pytest.raises(ImageError, match=f"samples up to {samples.max()}.* end at {samples.max() // 2}"):
            read_grey(data, SIDE, Reading(int(samples.max()) // 2))


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_deep_colours_are_read_with_their_range_too(grey: Image.Image, kind: int, channels: int) -> None:
    levels_HW = np.asarray(grey).astype(np.uint16)
    data = deep_png(np.repeat((levels_HW * 16)[..., None], channels, 2), kind)
    decoded = read_grey(data, SIDE, Reading(4095))
    assert decoded.top == levels_HW.max() * 16
    assert abs(decoded.image_1HW[0].numpy().astype(int) - levels_HW * 16 / 4095 * 255).max() <= 1
    whole = deep_png(np.repeat((levels_HW * 257)[..., None], channels, 2), kind)
    np.testing.assert_array_equal(levels(whole), levels_HW)


def test_tiffs_of_all_depths(grey: Image.Image) -> None:
    levels_HW = np.asarray(grey)
    deep = Image.fromarray(np.round(levels_HW * (4095 / 255)).astype(np.uint16))
    for more in ({}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}):
        np.testing.assert_array_equal(levels(encoded(grey, "TIFF", **more)), levels_HW)
        read = read_grey(encoded(deep, "TIFF", **more), SIDE, Reading(4095))
        np.testing.assert_array_equal(read.image_1HW[0], levels_HW)
    black_is_white = read_grey(encoded(deep, "TIFF", tiffinfo={262: 0}), SIDE, Reading(4095))
    np.testing.assert_array_equal(black_is_white.image_1HW[0], 255 - levels_HW)
    data = encoded(deep, "TIFF")
    for share in (0.3, 0.9):
        with pytest.raises(ImageError):
            read_grey(data[: int(len(data) * share)], SIDE)
    for odd, reason in (
        (levels_HW.astype(np.float32) / 255, "fractions"),
        (levels_HW.astype(np.int32) * 1000, "samples from"),
        (levels_HW.astype(np.int32) - 9, "samples from -9"),
    ):
        with pytest.raises(ImageError, match=reason):
            read_grey(encoded(Image.fromarray(odd), "TIFF"), SIDE)


def test_texts_and_damaged_comments_are_passed_over(grey: Image.Image) -> None:
    data = encoded(grey)
    end = data.index(b"IEND") - 4
    bomb = zlib.compress(bytes(3 << 20))
    extras = {
        "a damaged comment": chunk(b"tEXt", b"Comment\0scanned", broken=True),
        "a damaged date": chunk(b"tIME", b"1234567", broken=True),
        "a large text": chunk(b"tEXt", b"Comment\0" + b"x" * (80 << 20)),
        "a text that unpacks to much": chunk(b"zTXt", b"Comment\0\0" + bomb),
        "notes of a camera that unpack to much": chunk(b"zTXt", b"Raw profile type exif\0\0" + bomb),
        "a profile that unpacks to much": chunk(b"iCCP", b"profile\0\0" + bomb),
    }
    for extra in extras.values():
        for whole in (data[:33] + extra + data[33:], data[:end] + extra + data[end:]):
            np.testing.assert_array_equal(levels(whole), np.asarray(grey))
    with pytest.raises(ImageError, match="damaged"):
        read_grey(data[:33] + chunk(b"PLTE", b"\0\0\0", broken=True) + data[33:], SIDE)


def test_too_little_memory_is_no_fault_of_the_image(grey: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    for form, place in (("PNG", "PIL.Image.Image.load"), ("JPEG", "simplejpeg.decode_jpeg"), ("BMP", "PIL.Image.open")):
        data = encoded(grey, form)
        with monkeypatch.context() as patch:
            patch.setattr(place, full)
            with pytest.raises(MemoryError):
                read_grey(data, SIDE)
        read_grey(data, SIDE)


def test_a_tiffs_first_page_is_read(grey: Image.Image) -> None:
    turned = grey.rotate(90)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    for pages in ([grey, turned, turned], [deep, turned]):
        data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
        with Image.open(io.BytesIO(data)) as image:
            assert image.n_frames == len(pages)
        np.testing.assert_array_equal(levels(data), np.asarray(grey))


def _lying(form: str, side: int) -> bytes:
    """A small file whose header promises a picture of `side` x `side` pixels."""
    data = bytearray(encoded(Image.new("L", (64, 64), 99), form, **({"lossless": True} if form == "WEBP" else {})))
    match form:
        case "BMP":
            data[18:26] = struct.pack("<II", side, side)
        case "GIF":
            data[6:10] = struct.pack("<HH", side, side)
        case "WEBP":
            place = data.index(b"VP8L") + 9
            rest = int.from_bytes(data[place : place + 4], "little") >> 28
            data[place : place + 4] = ((side - 1) | (side - 1) << 14 | rest << 28).to_bytes(4, "little")
        case "TIFF":
            for tag in (256, 257):
                entry = bytes(data).index(struct.pack("<HH", tag, 4 if struct.pack("<HH", tag, 4) in data else 3))
                data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, side)
    return bytes(data)


@pytest.mark.parametrize(("form", "side"), [("BMP", 40000), ("GIF", 40000), ("WEBP", 16000), ("TIFF", 40000)])
def test_headers_of_other_formats_are_not_believed_either(form: str, side: int) -> None:
    with pytest.raises(ImageError, match=r"over 50 megapixels"):
        read_grey(_lying(form, side), SIDE)


@pytest.mark.parametrize("compression", ["jpeg", "group3", "group4", "tiff_ccitt"])
def test_tiffs_that_hide_damage_are_refused(grey: Image.Image, compression: str) -> None:
    data = encoded(grey if compression == "jpeg" else grey.convert("1"), "TIFF", compression=compression)
    for read in (read_grey, picture):
        with pytest.raises(ImageError, match=r"a TIFF with .* compression cannot be checked for damage"):
            read(data, SIDE)


SHORT = r"""
import io, re, resource, sys, torch, simplejpeg, torchvision.transforms.v2.functional
from PIL import Image, ImageFile
from swag_ray.images.decode import read_grey
from swag_ray.images.image_error import ImageError
torch.set_num_threads(1)
def encoded(side):
    data = io.BytesIO()
    Image.linear_gradient("L").resize((side, side)).save(data, form, **options)
    return data.getvalue()
for form, options in (("WEBP", {}), ("WEBP", {"lossless": True}), ("JPEG", {}), ("PNG", {}), ("TIFF", {})):
    data = encoded(3000)
    read_grey(encoded(64), 32)
    used = int(re.search(r"VmSize:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024
    found = []
    for more in range(2, 100, 16):
        resource.setrlimit(resource.RLIMIT_AS, (used + more * 10**6, resource.RLIM_INFINITY))
        try:
            read_grey(data, 32)
            found.append("read")
        except BaseException as error:
            found.append(type(error).__name__)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(form, *sorted(set(found)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on addresses and /proc")
def test_whatever_lacks_memory_says_so() -> None:
    ended = subprocess.run([sys.executable, "-c", SHORT], capture_output=True, text=True, check=False)
    lines = ended.stdout.splitlines()
    assert len(lines) == 5, ended.stderr
    for line in lines:
        assert line.split()[1:] in (["MemoryError"], ["MemoryError", "read"]), lines


def test_a_decoder_that_names_memory_is_short_of_it(grey: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise ImageFile._get_oserror(-9, encoder=False)

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", full)
    with pytest.raises(MemoryError):
        read_grey(encoded(grey), SIDE)


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"save_all": True}], ids=str)
def test_a_torn_webp_is_the_images_fault(grey: Image.Image, options: dict[str, object]) -> None:
    if "save_all" in options:
        options = options | {"append_images": [grey.rotate(90)]}
    data = encoded(grey, "WEBP", **options)
    assert _webp_pixels(data) == SIDE**2
    with pytest.raises(ImageError):
        read_grey(data[: len(data) // 2], SIDE)
