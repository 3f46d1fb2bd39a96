from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from swag_ray.errors import InputError
from swag_ray.images.folders import list_folder
from swag_ray.images.layout import find_images, left_out
from swag_ray.images.listing import SCHEMA, Listing
from tests.support.images import PATIENT, blocks, encoded, real_set, small_set, write


def listed(root: Path, group: str | None = None, anomaly: tuple[str, ...] = ("PNEUMONIA",), **options: Any) -> Listing:
    return list_folder(root, normal="NORMAL", anomaly=anomaly, group=group, **options)


def column(listing: Listing, name: str) -> list[object]:
    return list(listing.table[name].to_pylist())


def refused(root: Path, match: str, **options: object) -> None:
    with pytest.raises(InputError, match=match) as caught:
        listed(root, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_table_is_typed_sorted_and_labelled(tmp_path: Path) -> None:
    listing = listed(small_set(tmp_path))
    assert listing.table.schema == SCHEMA
    assert listing.table.num_rows == 14
    keys = list(zip(column(listing, "id"), column(listing, "split"), strict=True))
    assert keys == sorted(keys)
    for path, label, image_id, digest in zip(
        *(column(listing, name) for name in ("path", "label", "id", "sha256")), strict=True
    ):
        assert label == ("PNEUMONIA" in str(path))
        assert image_id == f"{Path(str(path)).stem}-{str(digest)[:8]}"
        assert (listing.root / str(path)).is_file()
    assert set(column(listing, "kind")) == {None}
    assert listing.warnings == ()
    assert listing.ignored == {}


def test_moving_the_set_changes_nothing_but_the_root(tmp_path: Path) -> None:
    first = listed(small_set(tmp_path / "a"))
    shutil.move(tmp_path / "a", tmp_path / "elsewhere")
    second = listed(tmp_path / "elsewhere")
    assert second.table.equals(first.table)
    assert second.root != first.root


def test_kaggle_download_as_it_comes(tmp_path: Path) -> None:
    plain = listed(small_set(tmp_path / "plain"))
    inner = small_set(tmp_path / "zip" / "chest_xray")
    shutil.copytree(inner, inner / "chest_xray")  # the download holds itself once more
    for index, junk in enumerate(("__MACOSX/train/NORMAL/._a.jpeg", "train/.DS_Store", "train/NORMAL/._x.jpeg")):
        write(inner / junk, 900 + index)
    write(inner / "val" / "NORMAL" / "v.jpeg", 950)
    write(inner / "train" / "COVID19" / "c.png", 951)
    (inner / "train" / "NORMAL" / "Thumbs.db").write_bytes(b"x")
    (inner / "train" / "NORMAL" / "notes.txt").write_text("x")
    listing = listed(tmp_path / "zip")
    assert listing.table.drop(["path"]).equals(plain.table.drop(["path"]))
    assert all(str(path).startswith("chest_xray/t") for path in column(listing, "path"))
    assert listing.ignored == {
        "class train/COVID19": 1,
        "files of another type (.txt)": 1,
        "folder chest_xray/chest_xray": 14,
        "folder chest_xray/val": 1,
        "hidden or system files": 2,
    }


def test_suffixes_and_folder_names_of_any_case(tmp_path: Path) -> None:
    for number, suffix in enumerate((".jpeg", ".JPG", ".Png", ".PNG")):
        write(tmp_path / "Train" / "Normal" / f"n{number}{suffix}", number)
    write(tmp_path / "Train" / "pneumonia" / "p.png", 10)
    write(tmp_path / "TEST" / "NORMAL" / "n.png", 11)
    write(tmp_path / "TEST" / "Pneumonia" / "p.png", 12)
    listing = listed(tmp_path)
    assert listing.table.num_rows == 7
    assert set(column(listing, "class_name")) == {"NORMAL", "PNEUMONIA"}


def test_several_anomaly_classes_and_one_that_only_test_has(tmp_path: Path) -> None:
    small_set(tmp_path)
    write(tmp_path / "test" / "COVID19" / "c.png", 77)
    listing = listed(tmp_path, anomaly=("PNEUMONIA", "COVID19"))
    assert sum(map(bool, column(listing, "label"))) == 7
    assert listing.warnings == ("dataset.anomaly: train has no class folder COVID19",)


def test_same_stem_and_bytes_count_once_within_a_split(tmp_path: Path) -> None:
    small_set(tmp_path)
    source = tmp_path / "train" / "NORMAL" / "normaltrain0.jpeg"
    shutil.copy(source, source.with_suffix(".jpg"))
    listing = listed(tmp_path)
    assert listing.table.num_rows == 14
    assert listing.counts["same_id_files"] == 1
    assert any("repeat" in line for line in listing.warnings)


def test_identical_bytes_form_a_group_within_train_only(tmp_path: Path) -> None:
    small_set(tmp_path)
    source = tmp_path / "train" / "NORMAL" / "normaltrain0.jpeg"
    shutil.copy(source, source.with_name("copy.jpeg"))
    shutil.copy(source, tmp_path / "test" / "NORMAL" / source.name)
    listing = listed(tmp_path, on_leak="keep")
    assert listing.table.num_rows == 16
    assert listing.counts["train_groups"] == 7
    assert listing.counts["identical_in_split"] == 2
    assert listing.counts["in_train_and_test"] == 1
    assert any("also in train" in line for line in listing.warnings)
    ids = column(listing, "id")
    assert len(ids) == len(set(ids)) + 1  # one image in both splits


def test_what_is_in_train_leaves_the_test_set_or_ends_the_run(tmp_path: Path) -> None:
    root = small_set(tmp_path / "set")
    for name in ("NORMAL/normaltrain0.jpeg", "PNEUMONIA/pneumoniatrain1.jpeg"):
        shutil.copy(root / "train" / name, root / "test" / name.replace("train", "copy"))
    (root / "test" / "NORMAL" / "empty.png").write_bytes(b"")  # alike another empty file in nothing but that
    (root / "train" / "NORMAL" / "empty.png").write_bytes(b"")
    dropped = listed(root)
    assert dropped.table.num_rows == 16
    assert dropped.counts["in_train_and_test"] == dropped.counts["left_out_of_test"] == 2
    (line,) = (line for line in dropped.warnings if "also in train" in line)
    assert "normalcopy0.jpeg, pneumoniacopy1.jpeg" in line and "left out of test" in line
    kept = listed(root, on_leak="keep")
    assert kept.table.num_rows == 18 and "left_out_of_test" not in kept.counts
    train = [[row for row in x.table.to_pylist() if row["split"] == "train"] for x in (dropped, kept)]
    assert train[0] == train[1], "what is in train does not move"
    refused(root, r"dataset\.on_leak: .*2 test images are also in train", on_leak="refuse")
    for file in (root / "test" / "PNEUMONIA").iterdir():
        if "copy" not in file.name:
            file.unlink()
    refused(root, r"dataset\.on_leak: all anomalies of test are also in train")


def test_parts_by_their_usual_names_or_the_given_ones(tmp_path: Path) -> None:
    plain = column(listed(small_set(tmp_path / "plain")), "id")
    usual = small_set(tmp_path / "usual")
    (usual / "train").rename(usual / "Training")
    (usual / "test").rename(usual / "TESTING")
    assert column(listed(usual), "id") == plain
    (usual / "Training").rename(usual / "fold1")
    refused(usual, r"dataset\.root: .*no train/ folder")
    assert column(listed(usual, train="fold1"), "id") == plain
    small_set(usual / "two")
    (usual / "two" / "train").rename(usual / "two" / "Training")
    shutil.copytree(usual / "two" / "Training", usual / "two" / "train")
    refused(usual / "two", r"dataset\.root: .*has train and Training; name one with dataset\.train")
    assert listed(usual / "two", train="Training").table.num_rows == 14


def undivided(root: Path, normals: int = 60, anomalies: int = 30) -> Path:
    """root/deep/NORMAL|PNEUMONIA, two images of a patient."""
    for seed in range(normals + anomalies):
        name = "NORMAL" if seed < normals else "PNEUMONIA"
        write(root / "deep" / name / f"p{seed // 2:03d}-{seed}.png", seed)
    return root


def test_a_test_set_is_drawn_by_group_where_there_is_none(tmp_path: Path) -> None:
    root = undivided(tmp_path)
    refused(root, r"dataset\.root: .*no train/ folder.*dataset\.test_fraction")
    drawn = listed(root, test_fraction=0.2, group=r"^(p\d+)")
    rows = drawn.table.to_pylist()
    counts = {split: [sum(row["label"] is label and row["split"] == split for row in rows) for label in (False, True)]
              for split in ("train", "test")}  # fmt: skip
    assert counts == {"train": [48, 24], "test": [12, 6]}
    by_split = [{row["group"] for row in rows if row["split"] == split} for split in ("train", "test")]
    assert not by_split[0] & by_split[1], "no patient on both sides"
    assert drawn.counts["test_drawn"] == 18 and any("18 images were drawn" in line for line in drawn.warnings)
    assert drawn.table.equals(listed(root, test_fraction=0.2, group=r"^(p\d+)").table)
    more = listed(root, test_fraction=0.4, group=r"^(p\d+)")
    tests = [{row["id"] for row in x.table.to_pylist() if row["split"] == "test"} for x in (drawn, more)]
    assert tests[0] < tests[1], "a larger test set holds the smaller"
    refused(root, r"dataset\.test_fraction: 0\.001 .*without any normal", test_fraction=0.001)
    refused(
        small_set(tmp_path / "pair"), r"dataset\.test_fraction: .*several folders.*\(test, train\)", test_fraction=0.2
    )


def test_a_folder_in_the_class_folder_is_a_patient(tmp_path: Path) -> None:
    for seed in range(24):
        split, name = ("train", "test")[seed % 2], ("NORMAL", "PNEUMONIA")[seed // 2 % 2]
        write(tmp_path / split / name / f"p{seed // 8}" / "study" / f"{seed}.png", seed)
    write(tmp_path / "train" / "NORMAL" / "alone.png", 77)
    refused(tmp_path, r"PNEUMONIA holds no image, only 6 images in sub-folders")
    listing = listed(tmp_path, group="folder")
    assert listing.table.num_rows == 25
    groups = dict(zip(column(listing, "path"), column(listing, "group"), strict=True))
    assert groups["train/NORMAL/p0/study/0.png"] == groups["train/PNEUMONIA/p0/study/2.png"] == "p0"
    assert str(groups["train/NORMAL/alone.png"]).startswith("bytes:")


def test_an_image_under_both_labels_is_left_out(tmp_path: Path) -> None:
    small_set(tmp_path)
    source = tmp_path / "train" / "NORMAL" / "normaltrain0.jpeg"
    shutil.copy(source, tmp_path / "train" / "PNEUMONIA" / "other.jpeg")
    listing = listed(tmp_path)
    assert listing.table.num_rows == 13
    assert listing.counts["contradictory_images"] == 2
    assert any("both labels" in line for line in listing.warnings)


def test_empty_files_are_listed_and_join_nothing(tmp_path: Path) -> None:
    small_set(tmp_path)
    for name in ("NORMAL/a.png", "NORMAL/b.png", "PNEUMONIA/c.png"):
        (tmp_path / "train" / name).write_bytes(b"")
    listing = listed(tmp_path)
    assert listing.table.num_rows == 17
    assert listing.counts["train_groups"] == 10


def test_refusals_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(tmp_path / "none", r"dataset\.root: .*does not exist")
    refused(write(tmp_path / "file.png", 1), r"dataset\.root: .*is a file")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", r"dataset\.root: .*no train/ folder")
    write(tmp_path / "half" / "train" / "NORMAL" / "a.png", 1)
    refused(tmp_path / "half", r"dataset\.root: .*no test/")
    small_set(tmp_path / "two" / "a")
    small_set(tmp_path / "two" / "b")
    refused(tmp_path / "two", r"dataset\.root: .*several image sets \(a, b\)")
    root = small_set(tmp_path / "set")
    refused(root, r"dataset\.anomaly: no class folder COVID", anomaly=("COVID",))
    refused(root, r"dataset\.anomaly: .*list", anomaly=())
    refused(root, r"dataset\.anomaly: normal is named twice", anomaly=("normal",))
    with pytest.raises(InputError, match=r"dataset\.root: .*no class folder HEALTHY.*it has: NORMAL, PNEUMONIA"):
        list_folder(root, normal="HEALTHY", anomaly=["PNEUMONIA"], group=None)
    shutil.rmtree(root / "test" / "PNEUMONIA")
    refused(root, r"dataset\.root: .*test has one class only, no folder PNEUMONIA")
    (root / "test" / "PNEUMONIA").mkdir()
    refused(root, r"dataset\.root: .*PNEUMONIA holds no image")
    (root / "test" / "PNEUMONIA" / "a.pdf").write_bytes(b"x")
    refused(root, r"dataset\.root: .*PNEUMONIA holds no image, only 1 file of another type \(\.pdf\)")

    def forbidden(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("swag_ray.images.layout.os.scandir", forbidden)
    refused(root, r"dataset\.root: cannot read the folder .*Permission denied")


def test_one_rule_says_what_is_an_image_and_the_rest_is_counted(tmp_path: Path) -> None:
    root = small_set(tmp_path / "set")
    folder = root / "train" / "NORMAL"
    for number, (suffix, form) in enumerate(
        {
            "jfif": "JPEG",
            "jpe": "JPEG",
            "bmp": "BMP",
            "tif": "TIFF",
            "TIFF": "TIFF",
            "webp": "WEBP",
            "gif": "GIF",
        }.items()
    ):
        write(folder / f"other{number}.{suffix}", 300 + number, form)
    write(tmp_path / "elsewhere" / "linked.png", 400)
    (folder / "linked.png").symlink_to(tmp_path / "elsewhere" / "linked.png")
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (folder / "below").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(folder / "pipe.png")
    (folder / "film.pdf").write_bytes(b"x")
    write(folder / ".ipynb_checkpoints" / "copy-checkpoint.png", 500)
    before = listed(small_set(tmp_path / "plain")).table.num_rows
    listing = listed(root)
    assert listing.table.num_rows == before + 8, "seven other suffixes and the link to a file"
    assert listing.ignored == {
        "files of another type (.pdf)": 1,
        "hidden or system files": 1,
        "images in sub-folders of class folders": 1,
        "links that lead nowhere": 1,
        "pipes and devices": 1,
    }
    (line,) = (line for line in listing.warnings if "left out" in line)
    assert line.endswith("1 file of another type (.pdf), 1 link that leads nowhere, 1 pipe or device")
    tally: Counter[str] = Counter()
    found = find_images(folder, tally)
    assert len(found) == 4 + 8 + 1, "and what the linked folder holds, once"
    assert found == sorted(found) and tally == {
        "files of another type (.pdf)": 1, "hidden or system files": 1, "links that lead nowhere": 1,
        "pipes and devices": 1,
    }  # fmt: skip


def test_a_link_to_itself_or_past_a_lock_leads_nowhere(tmp_path: Path) -> None:
    root = small_set(tmp_path / "set")
    folder = root / "train" / "NORMAL"
    (root / "loop").symlink_to("loop")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "first.png").symlink_to("second.png")
    (folder / "second.png").symlink_to("first.png")
    write(tmp_path / "locked" / "film.png", 1)
    (folder / "film.png").symlink_to(tmp_path / "locked" / "film.png")
    if os.geteuid() == 0:  # no lock keeps root out
        (folder / "film.png").unlink()
        (folder / "film.png").symlink_to("film.png")
    (tmp_path / "locked").chmod(0)
    try:
        assert listed(root).ignored == {"links that lead nowhere": 4}
        tally: Counter[str] = Counter()
        assert len(find_images(root, tally)) == 14
        assert tally["links that lead nowhere"] == 4
    finally:
        (tmp_path / "locked").chmod(0o755)
    with pytest.raises(InputError, match=r"dataset\.root: cannot read the folder .*symbolic links"):
        listed(root / "loop")


def test_what_is_left_out_is_told_in_one_or_many() -> None:
    told = {
        "links that lead nowhere": 1,
        "files of another type (.pdf)": 2,
        "images in sub-folders of class folders": 1,
    }
    assert left_out(told) == (
        "2 files of another type (.pdf), 1 image in a sub-folder of a class folder, 1 link that leads nowhere"
    )


@pytest.mark.parametrize("pattern", ["(", "person"])
def test_bad_group_pattern_names_the_field(tmp_path: Path, pattern: str) -> None:
    refused(small_set(tmp_path), r"^split\.group: ", group=pattern)


def test_patients_are_suggested_only_when_names_come_in_sets(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for number in range(30):
            write(tmp_path / split / "NORMAL" / f"IM-{number // 3:04d}-{number:04d}.png", 100 + number)
            write(tmp_path / split / "PNEUMONIA" / f"COVID-{number}.png", 200 + number)
    assert any(line.startswith("split.group:") for line in listed(tmp_path, on_leak="keep").warnings)
    grouped = listed(tmp_path, group=r"^(IM-\d+)", on_leak="keep")
    assert not any(line.startswith("split.group:") for line in grouped.warnings)
    assert grouped.counts["train_groups"] == 10 + 30


def test_unrelated_images_do_not_rename_groups(tmp_path: Path) -> None:
    root = small_set(tmp_path)
    before = dict(zip(column(listed(root), "id"), column(listed(root), "group"), strict=True))
    shutil.copy(root / "train" / "NORMAL" / "normaltrain0.jpeg", root / "train" / "NORMAL" / "0.jpeg")
    write(root / "train" / "NORMAL" / "00.png", 555)
    after = dict(zip(column(listed(root), "id"), column(listed(root), "group"), strict=True))
    assert {name: after[name] for name in before} == before


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "anomaly", "counts"),
    [("chest_xray", "PNEUMONIA", (1341, 3875, 234, 390)), ("covid_cxr", "COVID19", (1266, 363, 309, 118))],
)
def test_real_sets(name: str, anomaly: str, counts: tuple[int, ...]) -> None:
    listing = listed(real_set(name), group=PATIENT, anomaly=(anomaly,))
    rows = list(zip(*(column(listing, key) for key in ("split", "class_name", "path", "group")), strict=True))
    kinds = [(row[0], row[1]) for row in rows]
    assert tuple(kinds.count((split, key)) for split in ("train", "test") for key in ("NORMAL", anomaly)) == counts
    for _, class_name, path, group in rows:
        match = re.search(PATIENT, Path(str(path)).name)
        if name == "chest_xray" or class_name == "NORMAL":
            assert match is not None
        assert match is None or not str(group).startswith("bytes:")
    # A copy under another patient's name joins two patients, so there are at most as many groups as names.
    train = [str(path) for split, _, path, _ in rows if split == "train"]
    matches = [(path, re.search(PATIENT, Path(path).name)) for path in train]
    names = {match.group(1) if match else path for path, match in matches}
    assert 0.98 * len(names) < listing.counts["train_groups"] <= len(names)
    by_digest: dict[object, set[object]] = {}
    for split, digest, group in zip(*(column(listing, key) for key in ("split", "sha256", "group")), strict=True):
        by_digest.setdefault((split, digest), set()).add(group)
    assert all(len(groups) == 1 for groups in by_digest.values())
    assert listing.warnings == ()
    assert any(line.startswith("split.group:") for line in listed(real_set(name), anomaly=(anomaly,)).warnings)


def test_encoding_of_test_images_is_deterministic() -> None:
    assert encoded(blocks(3)) == encoded(blocks(3)) != encoded(blocks(4))
