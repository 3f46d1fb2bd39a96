"""`dataset.frames: all`: each frame of a DICOM is an image, and all of a file one group."""

from __future__ import annotations

import io
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
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

from swag_ray.errors import InputError
from swag_ray.images.decode import Reading, read_grey
from swag_ray.images.dicom_frames import MOST_FRAMES, count_frames
from swag_ray.images.dicom_grey import dicom_levels
from swag_ray.images.folders import list_folder
from swag_ray.images.frames import ALL, file_and_frame, frame_digest, frame_name
from swag_ray.images.image_error import ImageError
from swag_ray.images.image_reader import ImageReader
from swag_ray.images.listing import Listing
from swag_ray.images.manifest import list_manifest
from swag_ray.images.oddities import join_twins, looks_of, twins
from swag_ray.images.places import locate
from swag_ray.images.unlabelled import list_unlabelled
from tests.support.dicom import film, saved, twelve_bits
from tests.support.images import blocks
from tests.support.s3 import Bucket, bucket, server

__all__ = ["bucket", "server"]  # pytest finds fixtures by name
DATA = Path(pydicom.__file__).parent / "data" / "test_files"
LIMIT = 10**9
SIDE = 32
NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)


def frames_of(*seeds: int) -> NDArray[np.uint16]:
    return np.stack([twelve_bits(np.asarray(blocks(seed, SIDE))) for seed in seeds])


def loop(*seeds: int, **more: Any) -> bytes:
    """A DICOM with a frame for each of these pictures."""
    return saved(film(frames_of(*seeds), **more))


def count(data: bytes) -> int:
    return count_frames(io.BytesIO(data), LIMIT)


def level_set(data: bytes, number: int | None) -> NDArray[np.float32]:
    return dicom_levels(data, grey_range="bits", frames=ALL, most_pixels=LIMIT, least_side=1, number=number)


def write_set(root: Path) -> Path:
    """root/train/NORMAL|SICK and root/test: single films, and a file of three frames in each folder."""
    seed = 0
    for part, label in (("train", "NORMAL"), ("train", "SICK"), ("test", "NORMAL"), ("test", "SICK")):
        folder = root / part / label
        folder.mkdir(parents=True)
        for number in range(4):
            seed += 1
            (folder / f"p{number}_1.dcm").write_bytes(saved(film(frames_of(seed)[0])))
        seed += 3
        (folder / "loop_7").write_bytes(loop(seed - 2, seed - 1, seed))
    return root


def listed(root: Path, frames: str = ALL, group: str | None = None, **more: Any) -> Listing:
    return list_folder(root, normal="NORMAL", anomaly=["SICK"], group=group, frames=frames, **more)


def paths_of(listing: Listing) -> list[str]:
    return [path for path in listing.table["path"].to_pylist() if file_and_frame(Path(path), ALL)[1] is not None]


@pytest.mark.parametrize("syntax", [*NATIVE, RLELossless, JPEG2000Lossless], ids=lambda syntax: syntax.name)
def test_each_frame_is_what_a_file_of_it_alone_would_be(syntax: Any) -> None:
    data = loop(1, 2, 3, 4, syntax=syntax)
    assert count(data) == 4
    for number, seed in enumerate((1, 2, 3, 4), start=1):
        alone = read_grey(saved(film(frames_of(seed)[0], syntax=syntax)), SIDE).image_1HW
        reading = Reading(frames=ALL).of(f"/a/{frame_name('scan.dcm', number)}")
        assert reading.frame == number
        np.testing.assert_array_equal(read_grey(data, SIDE, reading).image_1HW, alone)
    with pytest.raises(ImageError, match="a DICOM of 4 frames, none of which is number 5"):
        level_set(data, 5)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of the reference
