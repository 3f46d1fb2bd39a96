"""A run and `score` on films of 12 bits, some of them doubtful or unreadable: read right, counted, told."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from swag_ray.config import parse_config
from swag_ray.images.digit_anatomy import Sizes, draw
from swag_ray.run.run import Run, run_experiment
from tests.conftest import TINY
from tests.support.command_line import Command
from tests.support.images import encoded

pytestmark = pytest.mark.ray
SIZES = Sizes(10, 6, 4, 6, 12, 12, 20)
BITS = 4095 / 255


def film(pixels_HW: np.ndarray, scale: float = BITS) -> bytes:
    """Grey levels as a PNG of 16 bits a sample."""
    return encoded(Image.fromarray(np.round(pixels_HW * scale).astype(np.uint16)))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DigitAnatomy in 12 bits. Of the pool's films 5 are inverted, 2 blank, 1 torn, and 2 stand there again."""
    folder = tmp_path_factory.mktemp("films")
    drawn = list(draw(random_seed=0, sizes=SIZES))
    for path, pixels_HW in drawn:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(film(pixels_HW))
    anomalies = sorted((folder / "train" / "ANOMALY").iterdir())
    by_path = {folder / path: pixels_HW for path, pixels_HW in drawn}
    for path in anomalies[:5]:
        path.write_bytes(film(255 - by_path[path]))
    for number, path in enumerate(anomalies[5:7]):
        path.write_bytes(film(np.full((224, 224 + number), 100)))
    jpeg = encoded(Image.fromarray(by_path[anomalies[7]]), "JPEG")
    anomalies[7].with_suffix(".jpg").write_bytes(jpeg[: len(jpeg) * 2 // 3] + jpeg[-2:])
    anomalies[7].unlink()
    for path in anomalies[8:10]:
        deep = Image.fromarray(np.round(by_path[path] * BITS).astype(np.uint16))
        path.with_name(f"again-{path.stem}.tiff").write_bytes(encoded(deep, "TIFF"))
    (folder / "train" / "ANOMALY" / "film.pdf").write_bytes(b"x")
    return folder


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory, session_store: Path, local_ray: None) -> Run:
    raw = copy.deepcopy(TINY) | {"store": str(session_store), "name": "films", "rounds": 1, "controls": []}
    raw["dataset"] = {"root": str(root), "anomaly": "ANOMALY"}
    raw["split"] |= {"group": r"^(?:again-)?(set\d+)"}
    return run_experiment(parse_config(raw), tmp_path_factory.mktemp("run") / "run")


def test_a_run_reads_the_range_and_tells_what_is_doubtful(run: Run) -> None:
    dataset = run.metrics["dataset"]
    assert dataset["grey_range"] == {"images": 109, "bits": 12, "white": 4095}
    assert {name: dataset[name] for name in ("blank", "inverted", "look_alikes")} == {
        "blank": 2, "inverted": 5, "look_alikes": 4,
    }  # fmt: skip
    assert len(dataset["skipped"]) == 1 and dataset["skipped"][0].endswith("truncated JPEG")
    assert dataset["ignored"] == {"files of another type (.pdf)": 1}
    told = " ".join(run.metrics["warnings"])
    report = (run.directory / "report.html").read_text(encoding="utf-8")
    for part in (
        "109 16-bit images use 12 bits at most and are read with the range 0 to 4095", "2 images are blank",
        "5 images look inverted",
        "4 images of other bytes look the same as a thumbnail, 2 pictures in all",
        "1 unreadable image was skipped", "another type (.pdf)",
    ):  # fmt: skip
        assert part in told, part
        assert part in report, part
    assert json.loads((run.directory / "detector" / "detector.json").read_text())["spec"]["white"] == 4095


def test_score_reads_films_as_the_run_did_and_tells_what_is_doubtful(
    run: Run, root: Path, tmp_path: Path, command: Command
) -> None:
    normal = sorted((root / "test" / "NORMAL").iterdir())[:3]
    samples_HW = np.asarray(Image.open(normal[0]))
    pixels_HW = samples_HW / BITS
    (tmp_path / "odd").mkdir()
    odd = {
        "full.png": film(pixels_HW, 257), "few.png": film(pixels_HW, 2), "inverted.png": film(255 - pixels_HW),
        "eight.png": encoded(Image.fromarray(np.round(pixels_HW).astype(np.uint8))),
        "again.tif": encoded(Image.fromarray(samples_HW), "TIFF"),
    }  # fmt: skip
    for name, data in odd.items():
        (tmp_path / "odd" / name).write_bytes(data)
    ended = command("score", run.directory, *normal, tmp_path / "odd", "--out", tmp_path / "s.parquet")
    rows = {Path(row["path"]).name: row for row in pq.read_table(tmp_path / "s.parquet").to_pylist()}
    held = {Path(row["path"]).name: row for row in pq.read_table(run.directory / "scores.parquet").to_pylist()}
    for path in normal:
        assert rows[path.name]["score"] == pytest.approx(held[path.name]["incremental"], abs=1e-5)
    assert rows["eight.png"]["score"] == pytest.approx(rows[normal[0].name]["score"], abs=0.02)
    assert rows["full.png"]["status"].startswith("samples up to 65") and rows["full.png"]["score"] is None
    for part in (
        "1 image looks inverted", "inverted.png", "1 of 6 16-bit images uses 9 bits at most",
        "3 images of other bytes look the same as a thumbnail, 1 picture in all",
    ):  # fmt: skip
        assert part in ended.err, part
