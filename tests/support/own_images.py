"""Image sets as people have them, made of real films, for what `init` and a run make of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.dicom import film, saved, twelve_bits

NORMALS, ANOMALIES = 36, 24


@dataclass(frozen=True)
class Films:
    """Real films, with the names that they were published by."""

    normal: list[Path]
    abnormal: list[Path]


def films_of(root: Path) -> Films:
    """The first films of the train part of chest_xray: NORMALS and ANOMALIES of them."""
    parts = [sorted((root / "train" / name).iterdir()) for name in ("NORMAL", "PNEUMONIA")]
    return Films(parts[0][:NORMALS], parts[1][:ANOMALIES])


def put(films: Sequence[Path], folder: Path) -> None:
    """Copies films into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in films:
        shutil.copy(one, folder / one.name)


def training_and_testing(films: Films, place: Path) -> list[Path]:
    root = place / "brain"
    put(films.normal[:26], root / "Training" / "notumor")
    put(films.abnormal[:12], root / "Training" / "glioma")
    put(films.abnormal[12:16], root / "Training" / "pituitary")
    put(films.normal[26:], root / "Testing" / "notumor")
    put(films.abnormal[16:], root / "Testing" / "glioma")
    (root / "readme.txt").write_text("of no matter")
    return [root]


def classes_without_split(films: Films, place: Path) -> list[Path]:
    root = place / "set"
    put(films.normal, root / "data" / "Healthy")
    put(films.abnormal, root / "data" / "sick")
    put([], root / "data" / "empty")
    return [root]


def normals_and_unknowns(films: Films, place: Path) -> list[Path]:
    seeds, pool = place / "clinic" / "normals", place / "clinic" / "unknown"
    put(films.normal[:24], seeds)
    put([*films.normal[24:], *films.abnormal], pool)
    return [seeds, pool]


def folder_a_patient(films: Films, place: Path) -> list[Path]:
    seeds, pool = place / "trusted", place / "pool"
    for part, images in ((seeds, films.normal), (pool, films.abnormal)):
        for number, one in enumerate(images):
            put([one], part / f"P{number // 2:03}" / f"study{number % 2}")
    return [seeds, pool]


def csv_table(films: Films, place: Path) -> list[Path]:
    put([*films.normal, *films.abnormal], place / "films")
    lines = ["path,label,group,age"]
    lines += [f"films/{one.name},Healthy,n{number // 2},{number}" for number, one in enumerate(films.normal)]
    lines += [f"films/{one.name},Pneumonia,a{number // 2},{number}" for number, one in enumerate(films.abnormal)]
    (place / "films.csv").write_text("\n".join(lines))
    return [place / "films.csv"]


def dicom_tree(films: Films, place: Path, patient: Callable[[int], str] = lambda number: f"Planted {number // 2}",
               ) -> list[Path]:  # fmt: skip
    """A PACS export: ST/SE/IM folders, names without suffix, a DICOMDIR; two films a patient, some MONOCHROME1."""
    folders = [place / "export" / name for name in ("trusted", "unknown")]
    number = 0
    for folder, images in zip(folders, (films.normal, films.abnormal), strict=True):
        for one in images:
            samples = twelve_bits(np.asarray(Image.open(one).convert("L")))
            tags = {"PatientID": patient(number), "PatientName": patient(number)}
            if number % 3 == 0:
                samples, tags = 4095 - samples, tags | {"PhotometricInterpretation": "MONOCHROME1"}
            at = folder / f"ST{number // 8:06}" / f"SE{number % 2:06}"
            at.mkdir(parents=True, exist_ok=True)
            (at / f"IM{number:06}").write_bytes(saved(film(samples, **tags)))
            number += 1
        (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + b"1.2.840.10008.1.3.10" + bytes(900))
    return folders


def data_json(films: Films, place: Path) -> list[Path]:
    root = place / "RSNA"
    put([*films.normal, *films.abnormal], root / "images")
    normals, anomalies = ([one.name for one in part] for part in (films.normal, films.abnormal))
    lists = {
        "train": {"0": normals[:20], "unlabeled": {"0": normals[20:26], "1": anomalies[:10]}},
        "test": {"0": normals[26:], "1": anomalies[10:]},
    }
    (root / "data.json").write_text(json.dumps(lists))
    return [root]


SEVEN: dict[str, Callable[[Films, Path], list[Path]]] = {
    "Training and Testing": training_and_testing,
    "classes without a split": classes_without_split,
    "normals and unknowns": normals_and_unknowns,
    "a folder a patient": folder_a_patient,
    "a CSV": csv_table,
    "a tree of DICOM": dicom_tree,
    "data.json of MedIAnomaly": data_json,
}
