"""A manifest with masks from the files to `localisation`: heatmaps point at them, and nothing else reads them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from swag_ray.config import Config, parse_config
from swag_ray.errors import InputError
from swag_ray.run.run import Run, run_experiment
from tests.support.html import Page

pytestmark = pytest.mark.ray
HEIGHT, WIDTH = 96, 144
SEEDS, POOL, NORMALS, ANOMALIES = 40, 16, 4, 20  # few normals: all their pixels are cool, whatever a map points at
FLOOR, CHANCE = 0.8, 0.7  # of the pixel ROC-AUC


def scene(number: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Two soft lobes, as in all, under a texture of its own."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    lobes = sum(np.exp(-(((x - at) / 22) ** 2) - ((y - 50) / 34) ** 2) for at in (45, 100))
    texture = gaussian_filter(np.random.default_rng(number).normal(size=(HEIGHT, WIDTH)), 2)
    return np.asarray(60 + 110 * lobes + 40 * texture)


def altered(number: int) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.bool_]]]:
    """A scene with a disc of stripes somewhere, and where."""
    draw = np.random.default_rng([number, 1])
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    at = draw.uniform(16, HEIGHT - 16), draw.uniform(16, WIDTH - 16)
    disc = (y - at[0]) ** 2 + (x - at[1]) ** 2 < draw.uniform(10, 15) ** 2
    return np.where(disc, 140 + 100 * ((x + y) // 3 % 2), scene(number)), disc


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rows, number = tmp_path_factory.mktemp("masks"), [], 0
    for role, label, count in (
        ("seed", 0, SEEDS), ("pool", 0, POOL), ("pool", 1, POOL), ("test", 0, NORMALS), ("test", 1, ANOMALIES),
    ):  # fmt: skip
        for _ in range(count):
            grey, disc = altered(number) if label else (scene(number), None)
            save(root / f"{number:03d}.png", np.clip(np.rint(grey), 0, 255).astype(np.uint8))
            mask = ""
            if disc is not None and role == "test":
                mask = f"masks/{number:03d}.png"
                (root / "masks").mkdir(exist_ok=True)
                save(root / mask, (disc * (1 + number % 255)).astype(np.uint8))
            # In train it may be anything: nobody looks.
            rows.append([f"{number:03d}.png", role, label, mask if role == "test" else "nowhere.png", number % 3])
            number += 1
    rows[-1][3] = ""  # an anomaly without a mask takes no part
    written(root / "films.csv", rows)
    masks = [row[3] for row in rows if row[3].startswith("masks")]
    others = iter(masks[1:] + masks[:1])
    shuffled = [[*row[:3], next(others) if row[3] in masks else row[3], row[4]] for row in rows]
    written(root / "shuffled.csv", shuffled)
    written(root / "without.csv", [[*row[:3], "", row[4]] for row in rows])
    return root


def save(path: Path, pixels: np.ndarray[Any, Any]) -> None:
    Image.fromarray(pixels).save(path)


def written(path: Path, rows: list[list[Any]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["path", "role", "label", "Mask", "visit"], *rows])


def config_of(place: Path, manifest: str) -> Config:
    raw = {
        "name": "masks", "dataset": {"kind": "manifest", "manifest": str(place / manifest)},
        "split": {"folds": 2}, "backbone": {"image_size": 128},
        "head": {"warmup_epochs": 4, "swag_epochs": 4}, "swag": {"samples": 2}, "report": {"images": False},
        "gate": {"budget": 5}, "rounds": 1, "controls": [], "store": str(place / "store"),
    }  # fmt: skip
    return parse_config(raw, [])


@pytest.fixture(scope="module")
def runs(place: Path, local_ray: None) -> Iterator[dict[str, Run]]:
    yield {
        name: run_experiment(config_of(place, f"{name}.csv"), place / "runs" / name)
        for name in ("films", "shuffled", "without")
    }


def test_heatmaps_point_at_the_masks_and_at_no_others(runs: dict[str, Run]) -> None:
    right, wrong = (runs[name].metrics["localisation"] for name in ("films", "shuffled"))
    assert right["images"] == wrong["images"] == NORMALS + ANOMALIES - 1
    assert right["pixel_roc_auc"] > FLOOR > CHANCE > wrong["pixel_roc_auc"]
    assert right["pro"] > wrong["pro"] + 0.2
    assert "localisation" not in runs["without"].metrics


def test_masks_reach_nothing_else(runs: dict[str, Run]) -> None:
    def others(run: Run) -> dict[str, Any]:
        rest = {name: value for name, value in run.metrics.items() if name not in ("localisation", "timing")}
        rest["rounds"] = [{k: v for k, v in row.items() if k != "seconds"} for row in rest["rounds"]]
        return rest

    assert others(runs["films"]) == others(runs["shuffled"]) == others(runs["without"])
    stages = [json.loads((run.directory / "manifest.json").read_text())["stages"] for run in runs.values()]
    assert stages[0] == stages[1] == stages[2]
    columns = pq.read_table(runs["films"].directory / "scores.parquet").column_names
    assert "visit" in columns and not {"mask", "Mask"} & set(columns), "read, and no column of its owner's"


def test_the_report_tells_it(runs: dict[str, Run]) -> None:
    text = Page((runs["films"].directory / "report.html").read_text()).text
    assert "Where heatmaps point" in text and f"{runs['films'].metrics['localisation']['pro']:.3f}" in text
    assert "Where heatmaps point" not in Page((runs["without"].directory / "report.html").read_text()).text


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda path: path.unlink(), "cannot read the mask"),
        (lambda path: path.write_bytes(b"no picture"), "cannot read the mask"),
        (lambda path: Image.new("L", (WIDTH, HEIGHT)).save(path, "JPEG"), "cannot read the mask"),
        (lambda path: Image.new("L", (HEIGHT, WIDTH)).save(path, "PNG"), "96 x 144 pixels, its image 144 x 96"),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "cannot read the mask"),
    ],
)  # fmt: skip
def test_a_bad_mask_is_one_line(place: Path, runs: dict[str, Run], tmp_path: Path, fault: Any, said: str) -> None:
    mask = sorted((place / "masks").iterdir())[0]
    whole = mask.read_bytes()
    try:
        fault(mask)
        with pytest.raises(InputError, match=rf"^dataset\.manifest: .*{mask.name}.*") as caught:
            run_experiment(config_of(place, "films.csv"), tmp_path / "run")
    finally:
        mask.write_bytes(whole)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "metrics.json").exists()
