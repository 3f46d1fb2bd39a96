"""The configs that come with the project: they load, and are what the README says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from swag_ray.config import load_config, to_yaml

SHIPPED = Path(__file__).resolve().parents[2] / "configs"
CONFIGS = sorted(path for path in SHIPPED.glob("*.yaml") if not path.stem.startswith(("ablation", "reproduce")))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_load_and_say_who_they_are(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    copy = tmp_path / "config.yaml"
    copy.write_text(to_yaml(config), encoding="utf-8")
    assert load_config(copy) == config


def test_shipped_configs_are_what_they_promise() -> None:
    shipped = {path.stem: load_config(path) for path in CONFIGS}
    assert {"pneumonia", "covid", "busi", "pneumonia_paper", "covid_paper", "pneumonia_published", "demo"} <= set(
        shipped
    )
    for name in ("pneumonia", "covid", "busi", "demo"):
        assert shipped[name].method == ("published" if name == "demo" else "contrast")
        assert (shipped[name].backbone.name, shipped[name].backbone.weights) == ("tf_efficientnet_lite0", "bundled")
    for name in ("pneumonia_paper", "covid_paper"):
        paper = shipped[name]
        assert (paper.method, paper.backbone.name, paper.backbone.weights) == ("published", "resnet50", "hub")
        assert (paper.backbone.strides, paper.adapter.dim) == ((8, 16), 256)
        assert (paper.gate.budget, paper.score.top_fraction, paper.rounds) == (50, 0.05, 5)
    assert shipped["pneumonia_published"].method == "published"
    assert shipped["pneumonia_published"].backbone == shipped["pneumonia"].backbone
    assert shipped["pneumonia"].split.group == shipped["covid"].split.group == r"^(person\d+|(?:NORMAL2-)?IM-\d+)"
    assert shipped["demo"].dataset.kind == "digit_anatomy"


@pytest.mark.parametrize("name", ["pneumonia", "covid", "demo"])
def test_recommended_configs_run_with_the_published_method_too(name: str) -> None:
    (path,) = (path for path in CONFIGS if path.stem == name)
    config = load_config(path, ["method=published"])
    assert (config.gate.tau_distance, config.gate.tau_relaxed) == (1.0, 1.5)
