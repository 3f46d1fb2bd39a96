"""The model card: its figures are those of metrics.json, what is unknown is absent, and it names no file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from swag_ray.record.run_metrics import RunMetrics
from swag_ray.report.card.files import read_card
from swag_ray.report.card.make import model_card, without_names
from swag_ray.report.card.markdown import literal, markdown
from swag_ray.report.card.record import ModelCard
from swag_ray.report.run.page import write_report
from tests.report.run.fixture import change_metrics, configure, write_json, write_run
from tests.support.command_line import Command
from tests.support.html import Page
from tests.support.s3 import Bucket

SPLIT = {"seed": 120, "pool": 980, "pool_normals": 280, "pool_anomalies": 700, "unused": 0, "test": 312}
ALIGNED = {"shift": 0.71, "contamination": 0.6, "residual": 0.05, "rate_test_normals": 0.046, "recall": 0.66}
HOSTILE = "<b>a|b`*_[x](y)\n# c\x1b[31m"


@pytest.fixture(autouse=True)
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take a second, and are none of the card's."""
    monkeypatch.setattr("swag_ray.report.run.page.draw_all", lambda run: {})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run with a bundle's folder, whose backbone and digests are recorded."""
    return complete(write_run(tmp_path / "run", overlays=0))


def complete(folder: Path) -> Path:
    incremental = json.loads((folder / "metrics.json").read_text()).get("incremental", {})
    incremental.setdefault("conformal", {}).update({"aligned": ALIGNED} if "roc_auc" in incremental else {})
    change_metrics(folder, dataset={"images": 1412, "split": SPLIT, "listing": {"test_groups": 200},
                                    "skipped": ["a/Jane.png: torn"]}, incremental=incremental)  # fmt: skip
    manifest = json.loads((folder / "manifest.json").read_text()) | {
        "fingerprint": "f00d", "backbone": {"weights_digest": "w" * 64, "licence": "Apache-2.0", "licence_from": "it"},
        "detector": {"digest": "0123456789abcdef", "sha256": {"arrays.npz": "a" * 64}},
    }  # fmt: skip
    write_json(folder / "manifest.json", manifest)
    (folder / "detector").mkdir()
    (folder / "detector" / "detector.json").write_text("{}")
    return folder


def card_of(folder: Path) -> dict[str, Any]:
    write_report(folder)
    card: dict[str, Any] = json.loads((folder / "model_card.json").read_text())
    for name in ("model_card.json", "model_card.md"):
        assert (folder / "detector" / name).read_bytes() == (folder / name).read_bytes()
    return card


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for held in value.values() if isinstance(value, dict) else value:
            yield from leaves(held)
    else:
        yield value


