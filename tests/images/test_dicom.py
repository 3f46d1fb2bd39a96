"""DICOM: pydicom's own files, whole and cut, and made-up ones whose right levels are known."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from swag_ray.images.check import describe
from swag_ray.images.decode import Reading, deep_top, picture, read_grey
from swag_ray.images.dicom import HEAD, codestream_size, is_dicom
from swag_ray.images.dicom_grey import dicom_levels
from swag_ray.images.folders import list_folder
from swag_ray.images.image_error import ImageError
from swag_ray.images.silence import silenced
from swag_ray.score.inputs import find_inputs
from tests.support.dicom import film, saved, twelve_bits
from tests.support.images import blocks, write

DATA = Path(pydicom.__file__).parent / "data"
OTHERS = (".json", ".txt", ".py", ".pyc", ".dump", ".icc", ".gz", ".md", ".sha256")
FILES = sorted(p for p in DATA.rglob("*") if p.is_file() and p.suffix not in OTHERS and p.name != "README")
PLANTED = "Planted^Name"
SIDE = 64
GREY = np.asarray(blocks(3, SIDE))
NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)


def levels_of(data: bytes, grey_range: str = "bits", frames: str = "middle") -> NDArray[np.float32]:
    return dicom_levels(data, grey_range=grey_range, frames=frames, most_pixels=50_000_000, least_side=1)


def levels(dataset: Dataset, **reading: Any) -> NDArray[np.float32]:
    return read_grey(saved(dataset), SIDE, Reading(**reading)).image_1HW[0].numpy().astype(np.float32)


def by_pydicom(path: Path) -> NDArray[np.float64]:
    """The levels by pydicom's own functions for viewers; a window's width is never below 1 here."""
    from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut

    tags = dcmread(path, force=True)
    stored, kind = tags.pixel_array, tags.PhotometricInterpretation
    if int(tags.get("NumberOfFrames") or 1) > 1:
        stored = stored[len(stored) // 2]
    if kind == "PALETTE COLOR":
        stored = apply_color_lut(stored, tags)
    if stored.ndim == 3:
        return np.asarray(stored @ np.array([0.299, 0.587, 0.114]) * 255 / np.iinfo(stored.dtype).max)
    values = apply_modality_lut(stored, tags)
    low = -(2 ** (tags.BitsStored - 1)) if tags.PixelRepresentation else 0
    ends = apply_modality_lut(np.array([low, low + 2**tags.BitsStored - 1]), tags).astype(float)
    if "WindowWidth" in tags:
        values = apply_voi_lut(values, tags)
    out = np.asarray((values - ends[0]) / (ends[1] - ends[0]) * 255)
    out = 255 - out if kind == "MONOCHROME1" else out
    return np.where(stored == tags.PixelPaddingValue, 0, out) if "PixelPaddingValue" in tags else out


@pytest.mark.filterwarnings("ignore::UserWarning")  # of the reference
def test_pydicoms_own_files_are_read_as_it_shows_them_or_refused_in_a_line() -> None:
    read, refused = [], {}
    for path in FILES:
        data = path.read_bytes()
        try:
            found = levels_of(data)
        except ImageError as error:
            refused[path] = str(error)
            assert "\n" not in str(error)
            with pytest.raises(ImageError):
                read_grey(data, SIDE)
            continue
        np.testing.assert_allclose(found, by_pydicom(path), atol=0.05, err_msg=str(path))
        assert is_dicom(data[:HEAD])
        read.append(path.name)
    assert len(read) == 89 and len(read) + len(refused) == len(FILES)
    reasons = {
        "CT_small.dcm": "a CT without a window", "rtplan.dcm": "without an image", "DICOMDIR": "a DICOMDIR",
        "rtdose.dcm": "of 32 bits", "liver_1frame.dcm": "of 1 bit", "MR_truncated.dcm": "truncated or damaged",
        "JPEG2000-embedded-sequence-delimiter.dcm": "another size or kind", "no_meta.dcm": "without an image",
    }  # fmt: skip
    for path, said in refused.items():
        assert reasons.get(path.name, "") in said, (path, said)


@pytest.mark.parametrize("syntax", [*NATIVE, ExplicitVRBigEndian, RLELossless, JPEG2000Lossless], ids=lambda s: s.name)
@pytest.mark.parametrize(("bits", "kind"), [(8, "u1"), (10, "u2"), (12, "u2"), (12, "i2"), (16, "u2")])
def test_a_film_has_its_levels_whatever_its_depth_and_syntax(syntax: Any, bits: int, kind: str) -> None:
    samples = np.round(GREY * ((2**bits - 1) / 255)).astype(np.int32) - (2 ** (bits - 1) if kind == "i2" else 0)
    dataset = film(samples.astype(kind), bits, syntax=syntax)
    assert abs(levels(dataset) - GREY).max() <= 0.5
    inverse = film(((2**bits - 1 if kind != "i2" else -1) - samples).astype(kind), bits)
    inverse.PhotometricInterpretation = "MONOCHROME1"
    assert abs(levels(inverse) - GREY).max() <= 0.5
    assert deep_top(saved(dataset)) is None, "its header says what white is"
    assert abs(picture(saved(dataset), SIDE).astype(int) - GREY).max() <= 1


@pytest.mark.parametrize("implicit", [True, False])
def test_neither_preamble_nor_header_is_needed(implicit: bool) -> None:
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    dataset = film(twelve_bits(GREY), syntax=syntax)
    whole = saved(dataset)
    header = saved(dataset)[132:]
    del dataset.file_meta
    bare = saved(dataset, enforce_file_format=False, implicit_vr=implicit, little_endian=True)
    bare = bare.removeprefix(bytes(128) + b"DICM")
    for data in (whole, header, bare):
        assert is_dicom(data[:HEAD])
        np.testing.assert_array_equal(read_grey(data, SIDE).image_1HW[0], GREY)
    for other in (b"", b"\x08\x00", b"\x08\x00\x05\x00\xff\xff\xff\x7f" + bytes(200), b"BM" + bytes(200)):
        assert not is_dicom(other)


def test_what_is_white_is_said_by_table_else_window_else_bits() -> None:
    ramp = np.tile(np.arange(SIDE, dtype=np.uint16) * 65, (SIDE, 1))
    assert levels(film(ramp))[0, [0, -1]].tolist() == [0, 255]
    rescaled = film(ramp, RescaleSlope="2", RescaleIntercept="-1024")
    np.testing.assert_array_equal(levels(rescaled), levels(film(ramp)), "the range is rescaled as the samples are")
    down = film(ramp, RescaleSlope="-1", RescaleIntercept="4095")
    np.testing.assert_array_equal(levels(down), 255 - levels(film(ramp)))

    window = {
        "WindowCenter": ["1000", "2"],
        "WindowWidth": ["1001", "3"],
        "RescaleSlope": "2",
        "RescaleIntercept": "-1024",
    }
    expected = np.clip((ramp * 2.0 - 1024 - 499.5) / 1000, 0, 1) * 255
    assert abs(levels(film(ramp, **window)) - expected).max() <= 0.51
    exact = np.clip((ramp * 2.0 - 1024 - 499.5) / 1001, 0, 1) * 255
    assert abs(levels(film(ramp, **window, VOILUTFunction="LINEAR_EXACT")) - exact).max() <= 0.51
    sigmoid = 255 / (1 + np.exp(-4 * (ramp * 2.0 - 1024 - 1000) / 1001))
    assert abs(levels(film(ramp, **window, VOILUTFunction="SIGMOID")) - sigmoid).max() <= 0.51
    assert set(np.unique(levels(film(ramp, WindowCenter="2000", WindowWidth="1")))) == {0, 255}
    for useless in ({"WindowWidth": "0", "WindowCenter": "9"}, {"WindowCenter": "9"}, {"WindowWidth": ""}):
        np.testing.assert_array_equal(levels(film(ramp, **useless)), levels(film(ramp)))

    item = Dataset()  # of more entries than its entries have levels
    item.LUTDescriptor = [4096, 0, 8]
    item.LUTData = (255 - np.arange(4096) * 255 // 4095).astype("<u2").tobytes()
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
    assert abs(levels(film(ramp, VOILUTSequence=[item], **window | {"RescaleSlope": "1", "RescaleIntercept": "0"}))
               - (255 - ramp / 4095 * 255)).max() <= 1  # fmt: skip
    modality = film(ramp, ModalityLUTSequence=[item])
    assert abs(levels(modality) - (255 - ramp / 4095 * 255)).max() <= 1


def test_a_frame_of_an_enhanced_file_has_its_own_window() -> None:
    frames = np.stack([twelve_bits(GREY), twelve_bits(GREY) // 2, twelve_bits(GREY) // 4])

    def with_window(centre: float, width: float) -> Dataset:
        voi, groups = Dataset(), Dataset()
        voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction = centre, width, "LINEAR_EXACT"
        groups.FrameVOILUTSequence = [voi]
        return groups

    dataset = film(frames, SharedFunctionalGroupsSequence=[with_window(512, 1024)])
    for number, image in ((1, GREY), (2, None)):
        dataset.PerFrameFunctionalGroupsSequence = [with_window(1023.75, 2047.5) for _ in range(number + 1)][:3]
        found = levels(dataset, frames="middle")
        assert abs(found - image).max() <= 1 if image is not None else True
    del dataset.PerFrameFunctionalGroupsSequence
    assert abs(levels(dataset, frames="middle") - np.clip(GREY * 2.0, 0, 255)).max() <= 2
    with pytest.raises(ImageError, match=r"^a DICOM of 3 frames; dataset.frames: middle takes"):
        levels(dataset)


def test_a_ct_must_say_its_window_or_be_read_by_percentiles() -> None:
    hounsfield = (GREY.astype(np.int16) * 4 - 500).astype(np.int16)
    ct = film(hounsfield, 16, Modality="CT", RescaleSlope="1", RescaleIntercept="0")
    with pytest.raises(ImageError, match=r"^a CT without a window; dataset.range: percentile"):
        levels(ct)
    low, high = np.percentile(hounsfield, (1, 99))
    expected = np.clip((hounsfield - low) / (high - low), 0, 1) * 255
    assert abs(levels(ct, range="percentile") - expected).max() <= 0.51
    ct.WindowCenter, ct.WindowWidth = 0, 1000
    np.testing.assert_array_equal(levels(ct), levels(ct, range="percentile"), "a window goes first")


def test_padding_is_black_and_no_part_of_the_range() -> None:
    samples = GREY.astype(np.int16) * 4 + 100
    samples[:, :8] = -2000
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        padded = film(samples, 16, PhotometricInterpretation=kind)
        padded.add_new("PixelPaddingValue", "SS", -2000)
        found = levels(padded, range="percentile")
        low, high = np.percentile(samples[:, 8:], (1, 99))
        inside = np.clip((samples[:, 8:] - low) / (high - low), 0, 1) * 255
        assert not found[:, :7].any()
        assert abs(found[:, 9:] - (inside if kind == "MONOCHROME2" else 255 - inside)[:, 1:]).max() <= 0.51
    bounded = film(np.where(samples < 0, 0, samples).astype(np.uint16), 16)
    bounded.add_new("PixelPaddingValue", "US", 0)
    bounded.add_new("PixelPaddingRangeLimit", "US", 120)
    assert not levels(bounded, range="percentile")[samples <= 120].any()


def test_colours_are_weighed_as_in_other_formats() -> None:
    colours = np.stack([GREY, np.roll(GREY, 8, 0), GREY[::-1]], -1)
    expected = colours @ np.array([0.299, 0.587, 0.114])
    for dataset in (film(colours, 8), film(colours, 8, syntax=JPEG2000Lossless), film(colours, 8, syntax=RLELossless)):
        assert abs(levels(dataset) - expected).max() <= 0.51
    assert abs(levels(film(colours.astype(np.uint16) * 257, 16)) - expected).max() <= 0.51


def compressed(name: str) -> bytes:
    return (DATA / "test_files" / name).read_bytes()


CUT = {
    "native": lambda: saved(film(twelve_bits(GREY))),
    "deflated": lambda: saved(film(twelve_bits(GREY), syntax=DeflatedExplicitVRLittleEndian)),
    "rle": lambda: saved(film(twelve_bits(GREY), syntax=RLELossless)),
    "j2k": lambda: saved(film(twelve_bits(GREY), syntax=JPEG2000Lossless)),
    "jpeg": lambda: compressed("SC_rgb_jpeg_dcmtk.dcm"),
    "jpeg12": lambda: compressed("JPGExtended.dcm"),
    "jpegls": lambda: compressed("MR_small_jpeg_ls_lossless.dcm"),
    "lossless": lambda: compressed("SC_rgb_jpeg_gdcm.dcm"),
}


@pytest.mark.parametrize("name", CUT)
def test_every_cut_is_found(name: str) -> None:
    data = CUT[name]()
    whole = levels_of(data)
    for end in (*range(1, len(data), max(1, len(data) // 40)), *range(len(data) - 12, len(data))):
        try:
            found = read_grey(data[:end], SIDE)
        except ImageError:
            continue
        assert found.width == whole.shape[1]
        # What is cut off stands behind the pixels.
        np.testing.assert_array_equal(levels_of(data[:end]), whole)


@pytest.mark.parametrize("name", CUT)
def test_no_damaged_byte_ends_the_process(name: str) -> None:
    data = CUT[name]()
    generator = np.random.default_rng(5)
    for _ in range(60):
        broken = bytearray(data)
        for place in generator.integers(0, len(data), 3):
            broken[place] = generator.integers(0, 256)
        try:
            levels_of(bytes(broken))
        except ImageError as error:
            assert "\n" not in str(error)


def test_what_promises_too_much_is_refused_before_it_is_decoded() -> None:
    large = film(twelve_bits(GREY), Rows=60000, Columns=60000)
    with pytest.raises(ImageError, match="60000 x 60000 pixels, over 50 megapixels"):
        levels(large)
    with pytest.raises(ImageError, match="truncated or damaged"):
        levels(film(twelve_bits(GREY), NumberOfFrames=10**9), frames="middle")

    data = saved(film(twelve_bits(GREY), syntax=JPEG2000Lossless))
    place = data.index(b"\xff\x4f\xff\x51") + 8
    lying = data[:place] + struct.pack(">II", 60000, 60000) + data[place + 8 :]
    with pytest.raises(ImageError, match="another size or kind"):
        levels_of(lying)
    data = compressed("JPGExtended.dcm")
    place = data.index(b"\xff\xc1") + 5
    with pytest.raises(ImageError, match="another size or kind"):
        levels_of(data[:place] + struct.pack(">HH", 60000, 60000) + data[place + 4 :])

    whole = saved(film(twelve_bits(GREY), syntax=DeflatedExplicitVRLittleEndian))
    start = 144 + int.from_bytes(whole[140:144], "little")
    limits = {"grey_range": "bits", "frames": "refuse", "most_pixels": 10**6, "least_side": 1}
    dicom_levels(whole, **limits)
    with pytest.raises(ImageError, match="a DICOM that unpacks to over 4 MB"):
        dicom_levels(whole[:start] + _deflated(bytes(5 * 10**6)), **limits)

    packed = film(twelve_bits(GREY), syntax=RLELossless)
    runs = b"\x81\0" * 10**5  # 128 bytes each
    packed.PixelData = encapsulate([struct.pack("<16I", 2, 64, 64 + len(runs), *[0] * 13) + runs + runs])
    with pytest.raises(ImageError, match="larger than its header says"):
        levels(packed)


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def test_sizes_in_codestreams() -> None:
    assert codestream_size(b"\xff\xd8\xff\xe0\0\4ab\xff\xff\xc0\0\x0b\x08\0\x20\0\x40\1" + bytes(9)) == (64, 32, 1)
    for nothing in (b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\xff\xff", b"GIF89a" * 9):
        assert codestream_size(nothing) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"BitsStored": 4, "HighBit": 3}, "of 4 bits a sample"),
        ({"HighBit": 15}, "do not end at their lowest bit"),
        ({"BitsStored": 10, "HighBit": 9}, "beyond the 10 bits"),
        ({"PhotometricInterpretation": PLANTED}, "kind of colours"),
        ({"RescaleSlope": "0", "RescaleIntercept": "1"}, "leaves nothing to see"),
        ({"PixelData": None}, "without an image"),
        ({"Rows": 8}, "a side under 16"),
    ],
)
def test_what_cannot_be_read_right_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as raised:
        levels(film(twelve_bits(GREY), **change))
    assert PLANTED not in str(raised.value)


def test_no_message_and_no_warning_quotes_a_tag(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Text where a number should be, in every tag that is read and in many that are not."""
    caplog.set_level(0)
    whole = saved(film(twelve_bits(GREY), WindowCenter="1", WindowWidth="2", VOILUTFunction="LINEAR"))
    texts = {  # a tag of the file as it is written, and its type
        "SpecificCharacterSet": "CS", "PatientName": "PN", "Modality": "CS", "PhotometricInterpretation": "CS",
        "VOILUTFunction": "CS", "WindowCenter": "DS", "WindowWidth": "DS", "RescaleSlope": "DS", "NumberOfFrames": "IS",
        "Rows": "US", "BitsStored": "US", "PixelPaddingValue": "US", "VOILUTSequence": "SQ", "InstanceNumber": "IS",
        "PerFrameFunctionalGroupsSequence": "SQ", "StudyDate": "DA", "SOPClassUID": "UI",
    }  # fmt: skip
    read = 0
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for keyword, kind in texts.items():
            tag = pydicom.tag.Tag(keyword)
            name = (PLANTED + " ").encode()[:12]
            long = kind == "SQ"
            head = struct.pack("<HH2s", tag.group, tag.element, kind.encode())
            head += struct.pack("<HI", 0, len(name)) if long else struct.pack("<H", len(name))
            dataset = dcmread(pydicom.filebase.DicomBytesIO(whole))
            if tag in dataset:
                del dataset[tag]
            without = saved(dataset)
            place = _place_of(without, tag)
            try:
                levels_of(without[:place] + head + name + without[place:])
                read += 1
            except ImageError as error:
                assert "Planted" not in str(error) and (error.__context__ is None or error.__suppress_context__)
    assert 5 < read < len(texts)
    assert not [str(w.message) for w in said]
    assert "Planted" not in caplog.text + "".join(capfd.readouterr())


