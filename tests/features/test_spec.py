"""What names the folder of a set of features."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from swag_ray.features.spec import FeatureSpec
from swag_ray.features.weights import weights_digest, weights_file
from swag_ray.images.decode import Reading
from swag_ray.store import stages
from tests.features.inputs import GRID, NAME, SIZE, STRIDES


def test_the_grey_range_is_in_the_fingerprint_only_where_it_is_not_that_of_16_bits(spec: FeatureSpec) -> None:
    twelve = dataclasses.replace(spec, white=4095)
    assert len({spec.fingerprint, twelve.fingerprint, dataclasses.replace(spec, white=1023).fingerprint}) == 3
    assert dataclasses.replace(spec, white=65535).fingerprint == spec.fingerprint
    assert "white" not in spec.plain() and twelve.plain()["white"] == 4095
    others = (dataclasses.replace(spec, range="percentile"), dataclasses.replace(spec, frames="middle"))
    assert len({spec.fingerprint, *(other.fingerprint for other in others)}) == 3
    assert not {"range", "frames"} & set(spec.plain()) and others[0].plain()["range"] == "percentile"
    assert FeatureSpec(**others[1].plain()) == others[1] and others[1].reading == Reading(frames="middle")
    # As it was before there was a range: users' stores hold features under this name.
    before = stages.digest(
        [stages.VERSIONS["features"], NAME, spec.weights_digest, SIZE, list(STRIDES), GRID],
        ["grey", "bilinear antialias", "mean pool 3", "float16", "fused", 4, 64],
    )
    assert spec.fingerprint == before


def test_fingerprint_changes_with_what_features_depend_on(spec: FeatureSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = {
        "backbone": "tf_efficientnet_lite1",
        "weights_digest": "0" * 64,
        "image_size": 65,
        "strides": (8, 16),
        "grid": 4,
    }
    prints = {dataclasses.replace(spec, **{name: value}).fingerprint for name, value in changed.items()}
    monkeypatch.setitem(stages.VERSIONS, "features", stages.VERSIONS["features"] + 1)
    prints.add(spec.fingerprint)
    monkeypatch.undo()
    assert len(prints | {spec.fingerprint}) == len(changed) + 2


def test_fingerprint_holds_the_weights_and_not_their_path(spec: FeatureSpec, tmp_path: Path) -> None:
    copy = tmp_path / "copy.pth"
    copy.write_bytes(weights_file(NAME, "bundled").read_bytes())
    moved = dataclasses.replace(spec, weights=str(copy), weights_digest=weights_digest(NAME, str(copy)))
    assert moved.fingerprint == spec.fingerprint
    copy.write_bytes(copy.read_bytes() + b"\0")
    assert weights_digest(NAME, str(copy)) != spec.weights_digest
