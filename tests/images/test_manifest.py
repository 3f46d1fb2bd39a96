"""Manifests: what columns mean, what is kept of the others, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swag_ray.errors import InputError
from swag_ray.images.audit import build_audit
from swag_ray.images.listing import Listing, further_columns
from swag_ray.images.manifest import list_manifest
from swag_ray.images.split import SEED, TEST, Split
from tests.support.images import write

ROLES = """path,role,label,group,age,Note
films/a.png,seed,,p1,61,"first, good"
films/b.png,seed,0,p2,,
./films/../films/c.png,pool,,p1,48,x
films/d.png,pool,pneumonia,p3,5,
films/e.png,test,normal,p4,7,
films/f.png,test,,,8,=1+1
"""


def films(root: Path, names: str = "abcdefgh") -> Path:
    for seed, name in enumerate(names):
        write(root / "films" / f"{name}.png", seed)
    return root


def listed(root: Path, text: str | None = ROLES, name: str = "films.csv", **options: Any) -> Listing:
    if text is not None:
        (root / name).write_text(text, encoding="utf-8")
    return list_manifest(root / name, **({"anomaly": ("PNEUMONIA",)} | options))


def refused(root: Path, match: str, text: str | None, **options: Any) -> None:
    with pytest.raises(InputError, match=match) as caught:
        listed(root, text, **options)
    assert "\n" not in str(caught.value)


def by_name(listing: Listing, *names: str) -> dict[str, tuple[Any, ...]]:
    return {Path(row["path"]).stem: tuple(row[name] for name in names) for row in listing.table.to_pylist()}


def test_roles_labels_and_further_columns(tmp_path: Path) -> None:
    listing = listed(films(tmp_path))
    assert by_name(listing, "role", "split", "label") == {
        "a": ("seed", "train", False), "b": ("seed", "train", False), "c": ("pool", "train", None),
        "d": ("pool", "train", True), "e": (None, "test", False), "f": (None, "test", None),
    }  # fmt: skip
    assert by_name(listing, "path")["c"] == ("films/c.png",)
    assert by_name(listing, "class_name")["d"] == ("PNEUMONIA",)
    further = further_columns(listing.table)
    assert further.column_names == ["age", "Note"], "case kept, in the order of the file"
    notes = dict(zip(by_name(listing, "id"), further.to_pylist(), strict=True))
    assert notes["a"] == {"age": "61", "Note": "first, good"} and notes["b"] == {"age": None, "Note": None}
    assert by_name(listing, "group")["a"] != by_name(listing, "group")["c"], "groups are read where the config says so"
    grouped = by_name(listed(tmp_path, group="column"), "group")
    assert grouped["a"] == grouped["c"] == ("p1",) and str(grouped["f"][0]).startswith("bytes:")


def test_parquet_keeps_types_and_semicolons_part_a_csv(tmp_path: Path) -> None:
    root = films(tmp_path)
    paths = ["films/a.png", "films/b.png", str(root / "films" / "c.png")]
    roles, labels = ["seed", "pool", "test"], pa.array([0.0, None, 1.0])
    table = pa.table({"Path": paths, "role": roles, "label": labels, "age": [1, 2, 3]})
    pq.write_table(table, root / "films.parquet")
    listing = listed(root, None, "films.parquet")
    assert by_name(listing, "label") == {"a": (False,), "b": (None,), "c": (True,)}
    assert further_columns(listing.table).schema == pa.schema([("age", pa.int64())])
    text = "\ufeffpath;role;age\r\nfilms/a.png;seed;1,5\r\nfilms/b.png;pool;2\r\n"
    semicolons = listed(root, text)
    assert by_name(semicolons, "role", "column:age") == {"a": ("seed", "1,5"), "b": ("pool", "2")}


def test_splits_with_labels_are_as_folders(tmp_path: Path) -> None:
    text = "path,split,label\n" + "".join(
        f"films/{name}.png,{part},{label}\n"
        for name, part, label in zip(
            "abcdefgh", ["Training"] * 4 + ["testing"] * 2 + ["val", "train"], "01010101", strict=True
        )
    )
    listing = listed(films(tmp_path), text)
    assert "role" not in listing.table.column_names
    assert by_name(listing, "split", "label")["e"] == ("test", False)
    assert listing.ignored == {"class split val": 1} and listing.table.num_rows == 7
    assert further_columns(listing.table).num_columns == 0


def test_a_test_set_is_drawn_where_no_column_says(tmp_path: Path) -> None:
    names = [f"x{number}" for number in range(40)]
    for seed, name in enumerate(names):
        write(tmp_path / f"{name}.png", seed)
    text = "path,label\n" + "".join(f"{name}.png,{number % 2}\n" for number, name in enumerate(names))
    refused(tmp_path, r"dataset\.manifest: .*neither a column role .* nor split .*dataset\.test_fraction", text)
    listing = listed(tmp_path, text, test_fraction=0.25)
    assert listing.counts["test_drawn"] == 10
    refused(films(tmp_path), r"dataset\.test_fraction: .*has a column role", ROLES, test_fraction=0.25)


BENCHMARK = {
    "train": {"0": ["a.png", "b.png"], "unlabeled": {"0": ["c.png"], "1": ["d.png"]}},
    "test": {"0": ["e.png"], "1": ["f.png"]},
}


def test_the_data_json_of_benchmarks(tmp_path: Path) -> None:
    root = films(tmp_path)
    (root / "other").mkdir()
    listing = listed(root, json.dumps(BENCHMARK), "data.json", anomaly=())
    assert by_name(listing, "role", "split", "label") == {
        "a": ("seed", "train", False), "b": ("seed", "train", False), "c": ("pool", "train", False),
        "d": ("pool", "train", True), "e": (None, "test", False), "f": (None, "test", True),
    }  # fmt: skip
    assert by_name(listing, "path")["a"] == ("films/a.png",)
    plain = {"train": {"0": list("abc")}, "test": {"0": ["e"], "1": ["f"]}}
    one_class = json.dumps(plain).replace('"a"', '"films/a.png"').replace('"b"', '"films/b.png"')
    for name in "cef":
        one_class = one_class.replace(f'"{name}"', f'"films/{name}.png"')
    listing = listed(root, one_class, "data.json", anomaly=())
    assert "role" not in listing.table.column_names and by_name(listing, "split", "label")["c"] == ("train", False)
    refused(root, r"is no manifest \(.*\"2\"", json.dumps({"train": {"2": []}}), name="data.json")
    refused(root, r"is no manifest", "{", name="data.json")
    gone = json.dumps({"train": {"0": ["gone.png"]}, "test": {}})
    refused(root, r"lists gone\.png, which is neither beside it", gone, name="data.json")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("file,role\nfilms/a.png,seed\n", r"no column path \(file, role\)"),
        ("path,role\n", r"lists no image"),
        ("path,role\nfilms/a.png,seed\n", r"lists no pool image"),
        ("path,role\nfilms/a.png,train\n", r"image 1: role 'train' is none; there are seed, pool, test"),
        ("path,role,label\nfilms/a.png,seed,1\nfilms/b.png,pool,\n", r"image 1: is a seed and an anomaly"),
        ("path,role,label\nfilms/a.png,seed,\nfilms/gone.png,pool,\n", r"cannot read .*gone\.png"),
        ("path,role\n,seed\n", r"image 1: has no path"),
        ("path,split,label\nfilms/a.png,train,\n", r"image 1: is for training and has no label"),
        ("path,role,label\nfilms/a.png,seed,\nfilms/b.png,pool\n", r"is no manifest \(row 3 has 2 cells"),
        ("path,path,role\n", r"two columns path"),
    ],
)
def test_refusals_are_one_line(tmp_path: Path, text: str, match: str) -> None:
    refused(films(tmp_path), rf"^dataset\.manifest: .*{match}", text)


def test_other_words_for_classes_are_asked_for_or_ignored(tmp_path: Path) -> None:
    text = "path,role,label\nfilms/a.png,seed,healthy\nfilms/b.png,pool,covid\nfilms/c.png,pool,\n"
    refused(films(tmp_path), r"image 1: label 'healthy' is neither", text, anomaly=())
    listing = listed(tmp_path, text, normal="Healthy", anomaly=("flu",))
    assert listing.table.num_rows == 2 and listing.ignored == {"class train/covid": 1}
    refused(films(tmp_path), r"has no column group", text, normal="Healthy", group="column")


def test_of_two_rows_with_one_image_the_trusted_one_counts(tmp_path: Path) -> None:
    text = "path,role,n\nfilms/a.png,pool,1\nfilms/a.png,seed,2\nfilms/b.png,pool,3\nfilms/a.png,test,4\n"
    listing = listed(films(tmp_path), text)
    assert by_name(listing, "role", "column:n") == {"a": ("seed", "2"), "b": ("pool", "3")}
    assert listing.counts["same_id_files"] == listing.counts["left_out_of_test"] == 1


def test_masks_are_of_test_images_alone_and_no_column_of_the_owners(tmp_path: Path) -> None:
    text = """path,split,label,MASK,age
films/a.png,train,0,films/h.png,1
films/b.png,train,0,,2
films/c.png,test,1, films/g.png,3
films/d.png,test,0,,4
"""
    listing = listed(films(tmp_path), text)
    assert by_name(listing, "mask") == {"a": (None,), "b": (None,), "c": (" films/g.png",), "d": (None,)}
    assert further_columns(listing.table).column_names == ["age"]
    assert "mask" not in listed(tmp_path, text.replace("MASK", "note")).table.column_names
    roles = np.where(np.array(listing.table["split"].to_pylist()) == "test", TEST, SEED)
    audit = build_audit(listing.table, Split(roles.astype(np.int8), np.zeros(4, np.int8), (), {}, (2,), None, None))
    assert dict(zip(audit.path_T.tolist(), audit.mask_T.tolist(), strict=True)) == {
        "films/c.png": "films/g.png", "films/d.png": "",
    }  # fmt: skip
