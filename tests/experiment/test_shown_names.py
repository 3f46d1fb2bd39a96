"""What leaves the store names no file where a config says so: tables, records, warnings, a failed trial's error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from swag_ray.config import Config, parse_config
from swag_ray.experiment.shown_names import (
    shown_files,
    shown_further,
    shown_ignored,
    shown_paths,
    shown_warnings,
    with_shown_ids,
)
from swag_ray.images.folders import list_folder
from swag_ray.images.listing import Listing
from swag_ray.images.manifest import list_manifest
from swag_ray.images.unlabelled import list_unlabelled
from tests.support.dicom import film, saved, twelve_bits
from tests.support.images import blocks, small_set, write

PLAIN, ANONYMOUS = (
    parse_config({"name": "a", "dataset": {"kind": "digit_anatomy"}, "report": {"anonymous": value}})
    for value in (False, True)
)


@pytest.fixture
def listing(tmp_path: Path) -> Listing:
    return list_folder(small_set(tmp_path), normal="NORMAL", anomaly=["PNEUMONIA"], group=None)


def test_an_id_is_a_digest_of_content_and_name(listing: Listing, tmp_path: Path) -> None:
    shown = with_shown_ids(listing.table, ANONYMOUS)
    ids = shown.column("id")
    assert pc.all(pc.match_substring_regex(ids, "^[0-9a-f]{16}$")).as_py() and len(set(ids.to_pylist())) == len(ids)
    assert shown.drop(["id"]).equals(listing.table.drop(["id"]))
    assert with_shown_ids(listing.table, PLAIN).equals(listing.table)
    name = tmp_path / "train" / "NORMAL" / "normaltrain0.jpeg"
    write(name, 77, "JPEG")  # the same name, another image: who knows the name alone cannot know the digest
    other = list_folder(tmp_path, normal="NORMAL", anomaly=["PNEUMONIA"], group=None)
    of = {path: i for path, i in zip(shown["path"].to_pylist(), ids.to_pylist(), strict=True)}
    again = with_shown_ids(other.table, ANONYMOUS)
    changed = [p for p, i in zip(again["path"].to_pylist(), again["id"].to_pylist(), strict=True) if of[p] != i]
    assert changed == ["train/NORMAL/normaltrain0.jpeg"]


@pytest.mark.parametrize("config", [PLAIN, ANONYMOUS])
def test_warnings_and_records_hold_no_name(listing: Listing, config: Config) -> None:
    named, root = "normaltest0.jpeg", str(listing.root)
    write(listing.root / "train" / "left out.png", 5)
    warnings = [f"2 files ({named}, train/NORMAL/normaltrain1.jpeg)", f"'{root}/train/left out.png' is odd", "no name"]
    shown = shown_warnings(warnings, listing, config)
    files = shown_files(listing, listing.table, config)
    ignored = shown_ignored({"class train/Jane": 2, "class test/Jane": 1, "folder Jane": 4, "hidden": 3}, config)
    if config is PLAIN:
        assert list(shown) == warnings and files[0] == f"{root}/{listing.table['path'][0]}" and "folder Jane" in ignored
        assert shown_paths(["a"], config).to_pylist() == ["a"]
        return
    ids = dict(zip(listing.table["path"].to_pylist(), files, strict=True))
    assert shown[0] == f"2 files ({ids[f'test/NORMAL/{named}']}, train/NORMAL/{ids['train/NORMAL/normaltrain1.jpeg']})"
    assert shown[1:] == ("'dataset.root/train/a file' is odd", "no name")
    assert ignored == {"class not named": 3, "folder not named": 4, "hidden": 3}
    assert shown_paths(["a"], config).to_pylist() == [None]


def test_a_name_that_left_the_listing_is_none_in_a_warning(tmp_path: Path) -> None:
    """A test image that is a seed's copy is no row; a manifest's own columns may say who somebody is."""
    for seed, name in enumerate(("Jane one", "Jane two", "Jane pool")):
        write(tmp_path / "deep" / f"{name}.png", seed)
    write(tmp_path / "deep" / "Jane again.png", 0)
    rows = ["Jane one,seed", "Jane two,seed", "Jane pool,pool", "Jane again,test", "Jane two,pool"]
    (tmp_path / "a.csv").write_text("path,role,who\n" + "".join(f"deep/{r.replace(',', '.png,')},Jane\n" for r in rows))
    listing = list_manifest(tmp_path / "a.csv")
    dataset = {"kind": "manifest", "manifest": str(tmp_path / "a.csv")}
    plain, anonymous = (
        parse_config({"name": "a", "dataset": dataset, "report": {"anonymous": value}}) for value in (False, True)
    )
    assert "Jane again.png" in " ".join(shown_warnings(listing.warnings, listing, plain))
    shown = shown_warnings((*listing.warnings, f"'{tmp_path}/deep' is odd"), listing, anonymous)
    assert "Jane" not in " ".join(shown) and str(tmp_path) not in " ".join(shown)
    assert shown_further(listing.table, plain).column_names == ["who"]
    assert shown_further(listing.table, anonymous).num_columns == 0


def test_names_without_suffix_are_replaced_whole_and_counts_stay(tmp_path: Path) -> None:
    seed = 100
    for split in ("train", "test"):
        for label in ("NORMAL", "PNEUMONIA"):
            for name in ("DOE", "1", "123456"):
                seed += 1
                path = tmp_path / split / label / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(saved(film(twelve_bits(np.asarray(blocks(seed))))))
    listing = list_folder(tmp_path, normal="NORMAL", anomaly=["PNEUMONIA"], group=None)
    assert listing.table.num_rows == 12
    line = "1 of 123 images (train/NORMAL/1, DOE, test/NORMAL/123456) is DOER than 0.1"
    (shown,) = shown_warnings([line], listing, ANONYMOUS)
    assert shown.startswith("1 of 123 images (train/NORMAL/") and shown.endswith(" is DOER than 0.1")
    assert "DOE," not in shown and "123456" not in shown and "NORMAL/1," not in shown


def test_frames_are_replaced_whole_and_so_is_their_file(tmp_path: Path) -> None:
    raw = {"kind": "unlabelled", "seed_root": "a", "pool_root": "b", "frames": "all"}
    config = parse_config({"name": "a", "dataset": raw, "report": {"anonymous": True}})
    for number, part in enumerate(("seeds", "pool")):
        for name in ("DOE", "JANE.dcm"):
            number += 10
            path = tmp_path / part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            frames = np.stack([twelve_bits(np.asarray(blocks(100 * number + n))) for n in range(12)])
            path.write_bytes(saved(film(frames)))
    listing = list_unlabelled(tmp_path / "seeds", tmp_path / "pool", frames="all")
    assert listing.table.num_rows == 48
    line = "3 images (pool/JANE.dcm#frame=1, seeds/JANE.dcm#frame=11, DOE#frame=1, DOE#frame=12), (DOE, JANE.dcm)"
    (shown,) = shown_warnings([line], listing, config)
    assert "DOE" not in shown and "JANE" not in shown and "frame=" not in shown
    assert shown.endswith("(a file, a file)")
    assert len(set(shown_files(listing, listing.table, config))) == 48