def test_every_figure_is_that_of_metrics_json(run: Path) -> None:
    card, metrics = card_of(run), json.loads((run / "metrics.json").read_text())
    own = metrics["incremental"]
    conformal = own["conformal"]
    held = metrics["totals"]
    for part, taken in (
        ("contamination", metrics["contamination"]), ("operating_points", own["operating_points"]),
        ("shortcuts", metrics["shortcuts"]),
    ):  # fmt: skip
        assert card[part] == taken
    assert card["calibration"] == {
        "rate": conformal["rate_nominal"], "smallest_p": 1 / 121, "rate_pool_normals": conformal["rate_pool_normals"],
        "rate_test_normals": conformal["rate_test_normals"], "rate_interval": conformal["rate_interval"],
        "recall": conformal["recall"], "aligned": ALIGNED,
    }  # fmt: skip
    assert card["shifts"]["pool_normals_p"] == metrics["rounds"][-1]["ks_seed_vs_pool_normals"]
    assert card["shifts"]["test_images"] == 0.71 and "doubt" not in card["shifts"]
    assert card["score"] == {
        "method": "contrast", "score_used": own["score_used"], "arms": metrics["arms"], "rounds": 5,
        "admitted": held["admitted"], "admitted_anomalies": held["admitted_anomalies"], "labels_used": 0,
    }  # fmt: skip
    assert card["evaluation"] == {
        "labels": "class folders of the test set", "normals": 117, "anomalies": 195, "roc_auc": own["roc_auc"],
        "pr_auc": own["pr_auc"], "seed_only_roc_auc": metrics["baselines"]["seed_only"]["roc_auc"],
        "delta_vs_seed_only": metrics["delta_vs_seed_only"], "roc_auc_by_kind": metrics["roc_auc_by_kind"],
    }  # fmt: skip
    assert card["trained_on"]["counts"] == SPLIT | {"test_groups": 200} and card["trained_on"]["unreadable"] == 1
    assert card["trained_on"]["places"] == {"root": "data/chest_xray"}
    assert card["backbone"]["licence"] == "Apache-2.0" and card["digests"]["detector"] == "0123456789abcdef"
    assert card["versions"] == json.loads((run / "manifest.json").read_text())["versions"]
    text = (run / "model_card.md").read_text()
    for shown in ("4.6 %", "+0.71 sd", "0.0083", f"{own['roc_auc']:.3f}", "Apache-2.0", "0123456789abcdef"):
        assert shown in text, shown
    assert any("flagged" in limit and "test normals" in limit for limit in card["limits"])


def test_the_page_says_what_the_file_says(run: Path) -> None:
    write_report(run)
    page = Page((run / "report.html").read_text(encoding="utf-8")).text.replace("\u202f", " ")
    page = page.replace("\N{MINUS SIGN}", "-")
    for line in (run / "model_card.md").read_text().splitlines():
        if line.startswith(("- ", "## ")):
            for part in line.lstrip("-# ").replace("\\", "").split(": "):
                assert " ".join(part.split()) in " ".join(page.split()), line


def test_what_nobody_knows_is_absent_and_never_zero(tmp_path: Path) -> None:
    run = complete(write_run(tmp_path / "run", overlays=0, labels=False))
    card = card_of(run)
    assert "evaluation" not in card and "operating_points" not in card and "shortcuts" not in card
    assert set(card["calibration"]) == {"rate", "smallest_p"} and set(card["shifts"]) == {"other_sites"}
    assert "admitted_anomalies" not in card["score"] and "contamination" not in card
    assert any("Nothing is known of how well it ranks" in limit for limit in card["limits"])
    text = (run / "model_card.md").read_text()
    assert not any(word in text for word in ("None", "nan", "ROC-AUC", "test normals", "Operating"))
    assert None not in list(leaves(card))


