"""A set of DICOM from its files to a score: no name of a tag is found anywhere, and its format changes no score."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from PIL import Image
from pydicom.datadict import DicomDictionary
from pydicom.uid import JPEG2000Lossless

from swag_ray.config import Config, parse_config
from swag_ray.images.check import describe
from swag_ray.images.folders import list_folder
from swag_ray.run.run import Run, run_experiment
from swag_ray.score.score import score_images, score_to_file
from tests.support.dicom import film, saved, twelve_bits
from tests.support.images import blocks
from tests.whole.test_privacy import saying

pytestmark = pytest.mark.ray
NAME = "Planted"
SIDE = 64
TEXTS = ("PN", "LO", "SH", "ST", "LT", "UT", "UC", "AE", "CS")
NEEDED = ("PhotometricInterpretation",)


def patient_of(seed: int) -> str:
    return f"{NAME} {seed // 2}"


def planted(seed: int, **changes: Any) -> bytes:
    """A film with the name in all of the standard's text tags but the one that says what a sample is."""
    dataset = film(twelve_bits(np.asarray(blocks(seed, SIDE))), **changes)
    for tag, (kind, _, _, _, keyword) in DicomDictionary.items():
        if kind in TEXTS and tag >> 16 > 8 and tag >> 16 not in (0x7FE0, 0x0028) and keyword:
            dataset.add_new(tag, kind, f"{NAME.upper() if kind == 'CS' else NAME} {keyword[:4]}"[:16])
    for keyword in ("Modality", "InstitutionName", "StudyDescription", "ReferringPhysicianName", "VOILUTFunction"):
        setattr(dataset, keyword, f"{NAME} x")
    dataset.PatientID = patient_of(seed)
    return saved(dataset)


def torn(seed: int) -> dict[str, bytes]:
    """Files that cannot be read, each for the sake of what stands in a tag."""
    whole = planted(seed, WindowCenter="1", WindowWidth="2")
    text = f"{NAME}12".encode()
    return {
        "cut": whole[: len(whole) // 2],
        "charset": planted(seed + 1, SpecificCharacterSet=f"{NAME}"),
        "number": planted(seed + 2, RescaleSlope="7654321.9", RescaleIntercept="0").replace(b"7654321.9 ", text + b" "),
        "kind": planted(seed + 3, PhotometricInterpretation=NAME),
        "frames": planted(seed + 4, NumberOfFrames="12345678").replace(b"12345678", text[:8]),
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dicom")
    seed = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is written wrong on purpose
        for split, count in (("train", 24), ("test", 8)):
            for label in ("NORMAL", "SICK"):
                folder = root / "images" / split / label
                folder.mkdir(parents=True)
                for number in range(count if label == "NORMAL" else count // 2):
                    seed += 1
                    more = {"syntax": JPEG2000Lossless} if number % 4 == 0 else {}
                    (folder / f"IM{number:06d}").write_bytes(planted(seed, **more))
        for name, data in torn(500).items():
            (root / "images" / "train" / "NORMAL" / f"{name}.dcm").write_bytes(data)
    return root


def config_of(place: Path) -> Config:
    return parse_config(
        {
            "name": "dicom", "dataset": {"root": str(place / "images"), "anomaly": "SICK"},
            "split": {"seed_fraction": 0.5, "folds": 2, "group": "patient_id"},
            "backbone": {"image_size": 64, "strides": [8, 16], "grid": 4},
            "head": {"warmup_epochs": 2, "swag_epochs": 2}, "swag": {"samples": 2},
            "gate": {"budget": 5}, "rounds": 1, "controls": ["seed_only"], "store": str(place / "store"),
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(place: Path, local_ray: None) -> Iterator[Run]:
    yield run_experiment(config_of(place), place / "run")


def test_no_name_of_a_tag_is_found_anywhere(
    run: Run, place: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    words = (NAME, NAME.upper(), NAME.encode("utf-16-le").decode("latin-1"))
    assert saying(place / "images", *words), "it is planted"
    refused = json.loads((run.directory / "metrics.json").read_text())["dataset"]
    assert refused["split"]["seed_groups"] < refused["split"]["seed"], "two films are of one patient"
    assert "cut.dcm" in json.dumps(refused) and "kind.dcm" in json.dumps(refused)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        score_to_file(run.directory, [place / "images"], place / "scores.csv")
        listing = list_folder(place / "images", normal="NORMAL", anomaly=["SICK"], group="patient_id")
        found = describe(listing, seed_fraction=0.5, folds=2)
    assert len(found.unreadable) >= 3
    assert saying(run.directory, *words) == saying(place / "store", *words) == set()
    logs = Path(ray._private.worker._global_node.get_logs_dir_path())  # type: ignore[union-attr]
    assert list(logs.glob("worker-*")) and saying(logs, *words) == set()
    lines = "".join(capfd.readouterr()) + caplog.text + str(found) + "".join(str(w.message) for w in said)
    lines += (place / "scores.csv").read_text()
    assert not [word for word in words if word in lines]
    ids = pq.read_table(run.directory / "scores.parquet")["id"].to_pylist()
    assert all(len(name) == 16 and set(name) <= set("0123456789abcdef") for name in ids)


def test_one_film_has_one_score_in_every_format(run: Run, tmp_path: Path) -> None:
    films = range(777, 782)
    for seed in films:
        grey = np.asarray(blocks(seed, SIDE))
        twelve = twelve_bits(grey)
        data = io.BytesIO()
        Image.fromarray(grey).save(data, "PNG")
        files = {
            "film.png": data.getvalue(), "two.dcm": saved(film(twelve)),
            "packed": saved(film(twelve, syntax=JPEG2000Lossless)),
            "one.dcm": saved(film(4095 - twelve, PhotometricInterpretation="MONOCHROME1")),
            "inverse.dcm": saved(film(4095 - twelve)),
        }  # fmt: skip
        (tmp_path / str(seed)).mkdir()
        for name, content in files.items():
            (tmp_path / str(seed) / name).write_bytes(content)
    rows = score_images("score", run.directory, [tmp_path]).table.to_pylist()
    score = {tuple(Path(row["path"]).parts[-2:]): row["score"] for row in rows}
    same, inverse = [], []
    for seed in map(str, films):
        own = score[seed, "film.png"]
        same += [abs(score[seed, name] - own) for name in ("two.dcm", "packed", "one.dcm")]
        inverse.append(abs(score[seed, "inverse.dcm"] - own))
    assert max(same) < 1e-5, "rounding in batches of other sizes"
    assert max(inverse) > 1e-3, "an inverted film may score alike by chance, but not each"