def test_pydicoms_own_files_are_cut_into_their_frames() -> None:
    several, compared = {}, set()
    for path in sorted(DATA.rglob("*.dcm")):
        data, tags = path.read_bytes(), dcmread(path, force=True)
        found, said = count(data), tags.get("NumberOfFrames")
        if found == 1:
            too_odd = tags.get("BitsAllocated") not in (8, 16) or said == "1A"
            assert too_odd or int(said or 1) == 1 or "truncated" in path.name, path.name
            continue
        assert found == int(said)
        several[path.name] = found
        shown = [level_set(data, number) for number in range(1, found + 1)]
        middle = dicom_levels(data, grey_range="bits", frames="middle", most_pixels=LIMIT, least_side=1)
        np.testing.assert_array_equal(shown[found // 2], middle)
        if tags.PhotometricInterpretation != "RGB":
            continue
        stored = tags.pixel_array
        for number in {0, found - 1}:
            tags.PixelData, tags.NumberOfFrames = stored[number].astype(stored.dtype.newbyteorder("<")).tobytes(), 1
            tags.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            tags.PlanarConfiguration = 0
            alone = level_set(saved(tags, enforce_file_format=False), None)
            np.testing.assert_allclose(shown[number], alone, rtol=1e-6)  # of colours, a processor's product rounds
        compared.add(path.name)
    assert sorted(several.values()) == [2, 2, 30] and len(compared) == 2


def test_no_header_is_believed_that_says_more_than_the_pixels_hold() -> None:
    three = film(frames_of(1, 2, 3))
    for said, held in ((3, 3), (4, 1), (10**6, 1), (10**9, 1), (-2, 1), (0, 1), (2, 2)):
        three.NumberOfFrames = said
        assert count(saved(three)) == held, said
    three.NumberOfFrames = 10**6
    for frames in (ALL, "refuse"):
        with pytest.raises(ImageError, match="a DICOM of 1000000 frames by its header, which are more than it holds"):
            read_grey(saved(three), SIDE, Reading(frames=frames))
    for syntax in (RLELossless, JPEG2000Lossless, DeflatedExplicitVRLittleEndian):
        packed = film(frames_of(1, 2, 3), syntax=syntax)
        packed.NumberOfFrames = 4
        assert count(saved(packed)) == 1, syntax.name
    many = film(np.zeros((MOST_FRAMES + 1, 4, 4), np.uint8), 8)
    assert count(saved(many)) == 1 and count(saved(film(np.zeros((MOST_FRAMES, 4, 4), np.uint8), 8))) == MOST_FRAMES
    empty = film(frames_of(1), syntax=RLELossless, NumberOfFrames=5)
    empty.PixelData = encapsulate([b"\0" * 64])
    assert count(saved(empty)) == 1


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, DeflatedExplicitVRLittleEndian])
def test_a_cut_or_damaged_file_is_one_image_or_has_its_frames(syntax: Any) -> None:
    data = loop(1, 2, 3, syntax=syntax)
    for end in range(0, len(data), max(1, len(data) // 60)):
        assert count(data[:end]) in (1, 3)
    generator = np.random.default_rng(7)
    for _ in range(150):
        broken = bytearray(data)
        for place in generator.integers(0, 700, 2):
            broken[place % len(data)] = generator.integers(0, 256)
        assert 1 <= count(bytes(broken)) <= MOST_FRAMES


def test_the_pixels_are_skipped_not_read() -> None:
    class Noting(io.BytesIO):
        most = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.most = max(self.most, len(data))
            return data

    for syntax in (ExplicitVRLittleEndian, RLELossless):
        file = Noting(loop(*range(20), syntax=syntax))
        assert count_frames(file, LIMIT) == 20 and file.most < 4096


def test_a_frame_has_its_own_rescaling_and_window() -> None:
    frames = frames_of(1, 1, 1)
    own = []
    for slope, centre in ((1, 2048), (2, 4096), (1, 1024)):
        values, voi, groups = Dataset(), Dataset(), Dataset()
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = str(slope), "0", "US"
        voi.WindowCenter, voi.WindowWidth = centre, 2 * centre
        groups.PixelValueTransformationSequence, groups.FrameVOILUTSequence = [values], [voi]
        own.append(groups)
    data = saved(film(frames, PerFrameFunctionalGroupsSequence=own))
    first, second, third = (level_set(data, number) for number in (1, 2, 3))
    assert abs(first - second).max() <= 0.2, "twice the values in twice the window"
    assert abs(third - np.clip(first * 2, 0, 255)).max() <= 0.5 and abs(third - first).max() > 50


def test_a_listing_has_a_row_a_frame_and_a_group_a_file(tmp_path: Path) -> None:
    listing = listed(write_set(tmp_path))
    rows = listing.table.to_pylist()
    assert len(rows) == 4 * (4 + 3) and len({row["id"] for row in rows}) == len({row["sha256"] for row in rows}) == 28
    assert listing.counts["train_groups"] == listing.counts["test_groups"] == 10
    assert listing.counts["identical_in_split"] == listing.counts["same_id_files"] == 0
    names = [row["path"].rpartition("/")[2] for row in rows]
    assert Counter(names)["loop_7#frame=1"] == Counter(names)["loop_7#frame=3"] == 4
    assert "loop_7" not in names and "p1_1.dcm#frame=1" not in names
    for place, row in enumerate(rows):
        file, number = file_and_frame(tmp_path / row["path"], ALL)
        assert row["file_bytes"] == file.stat().st_size  # type: ignore[union-attr]
        assert row["sha256"] == (row["file"] if number is None else frame_digest(row["file"], number))
        if number == 2:
            near = rows[place - 1 : place + 2]
            assert {x["group"] for x in near} == {row["group"]} and len({x["file"] for x in near}) == 1
            assert [x["path"][-1] for x in near] == ["1", "2", "3"], "they follow each other"


def test_of_files_of_one_frame_the_listing_is_the_same(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    plain = listed(root, "refuse")
    assert plain.table["path"].to_pylist().count("train/NORMAL/loop_7") == 1 and "file" not in plain.table.column_names
    assert listed(root, "middle").table.equals(plain.table)
    singles = [row for row in listed(root).table.to_pylist() if "frame=" not in row["path"]]
    for row in singles:
        del row["file"]
    assert singles == [row for row in plain.table.to_pylist() if not row["path"].endswith("loop_7")]
    for loops in root.rglob("loop_7"):
        loops.unlink()
    assert listed(root).table.equals(listed(root, "refuse").table), "without such files, to the last column"


def test_the_pattern_of_a_patient_is_matched_on_the_files_name(tmp_path: Path) -> None:
    groups = dict(listed(write_set(tmp_path), group=r"(\d+)$").table.select(["path", "group"]).to_pandas().values)
    assert groups["train/SICK/loop_7#frame=1"] == groups["train/NORMAL/loop_7#frame=3"] == "7"


def test_copies_are_told_by_file(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    data = (root / "train/NORMAL/loop_7").read_bytes()
    (root / "train/NORMAL/again.dcm").write_bytes(data)
    found = listed(root)
    assert found.counts["same_id_files"] == 1 and found.table.num_rows == 28
    (root / "test/NORMAL/leak.dcm").write_bytes(data)
    found = listed(root)
    assert found.counts["in_train_and_test"] == found.counts["left_out_of_test"] == 3
    (line,) = [line for line in found.warnings if "also in train" in line]
    assert "3 test images are also in train (identical bytes: leak.dcm)" in line
    assert listed(root, on_leak="keep").table.num_rows == 31
    with pytest.raises(InputError, match=r"dataset.on_leak: .*leak.dcm"):
        listed(root, on_leak="refuse")
    (root / "train/SICK/both.dcm").write_bytes(data)
    found = listed(root)
    assert found.counts["contradictory_images"] == 3 and "both labels" in "".join(found.warnings)
    assert not any("again" in path or "both" in path for path in paths_of(found))


def test_a_drawn_test_set_takes_all_frames_of_a_file(tmp_path: Path) -> None:
    for label, first in (("NORMAL", 0), ("SICK", 100)):
        (tmp_path / label).mkdir()
        for number in range(10):
            (tmp_path / label / f"IM{number}").write_bytes(loop(*range(first + 2 * number, first + 2 * number + 2)))
    found = listed(tmp_path, test_fraction=0.2)
    assert found.counts["test_drawn"] == 8 and found.table.num_rows == 40
    parts = {}
    for row in found.table.to_pylist():
        parts.setdefault(row["file"], set()).add(row["split"])
    assert all(len(part) == 1 for part in parts.values())


def test_other_kinds_of_datasets_cut_alike(tmp_path: Path, bucket: Bucket) -> None:
    root = write_set(tmp_path / "set")
    lines = ["path,role,label,site"]
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        part, label = path.parts[-3:-1]
        role = part if part == "test" else "seed" if label == "NORMAL" else "pool"
        lines.append(f"{path.relative_to(root)},{role},{label},{path.name}")
        bucket.put(f"data/{path.relative_to(root).as_posix()}", path.read_bytes())
    (root / "films.csv").write_text("\n".join(lines))
    table = list_manifest(root / "films.csv", anomaly=("SICK",), frames=ALL).table
    assert table.num_rows == 28 and table["sha256"].equals(listed(root).table["sha256"])
    loops = [row for row in table.to_pylist() if "frame=" in row["path"]]
    assert len(loops) == 12 and {row["column:site"] for row in loops} == {"loop_7"}
    train = root / "train"
    unlabelled = list_unlabelled(train / "NORMAL", train / "SICK", root / "test", anomaly=("SICK",), frames=ALL).table
    assert unlabelled["id"].equals(table["id"])
    there = list_folder(locate(bucket.address("data")), normal="NORMAL", anomaly=["SICK"], group=None, frames=ALL)
    assert there.table.equals(listed(root).table)
    reader = ImageReader(ALL)
    row = next(row for row in there.table.to_pylist() if row["path"].endswith("SICK/loop_7#frame=2"))
    data, file, image = reader.read_hashed(there.root / row["path"])
    assert (file, image) == (row["file"], row["sha256"])
    whole = locate(f"{there.root}/{row['path']}")  # as an actor is given it
    assert reader.read(whole) is data, "one place however it is spelt"


def test_a_file_that_is_called_as_a_frame_is_refused(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    odd = root / "train/NORMAL/x#frame=3"
    odd.write_bytes(loop(300, 301))
    with pytest.raises(InputError, match=r"^dataset.root: the file name 'x#frame=3' is what dataset.frames: all calls"):
        listed(root)
    for frames in ("refuse", "middle"):
        assert "train/NORMAL/x#frame=3" in listed(root, frames).table["path"].to_pylist()
        assert ImageReader(frames).read(odd) == odd.read_bytes() and Reading(frames=frames).of(odd).frame is None


def test_frames_of_one_file_are_no_twins() -> None:
    generator = np.random.default_rng(3)
    still = generator.integers(0, 256, (32, 32)).astype(np.uint8)
    images = [(still, 64, 64), (still, 64, 64), (np.roll(still, 9, 0), 64, 64), (still, 64, 64)]
    looks = looks_of(images, 4)
    assert twins(looks.take(np.arange(3)), ["a", "a", "b"], frames=True) == []
    assert twins(looks, ["a", "a", "b", "c"], frames=True) == [[0, 1, 3]], "but of two files they are"
    many = looks_of([(np.clip(still.astype(int) + i % 2, 0, 255).astype(np.uint8), 64, 64) for i in range(300)], 300)
    assert twins(many, ["a"] * 300, frames=True) == []


def test_a_look_alike_joins_the_groups_of_two_files(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    (root / "train/SICK/copy.dcm").write_bytes(loop(900, 5, 901))  # 5: the first frame of the loop of train/NORMAL
    table = listed(root).table
    images = []
    for path in table["path"].to_pylist():
        data = ImageReader(ALL).read(root / path)
        decoded = read_grey(data, 32, Reading(frames=ALL).of(path))
        images.append((decoded.image_1HW[0].numpy(), decoded.width, decoded.height))
    joined, found, _ = join_twins(table, looks_of(images, len(images)))
    assert len(found) == 1 and len(found[0]) == 2
    groups = dict(zip(joined["path"].to_pylist(), joined["group"].to_pylist(), strict=True))
    assert groups["train/SICK/copy.dcm#frame=3"] == groups["train/NORMAL/loop_7#frame=2"]


def test_a_file_is_read_once_for_its_frames_whoever_asks(tmp_path: Path) -> None:
    names = ["a.dcm", "b.dcm", "c.dcm"]
    data = loop(*range(8))  # of one size, which its random UIDs do not keep from file to file
    for last, name in enumerate(names):
        (tmp_path / name).write_bytes(data[:-1] + bytes([last]))
    size = (tmp_path / "a.dcm").stat().st_size
    images = [tmp_path / frame_name(name, number) for name in names for number in range(1, 9)]
    reader, wrong = ImageReader(ALL, kept=0), []

    def ask() -> None:
        for image in images:
            if reader.read(image) != file_and_frame(image, ALL)[0].read_bytes():
                wrong.append(image)

    ask()
    assert reader.bytes_read == 3 * size and not wrong
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    reader = ImageReader(ALL, kept=size)  # the last and one more
    for number in range(1, 9):
        for name in names[:2]:
            reader.read(tmp_path / frame_name(name, number))
    assert reader.bytes_read == 2 * size
    reader.read(tmp_path / frame_name("c.dcm", 1))
    reader.read(tmp_path / frame_name("a.dcm", 1))
    assert reader.bytes_read == 4 * size, "the one that was asked for longest ago went"


def test_threads_that_read_frames_of_one_file_or_of_two_in_turn_see_what_one_alone_does() -> None:
    files = [loop(*range(start, start + 12), syntax=syntax)
             for start, syntax in ((0, ExplicitVRLittleEndian), (50, RLELossless))]  # fmt: skip
    wanted = [(data, number) for number in range(1, 13) for data in files]
    alone = [level_set(bytes(bytearray(data)), number) for data, number in wanted]  # other bytes each time
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            found = list(pool.map(lambda pair: level_set(*pair), wanted))
            assert all(np.array_equal(a, b) for a, b in zip(alone, found, strict=True))
    with pytest.raises(ImageError, match=r"a DICOM of 12 frames; dataset\.frames: middle takes"):
        level_set(files[0], None)