def _place_of(data: bytes, tag: Any) -> int:
    """Where an element of that tag belongs in an explicit little endian file."""
    place = 144 + int.from_bytes(data[140:144], "little")
    while place < len(data):
        group, element, kind = struct.unpack_from("<HH2s", data, place)
        if (group, element) >= (tag.group, tag.element):
            break
        long = kind in (b"OB", b"OW", b"SQ", b"UN", b"UT")
        place += (
            12 + struct.unpack_from("<I", data, place + 8)[0]
            if long
            else 8 + struct.unpack_from("<H", data, place + 6)[0]
        )
    return place


@pytest.mark.parametrize(
    ("missing", "syntax", "reason"),
    [
        (
            "pydicom",
            ExplicitVRLittleEndian,
            "dataset: there are DICOM files, and pydicom is not installed",
        ),
        (
            "pylibjpeg",
            JPEG2000Lossless,
            "dataset: a DICOM compressed as JPEG 2000 needs a plug-in",
        ),
    ],
)
def test_what_is_not_installed_is_said_with_the_extra(missing: str, syntax: Any, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(saved(film(twelve_bits(GREY), syntax=syntax)))
    code = f"""
import sys
sys.modules[{missing!r}] = None
from swag_ray.errors import InputError
from swag_ray.images.check import describe
from swag_ray.images.decode import picture
try:
    picture(open({str(tmp_path / "a.dcm")!r}, "rb").read(), 32)
except InputError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith(reason) and "pip install 'swag-ray[dicom]'" in said and said.count("\n") == 1


def test_threads_that_silence_warnings_do_not_undo_each_others() -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with silenced():
            inside.set()
            leave.wait()

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        thread = threading.Thread(target=other)
        thread.start()
        inside.wait()
        with silenced():
            leave.set()
            thread.join()
            warnings.warn("first", stacklevel=1)
        warnings.warn("second", stacklevel=1)
    assert [str(w.message) for w in said] == ["second"]


def test_a_pacs_export_is_listed_by_content(tmp_path: Path) -> None:
    """Names as exports give them; what is no image, a DICOMDIR and other files beside are counted."""
    number = 0
    for split in ("train", "test"):
        for name in ("NORMAL", "SICK"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for file in ("IM000001", "1.2.840.113619.2.55", "a.dcm", "b.IMA"):
                number += 1
                picture = twelve_bits(np.asarray(blocks(number, SIDE)))
                (folder / file).write_bytes(saved(film(picture, PatientName=PLANTED)))
            write(folder / "c.png", number + 100)
            shutil.copy(DATA / "test_files" / "dicomdirtests" / "DICOMDIR", folder)
            (folder / "README").write_text("no image")
            (folder / "notes.17").write_text("nor this")
            (folder / "report.pdf").write_bytes(saved(film(twelve_bits(GREY))))
    listing = list_folder(tmp_path, normal="NORMAL", anomaly=["SICK"], group=None)
    assert listing.table.num_rows == 20
    assert listing.ignored == {
        "DICOMDIR files": 4, "files of another type (.17)": 4, "files of another type (.pdf)": 4,
        "files of another type (no suffix)": 4,
    }  # fmt: skip
    for row in listing.table.to_pylist():
        if not row["path"].endswith("c.png"):
            assert row["id"] == row["sha256"][:16]
    assert listing.deep == ()
    found = describe(listing, seed_fraction=0.5, folds=2)
    assert not found.unreadable and found.image_sizes == {"64 x 64": 16, "32 x 32": 4}
    inputs = find_inputs("score", [tmp_path])
    assert len(inputs.places) == 20 and inputs.left_out["DICOMDIR files"] == 4


def test_the_wheels_own_tree_is_listed_whole() -> None:
    inputs = find_inputs("score", [DATA / "test_files" / "dicomdirtests"])
    listed = inputs.places
    assert len([path for path in listed if path.suffix in ("", ".dcm")]) == len(listed)
    assert inputs.left_out["DICOMDIR files"] == 7 and not [path for path in listed if path.name == "DICOMDIR"]
