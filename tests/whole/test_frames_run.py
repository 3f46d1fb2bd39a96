"""`dataset.frames: all` from DICOM of several frames to a score: a row a frame, all of a file in one fold, no name."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from pydicom.uid import JPEG2000Lossless

from swag_ray.config import Config, parse_config
from swag_ray.doctor.dataset import describe_dataset
from swag_ray.errors import InputError
from swag_ray.experiment.datasets import list_images
from swag_ray.experiment.source import split_table
from swag_ray.images.frames import ALL, file_and_frame
from swag_ray.run.run import Run, run_experiment
from swag_ray.score.score import score_images, score_to_file
from swag_ray.store.store import Store
from tests.support.dicom import film, saved, twelve_bits
from tests.support.images import blocks
from tests.whole.test_privacy import saying

pytestmark = pytest.mark.ray
NAME = "Planted"
SIDE = 48
FRAMES, FILES, SINGLE = 3, 8, 6  # of a class's training part


def loop(first: int, frames: int, **more: Any) -> bytes:
    samples = np.stack([twelve_bits(np.asarray(blocks(first + n, SIDE))) for n in range(frames)])
    return saved(film(samples if frames > 1 else samples[0], PatientName=f"{NAME}^A", PatientID=NAME, **more))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, seed = tmp_path_factory.mktemp("frames"), 0
    for split, share in (("train", 1), ("test", 2)):
        for label in ("NORMAL", "SICK"):
            folder = root / "images" / split / label
            folder.mkdir(parents=True)
            for number in range(FILES // share):
                more = {"syntax": JPEG2000Lossless} if number % 3 == 0 else {}
                (folder / f"{NAME}{number}.dcm").write_bytes(loop(seed, FRAMES, **more))
                seed += FRAMES
            for number in range(SINGLE // share):
                (folder / f"IM{number:04d}").write_bytes(loop(seed, 1))
                seed += 1
    leak = (root / "images" / "train" / "NORMAL" / f"{NAME}1.dcm").read_bytes()
    (root / "images" / "test" / "NORMAL" / f"{NAME}leak").write_bytes(leak)
    lying = root / "images" / "train" / "SICK" / "lying.dcm"
    lying.write_bytes(loop(seed, FRAMES, NumberOfFrames="9000"))
    return root


def config_of(place: Path, *changes: str) -> Config:
    dataset = {"root": str(place / "images"), "anomaly": "SICK", "frames": "all"}
    raw = {
        "name": "frames", "dataset": dataset, "split": {"seed_fraction": 0.5, "folds": 2},
        "backbone": {"image_size": 64, "strides": [8, 16], "grid": 4},
        "head": {"warmup_epochs": 2, "swag_epochs": 2}, "swag": {"samples": 2}, "report": {"anonymous": True},
        "gate": {"budget": 5}, "rounds": 1, "controls": ["seed_only"], "store": str(place / "store"),
    }  # fmt: skip
    return parse_config(raw, list(changes))


@pytest.fixture(scope="module")
def run(place: Path, local_ray: None) -> Iterator[Run]:
    yield run_experiment(config_of(place, "report.anonymous=false"), place / "run")


@pytest.fixture(scope="module")
def anonymous(place: Path, run: Run) -> Iterator[Run]:
    yield run_experiment(config_of(place), place / "anonymous")


def test_a_row_a_frame_and_a_fold_a_file(run: Run, place: Path) -> None:
    facts = json.loads((run.directory / "metrics.json").read_text())["dataset"]
    per_part = FILES * FRAMES + SINGLE
    assert facts["images"] == 2 * per_part + 2 * (per_part // 2)
    (unread,) = facts["skipped"]
    assert "lying.dcm: a DICOM of 9000 frames by its header, which are more than it holds" in unread
    config = config_of(place)
    table = list_images(config, Store(config.store)).table
    split = split_table(config, table)
    parts: dict[str, set[Any]] = defaultdict(set)
    for path, role, fold in zip(table["path"].to_pylist(), split.role_N, split.fold_N, strict=True):
        parts[str(file_and_frame(Path(path), ALL)[0])].add((int(role), int(fold)))
    assert len(parts) == 2 * (FILES + SINGLE) * 3 // 2 + 1 and all(len(part) == 1 for part in parts.values())
    seeds = pq.read_table(run.directory / "seeds.parquet").to_pylist()
    folds: dict[str, set[int]] = defaultdict(set)
    for row in seeds:
        folds[str(file_and_frame(Path(row["path"]), ALL)[0])].add(row["fold"])
    assert len(seeds) > len(folds) and all(len(fold) == 1 for fold in folds.values())
    pool = pc.read_csv(run.directory / "pool.csv").to_pylist()
    assert len({row["path"] for row in pool}) == len(pool) == facts["split"]["pool"]
    of_files = defaultdict(list)
    for row in pool:
        of_files[str(file_and_frame(Path(row["path"]), ALL)[0])].append(row["score"])
    for name, found in of_files.items():
        assert len(found) == (1 if "IM" in name else FRAMES), "all frames of a file are in the pool, or none"
        assert len(set(found)) == len(found), "each has a score of its own"


def test_the_bundle_scores_each_frame_as_the_run_did(run: Run, place: Path, tmp_path: Path) -> None:
    scored = score_images("score", run.directory, [place / "images" / "test"]).table.to_pylist()
    by_run = {row["path"]: row for row in pq.read_table(run.directory / "scores.parquet").to_pylist()}
    root = place / "images"
    found = {str(Path(row["path"]).relative_to(root)): row["score"] for row in scored}
    leaked = {path for path in found if "leak" in path}
    assert found.keys() - leaked == by_run.keys() and len(by_run) == FILES * FRAMES + SINGLE and len(leaked) == FRAMES
    for path, row in by_run.items():
        assert found[path] == pytest.approx(row["incremental"], rel=1e-4), path
    score_to_file(run.directory, [root / "train" / "SICK"], tmp_path / "scores.csv")
    rows = pc.read_csv(tmp_path / "scores.csv").to_pylist()
    assert len(rows) == FILES * FRAMES + SINGLE + 1
    (bad,) = [row for row in rows if row["status"] != "scored"]
    assert bad["path"].endswith("lying.dcm") and bad["status"].startswith("a DICOM of 9000 frames by its header")
    odd = tmp_path / "x#frame=1"
    odd.write_bytes(loop(5, 2))
    with pytest.raises(InputError, match=r"^score: the file name 'x#frame=1' is what dataset.frames: all calls"):
        score_images("score", run.directory, [odd])


def test_the_check_of_the_config_reads_each_frame(place: Path) -> None:
    found = describe_dataset(config_of(place))
    assert [figures.images for figures in found.classes] == [30, 31, 15, 15]
    assert [path.rpartition("/")[2] for path in found.unreadable] == ["lying.dcm"]
    refused = describe_dataset(config_of(place, "dataset.frames=refuse"))
    assert len(refused.unreadable) == 3 * FILES + 1


def test_features_are_shared_with_the_frames_themselves(run: Run, anonymous: Run, place: Path) -> None:
    first, second = (json.loads((x.directory / "metrics.json").read_text()) for x in (run, anonymous))
    assert first["dataset"]["split"] == second["dataset"]["split"]
    assert len(list((place / "store" / "features").iterdir())) == 1


def test_no_name_is_found_anywhere(anonymous: Run, place: Path) -> None:
    words = (NAME, NAME.upper(), NAME.encode("utf-16-le").decode("latin-1"))
    assert saying(place / "images", *words), "it is planted"
    assert saying(anonymous.directory, *words) == saying(place / "store", *words) == set()
    said = (anonymous.directory / "metrics.json").read_text()
    assert "3 test images are also in train" in said and "lying.dcm" not in said
