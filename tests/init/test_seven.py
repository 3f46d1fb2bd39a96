"""Seven layouts that people have: `init` and the command that it prints make a ranked list, and no file was moved."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import pytest

from tests.support.command_line import Command
from tests.support.own_images import SEVEN, films_of

SMALL = (
    "backbone.image_size=64", "backbone.grid=4", "head.warmup_epochs=2", "head.swag_epochs=2", "swag.samples=2",
    "gate.budget=5", "rounds=1", "controls=[seed_only]",
)  # fmt: skip
# What the run must have made of each: what does not depend on a draw.
PARTS = {
    "Training and Testing": {"test": 18}, "classes without a split": {},
    "normals and unknowns": {"seed": 24, "pool": 36, "test": 0},
    "a folder a patient": {"seed": 36, "seed_groups": 18, "pool": 24, "test": 0}, "a CSV": {},
    "a tree of DICOM": {"seed": 36, "seed_groups": 18, "pool": 24, "test": 0},
    "data.json of MedIAnomaly": {"seed": 20, "pool": 16, "test": 24},
}  # fmt: skip
OF_ALL = "normals and unknowns"  # what most people have; the others take half a minute each
LAYOUTS = [name if name == OF_ALL else pytest.param(name, marks=pytest.mark.cluster) for name in SEVEN]
EVALUATED = ("Training and Testing", "classes without a split", "a CSV", "data.json of MedIAnomaly")


@pytest.mark.data
@pytest.mark.ray
@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_runs(
    layout: str, xray_root: Path, tmp_path: Path, local_ray: None, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = SEVEN[layout](films_of(xray_root), tmp_path / "images")
    before = {path: path.read_bytes() for path in (tmp_path / "images").rglob("*") if path.is_file()}
    monkeypatch.chdir(tmp_path)
    made = command("init", *paths)
    assert made.code == 0 and made.err == "", made.err
    program, *words = shlex.split(made.out.splitlines()[-1].removeprefix("next:"))
    assert program == "swag-ray"
    settings = [word for setting in (*SMALL, f"store={tmp_path / 'store'}") for word in ("--set", setting)]
    ended = command(*words, *settings)
    assert ended.code == 0, ended.err

    (run,) = (tmp_path / "runs").glob("[!l]*")
    metrics = json.loads((run / "metrics.json").read_text())
    split = metrics["dataset"]["split"]
    assert split.items() >= PARTS[layout].items()
    with (run / "pool.csv").open(newline="") as file:
        ranked = list(csv.DictReader(file))
    assert len(ranked) == split["pool"] > 10 and ranked[0].keys() >= {"path", "score", "p", "rejected", "admitted"}
    assert ("roc_auc" in metrics["incremental"]) == (layout in EVALUATED)
    if layout not in EVALUATED:
        assert "pool images look abnormal" in ended.out or "need be abnormal" in ended.out
        assert ended.out.splitlines()[-2].endswith("pool.csv") and ended.out.splitlines()[-1].endswith("report.html")
    assert (run / "report.html").stat().st_size > 50_000 and "warning: dataset: 0" not in ended.out
    after = {path: path.read_bytes() for path in (tmp_path / "images").rglob("*") if path.is_file()}
    assert after == before, "nothing is moved, changed or left among the images"
