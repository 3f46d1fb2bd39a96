"""A config is either read whole and exactly, or refused in one line that names the field, its value and the rule."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from swag_ray import config as c
from swag_ray.config import Config, fields, identity, load_config, parse_config, resolved, to_yaml
from swag_ray.config.sections import CONTROLS
from swag_ray.errors import InputError
from swag_ray.images.digit_anatomy import Sizes

FOLDER: dict[str, Any] = {"name": "test", "dataset": {"root": "/images", "anomaly": "SICK"}}
DIGITS: dict[str, Any] = {"name": "test", "dataset": {"kind": "digit_anatomy"}}
TWO_FOLDERS = {"name": "x", "dataset": {"kind": "unlabelled", "seed_root": "normals", "pool_root": "unknown"}}
MANIFEST = {"name": "x", "dataset": {"kind": "manifest", "manifest": "films.csv"}}


def refused(*overrides: str, raw: dict[str, Any] = FOLDER) -> str:
    with pytest.raises(InputError) as caught:
        parse_config(raw, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults() -> None:
    config = parse_config(FOLDER)
    assert (config.method, config.random_seed, config.rounds, config.split.folds) == ("contrast", 0, 5, 5)
    assert (config.split.seed_fraction, config.split.group) == (0.3, None)
    assert config.backbone.strides == (8, 16, 32) and config.memory.strides == (8, 16)
    assert (config.memory.coreset_ratio, config.score.neighbours, config.score.top_fraction) == (0.1, 3, 0.1)
    assert (config.gate.budget, config.gate.patience, config.gate.rank) == (150, 1, "safe")
    assert (config.swag.samples, config.swag.max_columns, config.swag.collect_every) == (8, 20, None)
    assert config.controls == CONTROLS and len(CONTROLS) == 6
    assert config.calibration.false_positive_rate == 0.05
    assert config.store == os.path.expanduser("~/.cache/swag-ray")
    assert parse_config(FOLDER, ["method=published"]).adapter.dim == 128


@pytest.mark.parametrize(
    ("overrides", "distance", "relaxed"),
    [
        ([], 0.0, None),
        (["method=published"], 1.0, 1.5),
        (["method=published", "gate.tau_relaxed=null"], 1.0, None),
        (["method=published", "gate.tau_distance=0.5"], 0.5, 1.5),
        (["method=published", "gate.tau_distance=2"], 2.0, 2.0),
        (["gate.tau_relaxed=2"], 0.0, 2.0),
    ],
)
def test_gate_defaults_follow_the_method(overrides: list[str], distance: float, relaxed: float | None) -> None:
    config = parse_config(FOLDER, overrides)
    assert (config.gate.tau_distance, config.gate.tau_relaxed) == (distance, relaxed)
    again = parse_config(resolved(config))
    assert again == config, "the resolved config must say the same, null included"


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("gate.budget=-1", ["gate.budget", "-1", "at least 0"]),
        ("gate.budget='5'", ["gate.budget", "'5'", "whole number"]),
        ("gate.budget=5.0", ["gate.budget", "5.0", "whole number"]),
        ("gate.budget=true", ["gate.budget", "True", "whole number"]),
        ("gate.tau_distance=null", ["gate.tau_distance", "None", "number"]),
        ("gate.tau_distance='1'", ["gate.tau_distance", "'1'", "number"]),
        ("score.top_fraction=.nan", ["score.top_fraction", "nan", "finite"]),
        ("score.top_fraction=1.5", ["score.top_fraction", "1.5", "at most 1"]),
        ("score.neighbours=-1", ["score.neighbours", "-1", "at least 1"]),
        ("split.seed_fraction=1", ["split.seed_fraction", "less than 1"]),
        ("split.folds=1", ["split.folds", "at least 2"]),
        ("dataset.contamination=1", ["dataset.contamination", "less than 1"]),
        ("report.images=1", ["report.images", "true or false"]),
        ("report.images='no'", ["report.images", "'no'", "true or false"]),
        ("name=no", ["name", "False", "text"]),
        ("name=a/b", ["name", "'a/b'", "names the run folder"]),
        ("name=..", ["name", "'..'"]),
        ("method=foo", ["method", "'foo'", "'contrast' or 'published'"]),
        ("dataset.kind=nifti", ["dataset.kind", "'nifti'", "'folder'", "'unlabelled'", "'manifest'"]),
        ("gate.strategy=oracle", ["gate.strategy", "'oracle'", "'swag_gate'"]),
        ("controls=[seed_only, sead]", ["controls[1]", "'sead'"]),
        ("controls=[seed_only, seed_only]", ["controls", "twice"]),
        ("controls=null", ["controls", "list"]),
        ("backbone.strides=8", ["backbone.strides", "8", "list"]),
        ("backbone.strides=[16, 8]", ["backbone.strides", "ascending"]),
        ("backbone.strides=[8, x]", ["backbone.strides[1]", "'x'", "whole number"]),
        ("memory.strides=[4, 8]", ["memory.strides", "4", "backbone.strides"]),
        ("backbone.grid=64", ["backbone.grid", "64", "at most 32"]),
        ("head.grid=3", ["head.grid", "3", "divide backbone.grid"]),
        ("backbone.weights=bundeld", ["backbone.weights", "'bundeld'", "bundled, hub"]),
        ("split.group=column", ["split.group", "manifest"]),
        ("split.group=person", ["split.group", "'person'", "parentheses"]),
        ("split.group='(person'", ["split.group", "regular expression"]),
        ("dataset.anomaly=[]", ["dataset.anomaly", "required"]),
        ("dataset.anomaly=NORMAL", ["dataset.anomaly", "NORMAL"]),
        ("dataset.anomaly=a/b", ["dataset.anomaly", "'a/b'", "class folder"]),
        ("dataset.root=null", ["dataset.root", "required"]),
        ("gate.tau_relaxed=0.5", ["gate.tau_relaxed", "0.5", "null"]),
        ("gate.patience=6", ["gate.patience", "6", "rounds 5"]),
        ("store=gs://bucket", ["store", "'gs://bucket'", "s3://"]),
        ("gate=3", ["gate", "3", "keys and values"]),
    ],
)
def test_wrong_values_name_field_value_and_rule(override: str, parts: list[str]) -> None:
    message = refused(override)
    assert message.startswith("config: ")
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("gate.bugdet=3", "gate.bugdet: unknown key; did you mean gate.budget?"),
        ("budget=3", "budget: unknown key; did you mean gate.budget?"),
        ("roundz=3", "roundz: unknown key; did you mean rounds?"),
        ("dataset.digit_anatomie.x=3", "did you mean dataset.digit_anatomy?"),
        ("query.budget=0", "query: unknown key; known here: name, random_seed"),
        ("memory.limit=1000", "memory.limit: unknown key; known here: strides, coreset_ratio"),
    ],
)
def test_unknown_keys_name_the_nearest_known_one(override: str, hint: str) -> None:
    assert hint in refused(override)


@pytest.mark.parametrize(
    ("raw", "override", "parts"),
    [
        (FOLDER, "adapter.dim=64", ["adapter", "method contrast"]),
        ({**FOLDER, "method": "published"}, "head.grid=4", ["head", "method published"]),
        ({**FOLDER, "method": "published"}, "outliers.probability=0.1", ["outliers", "method published"]),
        (FOLDER, "dataset.digit_anatomy.test_normals=9", ["dataset.digit_anatomy", "dataset.kind folder"]),
        (DIGITS, "dataset.root=/images", ["dataset.root", "dataset.kind digit_anatomy"]),
        (DIGITS, "split.group='(x)'", ["split.group", "dataset.kind digit_anatomy"]),
        (DIGITS, "dataset.on_leak=keep", ["dataset.on_leak", "dataset.kind digit_anatomy"]),
        (FOLDER, "dataset.pool_root=/x", ["dataset.pool_root", "dataset.kind folder"]),
        (FOLDER, "dataset.manifest=/x.csv", ["dataset.manifest", "dataset.kind folder"]),
        (TWO_FOLDERS, "split.seed_fraction=.5", ["split.seed_fraction", "dataset.kind unlabelled"]),
        (TWO_FOLDERS, "dataset.contamination=.1", ["dataset.contamination", "dataset.kind unlabelled"]),
        (TWO_FOLDERS, "dataset.root=/x", ["dataset.root", "dataset.kind unlabelled"]),
        (TWO_FOLDERS, "dataset.test_fraction=.2", ["dataset.test_fraction", "dataset.kind unlabelled"]),
        (MANIFEST, "dataset.train=x", ["dataset.train", "dataset.kind manifest"]),
        (MANIFEST, "dataset.seed_root=/x", ["dataset.seed_root", "dataset.kind manifest"]),
    ],
)
def test_what_is_not_read_is_refused(raw: dict[str, Any], override: str, parts: list[str]) -> None:
    message = refused(override, raw=raw)
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize(
    ("raw", "override", "message"),
    [
        (TWO_FOLDERS, "dataset.seed_root=null", "dataset.seed_root: is required; set it to a folder of normal images"),
        (TWO_FOLDERS, "dataset.pool_root=null", "dataset.pool_root: is required"),
        (MANIFEST, "dataset.manifest=null", "dataset.manifest: is required; set it to a CSV or Parquet file"),
        (TWO_FOLDERS, "dataset.pool_root=gs://b/x", "must be a path or s3://BUCKET/PREFIX"),
        (TWO_FOLDERS, "split.group=column", "split.group: 'column' needs dataset.kind manifest"),
        (MANIFEST, "split.group=folder", "split.group: 'folder' is not read from a manifest"),
        (MANIFEST, "dataset.anomaly=NORMAL", "dataset.anomaly: must not hold dataset.normal"),
    ],
)
def test_what_a_dataset_needs(raw: dict[str, Any], override: str, message: str) -> None:
    assert message in refused(override, raw=raw)


def test_a_folder_that_is_divided_and_drawn_from() -> None:
    assert "give one of them" in refused("dataset.test=val", "dataset.test_fraction=.2")


def test_paths_of_a_dataset_are_absolute_or_on_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = parse_config(TWO_FOLDERS | {"dataset": TWO_FOLDERS["dataset"] | {"pool_root": "s3://bucket/x"}})
    assert config.dataset.seed_root == str(tmp_path / "normals") and config.dataset.pool_root == "s3://bucket/x"
    assert "seed_fraction" not in resolved(config)["split"] and "contamination" not in resolved(config)["dataset"]
    assert parse_config(resolved(config)) == config


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("swag.samples=1",), "swag.samples: 1 must be 2 or more, or 0 for none"),
        (("method=published", "swag.samples=0"), "swag.samples: 0 leaves method published without its uncertainty"),
    ],
)
def test_samples_are_none_or_have_a_spread(overrides: tuple[str, ...], said: str) -> None:
    assert said in refused(*overrides)
    assert parse_config(FOLDER, ["swag.samples=0"]).swag.samples == 0


def test_several_errors_are_counted() -> None:
    message = refused("gate.budget=-1", "rounds=0", "score.neighbours=0")
    assert message.endswith("(and 2 more)") and message.count("at least") == 1


@pytest.mark.parametrize("override", ["=3", "gate.budget", "gate..budget=3", "gate.budget=", "gate.budget=[", ".a=1"])
def test_malformed_overrides_are_quoted(override: str) -> None:
    assert refused(override).startswith(f"--set {override}")


def test_overrides_are_yaml_and_the_last_one_wins() -> None:
    config = parse_config(
        FOLDER,
        [
            "gate.budget=3",
            "gate.budget=4",
            "memory={coreset_ratio: 5e-2}",
            "dataset.anomaly=[A, B]",
            "controls=[]",
            "head.learning_rate=1e-4",
            "cluster.actors=2",
            "dataset.root=a=b",
        ],
    )
    assert (config.gate.budget, config.memory.coreset_ratio, config.head.learning_rate) == (4, 0.05, 1e-4)
    assert config.dataset.anomaly == ("A", "B") and config.controls == () and config.cluster.actors == 2
    assert config.dataset.root == os.path.abspath("a=b")
    assert "dataset.root is a value" in refused("dataset.root.deeper=1")


def test_overrides_leave_the_mapping_alone() -> None:
    before = repr(FOLDER)
    parse_config(FOLDER, ["dataset.anomaly=X", "gate.budget=1"])
    assert repr(FOLDER) == before


def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = parse_config(FOLDER, ["dataset.root=../x", "store=~/s", "backbone.weights=w.safetensors"])
    assert config.dataset.root == str(tmp_path.parent / "x")
    assert config.store == str(tmp_path / "home" / "s")
    assert config.backbone.weights == str(tmp_path / "w.safetensors")
    assert parse_config(FOLDER, ["store=s3://bucket/prefix"]).store == "s3://bucket/prefix"
    assert parse_config(FOLDER, ["dataset.root=$HOME/x"]).dataset.root == str(tmp_path / "$HOME" / "x")


def test_the_generated_set_is_drawn_as_the_config_says() -> None:
    sizes = parse_config(DIGITS).dataset.digit_anatomy.model_dump()
    assert sizes.pop("random_seed") == 0
    assert sizes == asdict(Sizes()), "both places name the same settings and defaults"


def test_unused_sections_are_left_out_of_the_resolved_config() -> None:
    contrast, published = parse_config(FOLDER), parse_config(FOLDER, ["method=published"])
    assert "adapter" not in resolved(contrast) and {"head", "outliers"} <= set(resolved(contrast))
    assert "adapter" in resolved(published) and not {"head", "outliers"} & set(resolved(published))
    digits = resolved(parse_config(DIGITS))
    assert "root" not in digits["dataset"] and "digit_anatomy" in digits["dataset"]
    assert list(resolved(contrast))[:4] == ["name", "random_seed", "method", "dataset"]


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "gate.budget": st.integers(0, 10**6),
            "gate.tau_distance": st.floats(-10, 1),
            "gate.tau_relaxed": st.none() | st.floats(1, 10),
            "score.top_fraction": st.floats(0, 1, exclude_min=True),
            "swag.collect_every": st.none() | st.integers(1, 10**9),
            "dataset.normal": st.text(min_size=1, max_size=8),
            "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True),
            "controls": st.lists(st.sampled_from(CONTROLS), unique=True),
            "cluster.gpus": st.none() | st.integers(0, 8),
        },
    ),
    st.sampled_from(["contrast", "published"]),
)
def test_the_resolved_config_reads_back_unchanged(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any], method: str
) -> None:
    raw: dict[str, Any] = {"name": "test", "method": method, "dataset": {"root": "/images", "anomaly": "SICK"}}
    for path, value in changes.items():
        section, _, key = path.rpartition(".")
        (raw.setdefault(section, {}) if section else raw)[key] = value
    try:
        config = parse_config(raw)
    except InputError:
        return  # a folder name that no folder can have
    file = tmp_path_factory.getbasetemp() / "round_trip.yaml"
    file.write_text(to_yaml(config), encoding="utf-8", newline="")
    assert load_config(file) == config


def test_fields_gives_plain_values_by_path() -> None:
    config = parse_config(FOLDER)
    found = fields(config, "random_seed", "backbone", "gate.tau_relaxed", "memory.strides")
    assert list(found) == ["random_seed", "backbone", "gate.tau_relaxed", "memory.strides"]
    assert found["memory.strides"] == [8, 16] and found["gate.tau_relaxed"] is None
    assert found["backbone"]["strides"] == [8, 16, 32]
    with pytest.raises(ValueError, match=r"gate\.bugdet"):
        fields(config, "gate.bugdet")


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("rounds=9", True),
        ("store=/elsewhere", True),
        ("cluster.actors=7", True),
        ("report.images=false", True),
        ("controls=[]", True),
        ("random_seed=1", False),
        ("gate.budget=151", False),
        ("gate.budget=150", True),
        ("dataset.contamination=0.1", False),
        ("method=published", False),
        ("calibration.false_positive_rate=0.1", False),
        ("name=other", False),
    ],
)
def test_identity(override: str, same: bool) -> None:
    assert (identity(parse_config(FOLDER, [override])) == identity(parse_config(FOLDER))) is same


def test_models_are_frozen_and_hashable() -> None:
    config = parse_config(FOLDER)
    with pytest.raises(ValidationError):
        config.gate.budget = 3
    assert hash(config) == hash(parse_config(FOLDER))


def leaves(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        inner: Any = field.annotation
        nested = isinstance(inner, type) and issubclass(inner, BaseModel)
        found |= leaves(inner, f"{prefix}{name}.") if nested else {prefix + name: field}
    return found


def test_every_field_is_described_and_every_number_has_a_range() -> None:
    fields_ = leaves(Config)
    assert len(fields_) > 50
    assert [path for path, field in fields_.items() if not field.description] == []
    numbers = {
        path: field for path, field in fields_.items() if field.annotation in (int, float, int | None, float | None)
    }
    bounds = {"ge", "gt"}
    assert [path for path, f in numbers.items() if not any(b in dir(m) for m in f.metadata for b in bounds)] == []


def test_schema_describes_the_file() -> None:
    schema = c.schema()
    gate = schema["$defs"]["GateConfig"]["properties"]
    assert gate["budget"]["default"] == 150 and gate["budget"]["minimum"] == 0 and gate["budget"]["description"]
    assert schema["required"] == ["name"] and schema["additionalProperties"] is False
