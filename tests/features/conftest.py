"""The backbone that the tests of features share."""

from __future__ import annotations

import pytest

from swag_ray.features.backbone import Backbone, build_backbone
from swag_ray.features.spec import FeatureSpec
from swag_ray.features.weights import weights_digest
from tests.features.inputs import GRID, NAME, SIZE, STRIDES


@pytest.fixture(scope="module")
def spec() -> FeatureSpec:
    return FeatureSpec(NAME, "bundled", weights_digest(NAME, "bundled"), SIZE, STRIDES, GRID)


@pytest.fixture(scope="module")
def backbone(spec: FeatureSpec) -> Backbone:
    return build_backbone(spec.backbone, spec.weights, spec.strides, spec.grid)