def test_an_older_run_has_a_card_without_what_it_did_not_record(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    write_json(run / "manifest.json", {"versions": manifest["versions"], "random_seed": 0})
    change_metrics(run, dataset=..., rounds=[], incremental={"roc_auc": 0.9})
    card = card_of(run)
    assert "digests" not in card and "licence" not in card.get("backbone", {}) and "evaluation" not in card
    assert "smallest_p" not in card["calibration"] and card["calibration"]["rate"] == 0.05
    config = (run / "config.yaml").read_text().replace("false_positive_rate: 0.05", "false_positive_rate: .nan")
    (run / "config.yaml").write_text(config)
    assert "rate" not in card_of(run).get("calibration", {}), "nothing that JSON has no word for"


def test_an_anonymous_card_names_nothing(run: Path) -> None:
    configure(run, anonymous=True)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["dataset"] |= {"normal": "Planted", "anomaly": ["Planted 2"], "root": "/home/Planted"}
    config |= {"split": {"group": "^(Planted\\d+)"}, "backbone": {"name": "resnet18", "weights": "/home/Planted.pth"}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    change_metrics(run, warnings=["2 unreadable images were skipped: Planted.png: torn; and 1 more"])
    write_json(run / "manifest.json", json.loads((run / "manifest.json").read_text()) | {"anonymous": True})
    card = card_of(run)
    assert "Planted" not in (run / "model_card.json").read_text() + (run / "model_card.md").read_text()
    assert card["warnings"] == ["2 unreadable images were skipped"] and card["backbone"]["weights"] == "a file"
    assert card["trained_on"]["groups"] == "a pattern on the file name"


@pytest.mark.parametrize(
    ("warning", "shown"),
    [
        ("dataset: 2 images are blank or nearly so (a (1).png, b.png); leave them out",
         "dataset: 2 images are blank or nearly so; leave them out"),
        ("1 unreadable image was skipped: x (2).png: torn", "1 unreadable image was skipped"),
        ("split.folds: 48 seeds over 5 folds leave 9", "split.folds: 48 seeds over 5 folds leave 9"),
    ],
)  # fmt: skip
def test_a_warning_keeps_its_words_and_loses_the_names(warning: str, shown: str) -> None:
    assert without_names(warning) == shown


def test_what_others_call_things_is_no_markup_and_steers_no_terminal(run: Path, command: Command) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["dataset"] |= {"normal": HOSTILE, "anomaly": ["1. x", "- y"]}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert card_of(run)["trained_on"]["normal"] == HOSTILE
    shown = command("card", run / "detector").out
    line = next(line for line in shown.splitlines() if line.startswith("- normal class"))
    assert line == r"- normal class: \<b\>a\|b\`\*\_\[x\](y) # c \[31m"
    assert "<b>" not in (run / "report.html").read_text().replace("&lt;b&gt;", "")
    assert [literal(text) for text in ("# a", "1. a", "+0.2", "- a", "5.0 %")] == [
        r"\# a", r"1\. a", "+0.2", r"\- a", "5.0 %",
    ]  # fmt: skip


def test_the_command_reads_a_run_and_a_bundle_that_was_copied(run: Path, tmp_path: Path, command: Command) -> None:
    assert "holds no model_card.json; give a run directory or its detector/" in command("card", run).complaint
    card = card_of(run)
    away = shutil.copytree(run / "detector", tmp_path / "away")
    for place in (run, away):
        assert command("card", place).out == (run / "model_card.md").read_text()
        assert json.loads(command("card", place, "--json").out) == card
    (away / "model_card.json").write_text("[1]")
    assert "model_card.json: cannot be read (not a table" in command("card", away).complaint
    write_json(away / "model_card.json", card | {"limits": 3})
    assert "model_card.json: cannot be read (not a model card)" in command("card", away).complaint
    newer = card | {"format": 2, "news": {"a": 1}}
    write_json(away / "model_card.json", newer)
    assert json.loads(command("card", away, "--json").out) == newer and command("card", away).code == 0
    assert "holds no model_card.json" in command("card", tmp_path / "nowhere").complaint


def test_the_card_of_an_address_is_written_again_there(run: Path, bucket: Bucket, command: Command) -> None:
    for path in run.rglob("*"):
        if path.is_file():
            bucket.put(f"runs/one/{path.relative_to(run).as_posix()}", path.read_bytes())
    address = bucket.address("runs/one")
    assert "holds no run (none of model_card.json" in command("card", address).complaint
    assert command("report", address).code == 0
    card = card_of(run)
    assert json.loads(command("card", address, "--json").out) == card
    assert json.loads(command("card", bucket.address("runs/one/detector"), "--json").out) == card


def test_the_record_is_read_as_it_was_written(run: Path) -> None:
    card = card_of(run)
    found, plain = read_card(run)
    assert found.plain() == plain == card and markdown(found) == (run / "model_card.md").read_text()
    metrics = RunMetrics.read(json.loads((run / "metrics.json").read_text()))
    config, manifest = (
        yaml.safe_load((run / "config.yaml").read_text()),
        json.loads((run / "manifest.json").read_text()),
    )
    assert model_card(config, metrics, manifest) == found and isinstance(found, ModelCard)
