"""DICOM in every kind of dataset: an id that holds no name, a group for a patient, copies, frames as a config says."""

from __future__ import annotations

import io
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from swag_ray.config import parse_config
from swag_ray.doctor.dataset import describe_dataset
from swag_ray.errors import InputError
from swag_ray.images.check import describe
from swag_ray.images.dicom_patient import patient_digest
from swag_ray.images.folders import list_folder
from swag_ray.images.listing import Listing
from swag_ray.images.manifest import list_manifest
from swag_ray.images.places import Place, locate
from swag_ray.images.unlabelled import list_unlabelled
from tests.support.dicom import film, saved, twelve_bits
from tests.support.images import blocks
from tests.support.s3 import Bucket, bucket, server

__all__ = ["bucket", "server"]  # pytest finds fixtures by name
HEX = set("0123456789abcdef")
FILMS = 12  # of a part: three of each of its patients


def dicom(seed: int, patient: str | None, **more: Any) -> bytes:
    return saved(
        film(twelve_bits(np.asarray(blocks(seed, 48))), PatientID=patient or "", PatientName="Doe^Jane", **more)
    )


def films(root: Path, **tags: Any) -> Path:
    """root/train/NORMAL|SICK and root/test/NORMAL|SICK with DICOM in a patient's folders, as a PACS exports them, and
    films.csv with a role for each.
    """
    rows, seed = ["path,role,label"], 0
    for part, label in (("train", "NORMAL"), ("train", "SICK"), ("test", "NORMAL"), ("test", "SICK")):
        for number in range(FILMS):
            seed += 1
            path = (
                root
                / part
                / label
                / f"study{number % 5}"
                / (f"1.2.{number}", f"Doe{number}.dcm", f"IM{number}")[number % 3]
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(dicom(seed, f"{part} {label} {number // 3}", **tags))
            role = part if part == "test" else "seed" if label == "NORMAL" else "pool"
            rows.append(f"{path.relative_to(root)},{role},{label if part == 'test' else ''}")
    (root / "films.csv").write_text("\n".join(rows) + "\n")
    return root


def as_folder(root: Place, group: str | None) -> Listing:
    return list_folder(root, normal="NORMAL", anomaly=["SICK"], group=group)


def as_unlabelled(root: Place, group: str | None) -> Listing:
    train = root / "train"
    return list_unlabelled(train / "NORMAL", train / "SICK", root / "test", anomaly=("SICK",), group=group)


def as_manifest(root: Place, group: str | None) -> Listing:
    return list_manifest(root / "films.csv", anomaly=("SICK",), group=group)


KINDS = [as_folder, as_unlabelled, as_manifest]
Lister = Callable[[Place, str | None], Listing]


def patients(listing: Listing) -> dict[str, list[str]]:
    groups = defaultdict(list)
    for row in listing.table.to_pylist():
        groups[f"{row['split']} {row['group']}"].append(row["path"])
    return {name: sorted(paths) for name, paths in groups.items()}


@pytest.mark.parametrize("listed", KINDS)
def test_ids_are_digests_and_a_patient_is_a_group(listed: Lister, tmp_path: Path) -> None:
    listing = listed(films(tmp_path), "patient_id")
    rows = listing.table.to_pylist()
    assert len(rows) == 4 * FILMS and {row["id"] for row in rows} == {row["sha256"][:16] for row in rows}
    assert sorted(map(len, patients(listing).values())) == [3] * 16
    assert listing.counts["train_groups"] == listing.counts["test_groups"] == 8
    assert all(len(row["group"]) == 16 and set(row["group"]) <= HEX for row in rows)
    again = listed(films(tmp_path, StudyID="again"), "patient_id")
    assert not set(again.table["sha256"].to_pylist()) & set(listing.table["sha256"].to_pylist()), "other files"
    assert patients(listed(tmp_path, "patient_id")) == patients(listing), "one name in every run"
    if listed is not as_folder:  # there, images in folders of a class folder are ignored
        assert listed(tmp_path, None).counts["train_groups"] == 2 * FILMS


@pytest.mark.parametrize("listed", KINDS)
def test_the_same_of_a_bucket(listed: Lister, tmp_path: Path, bucket: Bucket) -> None:
    """Files without a known suffix are looked into where they lie."""
    films(tmp_path)
    for file in filter(Path.is_file, tmp_path.rglob("*")):
        bucket.put(f"data/{file.relative_to(tmp_path).as_posix()}", file.read_bytes())
    here, there = listed(tmp_path, "patient_id"), listed(locate(bucket.address("data")), "patient_id")
    assert here.table.num_rows == 4 * FILMS and there.table.equals(here.table) and there.ignored == here.ignored


@pytest.mark.parametrize("listed", KINDS)
def test_a_film_saved_in_another_format_is_one_group_with_it(listed: Lister, tmp_path: Path) -> None:
    """Among them one that is a trusted image here and an unknown one there."""
    root = films(tmp_path)
    copies = {"train/SICK/study0/copy.png": 1, "train/SICK/study0/copy.jpg": FILMS + 2}
    for path, seed in copies.items():
        picture = Image.fromarray(np.asarray(blocks(seed, 48)))
        picture.save(root / path, quality=90)
    with (root / "films.csv").open("a") as file:
        file.writelines(f"{path},pool,\n" for path in copies)
    found = describe(listed(root, "patient_id"), seed_fraction=0.5, folds=2)
    assert found.odd["look_alikes"] == 4 and not found.unreadable
    (line,) = (line for line in found.warnings if "look the same" in line)
    assert "copy.png" in line or "copy.jpg" in line


def test_what_names_no_patient_is_a_group_of_its_own(tmp_path: Path) -> None:
    root = films(tmp_path)
    shutil.copy(root / "train" / "NORMAL" / "study0" / "1.2.0", root / "train" / "SICK" / "again")
    (root / "train" / "NORMAL" / "none").write_bytes(dicom(900, None))
    (root / "train" / "NORMAL" / "empty.dcm").write_bytes(b"")
    (root / "train" / "NORMAL" / "cut.dcm").write_bytes(dicom(901, "x")[:200])
    data = io.BytesIO()
    blocks(902, 48).save(data, "PNG")
    (root / "train" / "NORMAL" / "film.png").write_bytes(data.getvalue())
    listing = as_unlabelled(root, "patient_id")
    alone = {"none", "empty.dcm", "cut.dcm", "film.png"}
    for members in patients(listing).values():
        assert len(members) == 1 or not alone & {Path(path).name for path in members}
    assert listing.counts["train_groups"] == 8 + len(alone)
    assert listing.counts["same_id_files"] == 1, "a seed's bytes in the pool under another name"
    assert any("1 file repeats another's bytes (and name, of what is no DICOM)" in line for line in listing.warnings)
    for file in root.rglob("*"):
        if file.is_file() and file.suffix not in (".png", ".csv"):
            file.write_bytes(data.getvalue())
    with pytest.raises(InputError, match=r"^split\.group: patient_id, and no image is a DICOM with a PatientID"):
        as_unlabelled(root, "patient_id")


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_a_patient_is_one_in_every_syntax_however_it_is_padded(syntax: str) -> None:
    digest = patient_digest(dicom(1, "4711"))
    assert digest is not None and digest != patient_digest(dicom(1, "4712"))
    assert {patient_digest(dicom(2, said, syntax=syntax)) for said in ("4711", " 4711 ")} == {digest}
    assert "4711" not in digest and patient_digest(b"no DICOM") is None


def test_frames_and_range_of_a_config_count_in_the_check(tmp_path: Path) -> None:
    root = films(tmp_path)
    frames = np.stack([twelve_bits(np.asarray(blocks(seed, 48))) for seed in (950, 951, 952)])
    (root / "train" / "SICK" / "frames.dcm").write_bytes(saved(film(frames, PatientID="f")))
    (root / "train" / "SICK" / "ct.dcm").write_bytes(dicom(953, "c", Modality="CT"))
    dataset = {"kind": "unlabelled", "seed_root": str(root / "train/NORMAL"), "pool_root": str(root / "train/SICK")}
    raw = {"name": "a", "dataset": dataset, "split": {"folds": 2, "group": "patient_id"}, "store": str(tmp_path / "s")}
    unread = describe_dataset(parse_config(raw)).unreadable
    assert sorted(Path(path).name for path in unread) == ["ct.dcm", "frames.dcm"]
    assert "dataset.frames: middle" in unread["SICK/frames.dcm"] and "dataset.range" in unread["SICK/ct.dcm"]
    taken = parse_config(raw, ["dataset.frames=middle", "dataset.range=percentile"])
    assert describe_dataset(taken).unreadable == {}
