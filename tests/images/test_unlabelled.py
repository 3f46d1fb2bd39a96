"""Two folders and nothing else: what is listed, and what is said of images that nothing is known of."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swag_ray.errors import InputError
from swag_ray.images.listing import Listing
from swag_ray.images.split import POOL, SEED, TEST, make_split
from swag_ray.images.unlabelled import list_unlabelled
from tests.support.images import write


def films(root: Path, seeds: int = 20, pool: int = 30) -> Path:
    """root/normals/.../*.png and root/unknown/.../*.png, four images in each folder."""
    for seed in range(seeds + pool):
        part = "normals" if seed < seeds else "unknown"
        write(root / part / f"p{seed // 4}" / f"film{seed}.png", seed)
    return root


def listed(root: Path, **options: Any) -> Listing:
    return list_unlabelled(root / "normals", root / "unknown", **options)


def refused(root: Path, match: str, **options: Any) -> None:
    with pytest.raises(InputError, match=match) as caught:
        listed(root, **options)
    assert "\n" not in str(caught.value)


def rows_of(listing: Listing, **wanted: object) -> list[dict[str, Any]]:
    return [row for row in listing.table.to_pylist() if all(row[name] == value for name, value in wanted.items())]


def test_all_of_the_seed_folder_is_seed_and_nothing_of_the_pool_is_known(tmp_path: Path) -> None:
    listing = listed(films(tmp_path))
    seeds, pool = rows_of(listing, role="seed"), rows_of(listing, role="pool")
    assert len(seeds) == 20 and len(pool) == 30 and listing.table.num_rows == 50
    assert {row["label"] for row in seeds} == {False} and {row["label"] for row in pool} == {None}
    assert seeds[0]["path"] == "normals/p0/film0.png" and (listing.root / seeds[0]["path"]).is_file()
    assert {row["split"] for row in seeds + pool} == {"train"}
    split = make_split(listing.table, seed_fraction=0.3, folds=5, contamination=None, random_seed=0)
    role = np.array(listing.table["role"].to_pylist())
    assert (split.role_N == np.where(role == "seed", SEED, POOL)).all()
    assert split.counts["seed"] == 20 and split.counts["pool"] == 30 and split.counts["test"] == 0
    assert "pool_normals" not in split.counts and split.contamination is split.highest_contamination is None
    assert sorted(split.fold_seeds) == [4] * 5
    with pytest.raises(InputError, match=r"dataset\.contamination: 0\.1 needs the labels"):
        make_split(listing.table, seed_fraction=0.3, folds=5, contamination=0.1, random_seed=0)
    with pytest.raises(InputError, match=r"split\.folds: .*give more seeds or lower"):
        make_split(listing.table, seed_fraction=0.3, folds=8, contamination=None, random_seed=0)


def test_a_folder_is_a_patient_on_both_sides(tmp_path: Path) -> None:
    root = films(tmp_path)
    write(root / "unknown" / "p0" / "late" / "again.png", 900)
    listing = listed(root, group="folder")
    (again,) = (row for row in listing.table.to_pylist() if row["path"].endswith("again.png"))
    assert again["group"] == "p0" == rows_of(listing, path="normals/p0/film0.png")[0]["group"]
    assert listing.counts["train_groups"] == 13
    split = make_split(listing.table, seed_fraction=0.3, folds=5, contamination=None, random_seed=0)
    folds: dict[str, set[int]] = {}
    for group, fold in zip(listing.table["group"].to_pylist(), split.fold_N.tolist(), strict=True):
        folds.setdefault(group, set()).add(fold)
    assert all(len(found) == 1 for found in folds.values())


def test_a_test_folder_of_two_classes_of_one_or_of_none(tmp_path: Path) -> None:
    root = films(tmp_path)
    for seed in range(100, 108):
        write(root / "test" / ("Normal", "SICK")[seed % 2] / "deep" / f"{seed}.png", seed)
    write(root / "test" / "OTHER" / "x.png", 200)
    both = listed(root, test_root=root / "test", anomaly=("SICK",))
    assert [row["label"] for row in rows_of(both, split="test")] == [False, True] * 4
    assert both.ignored == {"class test/OTHER": 1}
    assert {row["role"] for row in rows_of(both, split="test")} == {None}
    split = make_split(both.table, seed_fraction=0.3, folds=5, contamination=None, random_seed=0)
    assert (split.role_N == TEST).sum() == split.counts["test"] == 8
    refused(root, r"dataset\.anomaly: .*has OTHER, SICK beside NORMAL", test_root=root / "test")
    shutil.rmtree(root / "test" / "OTHER")
    shutil.rmtree(root / "test" / "SICK")
    one = listed(root, test_root=root / "test")
    assert [row["label"] for row in rows_of(one, split="test")] == [False] * 4
    (root / "test" / "Normal").rename(root / "test" / "films")
    none = listed(root, test_root=root / "test")
    assert [row["label"] for row in rows_of(none, split="test")] == [None] * 4
    refused(root, r"dataset\.test_root: .*no class folder NORMAL or SICK", test_root=root / "test", anomaly=("SICK",))


def test_what_is_on_two_sides_is_said(tmp_path: Path) -> None:
    root = films(tmp_path)
    shutil.copy(root / "normals" / "p0" / "film1.png", root / "unknown" / "p9" / "other.png")
    shutil.copy(root / "normals" / "p0" / "film2.png", root / "unknown" / "p9" / "film2.png")
    write(root / "test" / "a.png", 1)  # a seed's bytes
    write(root / "test" / "b.png", 300)
    listing = listed(root, test_root=root / "test")
    assert listing.counts["seeds_in_pool"] == listing.counts["same_id_files"] == listing.counts["left_out_of_test"] == 1
    assert any("1 pool image is a seed too (identical bytes: other.png)" in line for line in listing.warnings)
    (copy,) = (row for row in listing.table.to_pylist() if row["path"].endswith("other.png"))
    assert copy["group"] == rows_of(listing, path="normals/p0/film1.png")[0]["group"], "one fold for both"
    (kept,) = (row for row in listing.table.to_pylist() if row["id"].startswith("film2-"))
    assert kept["role"] == "seed"
    refused(root, r"dataset\.on_leak: .*a\.png", test_root=root / "test", on_leak="refuse")


def test_refusals_are_one_line(tmp_path: Path) -> None:
    refused(tmp_path, r"dataset\.seed_root: .*normals does not exist")
    root = films(tmp_path)
    (root / "empty").mkdir()
    (root / "empty" / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"dataset\.pool_root: .*no image, only 1 file of another type \(\.txt\)"):
        list_unlabelled(root / "normals", root / "empty")
    with pytest.raises(InputError, match=r"dataset\.seed_root: .*normals lies in dataset\.pool_root"):
        list_unlabelled(root / "normals", root)
    refused(root, r"split\.group: ", group="(")
