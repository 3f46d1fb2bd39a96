"""Image sets on `s3://`, against a real S3 server on loopback: the same table as of the same files on a disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from swag_ray.cluster.extraction import _read_image
from swag_ray.errors import InputError
from swag_ray.images.check import describe
from swag_ray.images.folders import list_folder
from swag_ray.images.image_reader import ImageReader
from swag_ray.images.listing import Listing
from swag_ray.images.manifest import list_manifest
from swag_ray.images.places import RemotePath, below, common_root, locate
from swag_ray.images.unlabelled import list_unlabelled
from tests.support.images import small_set, write
from tests.support.s3 import Bucket, bucket, server

__all__ = ["bucket", "server"]  # pytest finds fixtures by name


def put(bucket: Bucket, folder: Path, prefix: str = "data") -> RemotePath:
    for file in folder.rglob("*"):
        if file.is_file():
            bucket.put(f"{prefix}/{file.relative_to(folder).as_posix()}", file.read_bytes())
    place = locate(bucket.address(prefix))
    assert isinstance(place, RemotePath)
    return place


def same(here: Listing, there: Listing) -> None:
    assert there.table.equals(here.table) and there.counts == here.counts and there.ignored == here.ignored
    row = there.table.to_pylist()[0]
    reader = ImageReader("refuse")
    assert _read_image(reader, f"{there.root}/{row['path']}", row["sha256"]) == (here.root / row["path"]).read_bytes()
    with pytest.raises(InputError, match="changed after it was listed"):
        _read_image(reader, f"{there.root}/{row['path']}", "other")
    assert (
        describe(there, seed_fraction=0.5, folds=2).image_sizes
        == describe(here, seed_fraction=0.5, folds=2).image_sizes
    )


def test_folders(tmp_path: Path, bucket: Bucket) -> None:
    small_set(tmp_path / "deep" / "set")
    write(tmp_path / "deep" / "set" / "val" / "x.png", 900)
    (tmp_path / "deep" / "set" / "train" / "NORMAL" / "notes.txt").write_text("x")
    place = put(bucket, tmp_path)
    how = {"normal": "normal", "anomaly": ["PNEUMONIA"], "group": None}
    same(list_folder(tmp_path, **how), list_folder(place, **how))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"dataset\.root: s3://.*/data/none does not exist"):
        list_folder(place / "none", **how)  # type: ignore[arg-type]


def test_two_folders(tmp_path: Path, bucket: Bucket) -> None:
    for seed in range(12):
        write(tmp_path / ("trusted", "unknown")[seed % 2] / f"p{seed // 4}" / f"{seed}.png", seed)
    place = put(bucket, tmp_path)
    same(list_unlabelled(tmp_path / "trusted", tmp_path / "unknown", group="folder"),
         list_unlabelled(place / "trusted", place / "unknown", group="folder"))  # fmt: skip
    with pytest.raises(InputError, match=r"dataset\.pool_root: images lie in several places"):
        list_unlabelled(tmp_path / "trusted", place / "unknown")


def test_a_manifest_there_and_one_here_of_files_there(tmp_path: Path, bucket: Bucket) -> None:
    for seed in range(4):
        write(tmp_path / "films" / f"{seed}.png", seed)
    text = "path,role\n" + "".join(f"films/{seed}.png,{('seed', 'pool')[seed % 2]}\n" for seed in range(4))
    (tmp_path / "films.csv").write_text(text)
    place = put(bucket, tmp_path)
    here = list_manifest(tmp_path / "films.csv")
    same(here, list_manifest(place / "films.csv"))
    (tmp_path / "away.csv").write_text(text.replace("films/", f"{place}/films/"))
    away = list_manifest(tmp_path / "away.csv")
    assert away.table.drop(["path"]).equals(here.table.drop(["path"])) and str(away.root) == f"{place}/films"
    (tmp_path / "mixed.csv").write_text(text + f"{place}/films/0.png,test\n")
    with pytest.raises(InputError, match=r"dataset\.manifest: images lie in several places"):
        list_manifest(tmp_path / "mixed.csv")


def test_options_of_an_address_stay_with_its_server() -> None:
    place = locate("s3://bucket/some?endpoint_override=localhost:9000&scheme=http")
    assert isinstance(place, RemotePath) and place.key == "bucket/some"
    deeper = locate(f"{place}/train/a.png")
    assert deeper == place / "train" / "a.png" and locate(str(deeper)) == deeper
    assert below(place, deeper.parent) == "train/" and common_root([deeper.parent, place], "x") == place
    with pytest.raises(InputError, match="names no bucket"):
        locate("s3:///x")
    with pytest.raises(InputError, match="unknown option"):
        locate("s3://bucket/x?key=1/train/a.png")
