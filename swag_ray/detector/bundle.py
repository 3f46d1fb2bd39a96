"""Saves and loads a detector bundle: a folder that can be copied anywhere. Nothing in it is unpickled.

detector/detector.json        what it is
detector/arrays.npz           fold models, banks, the seeds' scores that p-values are counted against
detector/backbone.safetensors weights and normalisation of the frozen backbone
detector/trusted.npz          the trusted images, to tell those nearest to a new one; older bundles have none
detector/heat.npz             what heatmaps are measured in; older bundles have none
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from swag_ray.detector.detector import Detector, DetectorArm
from swag_ray.detector.domain import domain_arrays, domain_of
from swag_ray.detector.heatmap import heat_arrays, heat_of
from swag_ray.detector.plain import built
from swag_ray.detector.trial import try_out
from swag_ray.detector.trusted import trusted_arrays, trusted_of
from swag_ray.errors import InputError, reason_of
from swag_ray.features.spec import FeatureSpec
from swag_ray.models.fold_bank import BankSettings
from swag_ray.models.fold_head import ContrastSettings
from swag_ray.record.files import ARRAYS_FILE, BACKBONE_FILE, DETECTOR_FILE, HEAT_FILE, TRUSTED_FILE
from swag_ray.store.stages import Arrays, flat_folds, fold_arrays
from swag_ray.system.files import whole_folder

if TYPE_CHECKING:
    from swag_ray.features.backbone import Backbone

T = TypeVar("T")
FORMAT = 3  # 1 had one head, or none; 2 no seed scores of the arms
UNPACKED = 2**28  # bytes that any bundle's arrays may take, however small the file
SCORES_BY = (ARRAYS_FILE, BACKBONE_FILE)  # the files that scores depend on
FILES = (*SCORES_BY, HEAT_FILE, TRUSTED_FILE)  # beside detector.json, which holds their checksums


@dataclass(frozen=True)
class DescribedArm:
    """What detector.json says of an arm; see `DetectorArm`."""

    name: str
    weight: float
    location: float
    sd: float


@dataclass(frozen=True)
class Described:
    """What detector.json says of a detector; see `Detector`."""

    name: str
    score_used: str
    rate: float
    spec: FeatureSpec
    bank: BankSettings
    head: ContrastSettings | None
    arms: tuple[DescribedArm, ...]


def save_detector(detector: Detector, weights: Arrays, folder: Path) -> None:
    """Write the bundle with its backbone's tensors; the folder appears complete or not at all."""
    from safetensors.numpy import save

    arrays: Arrays = {"seed_s": detector.seed_s, "seed_fold": detector.seed_fold}
    arrays |= flat_folds(detector.models, "model.")
    if detector.banks is not detector.models:
        arrays |= flat_folds(detector.banks, "bank.")
    for arm in detector.arms:
        arrays[f"{arm.name}_arm.seed_s"] = arm.seed_s
        if arm.models is not detector.models:
            arrays |= flat_folds(arm.models, f"{arm.name}_arm.")
    if detector.typical is not None:
        arrays["typical"] = detector.typical
    if detector.domain is not None:
        arrays |= {f"domain.{name}": array for name, array in domain_arrays(detector.domain).items()}
    files = {ARRAYS_FILE: _packed(arrays), BACKBONE_FILE: save(weights)}
    if detector.trusted is not None:
        files[TRUSTED_FILE] = _packed(trusted_arrays(detector.trusted), np.savez_compressed)
    if detector.heat is not None:
        files[HEAT_FILE] = _packed(heat_arrays(detector.heat))
    record = {
        "format": FORMAT, "name": detector.name, "score_used": detector.score_used, "rate": detector.rate,
        "spec": detector.spec.plain(), "bank": asdict(detector.bank),
        "head": asdict(detector.head) if detector.head else None,
        "arms": [
            {"name": arm.name, "weight": arm.weight, "location": arm.location, "sd": arm.sd} for arm in detector.arms
        ],
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }  # fmt: skip
    with whole_folder(folder) as draft:
        for name, data in files.items():
            (draft / name).write_bytes(data)
        (draft / DETECTOR_FILE).write_text(json.dumps(record, indent=2), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)


def load_detector(folder: Path) -> Detector:
    """Read a bundle; its backbone is read by `load_backbone`.

    Raises:
        InputError: not a bundle, damaged, or of another format.
    """
    record = _record(folder)
    arrays = _arrays(folder, record, ARRAYS_FILE)
    trusted = _optional(folder, record, TRUSTED_FILE, trusted_of)
    heat = _optional(folder, record, HEAT_FILE, heat_of)
    try:
        told = built(Described, {name: record[name] for name in Described.__dataclass_fields__})
        flat = {name: a for name, a in arrays.items() if name.startswith("fold")}
        folds = fold_arrays(flat, int(arrays["seed_fold"].astype(np.int8).max()) + 1)
        models = tuple(_part(fold, "model.") for fold in folds)
        banks = tuple(_part(fold, "bank.") for fold in folds)
        arms = tuple(
            DetectorArm(
                **asdict(arm),
                models=tuple(_part(fold, f"{arm.name}_arm.") for fold in folds),
                seed_s=arrays[f"{arm.name}_arm.seed_s"],
            )
            for arm in told.arms
        )
        arms = tuple(arm if arm.models[0] else replace(arm, models=models) for arm in arms)
        detector = Detector(
            name=told.name, score_used=told.score_used, rate=told.rate, spec=told.spec, bank=told.bank, head=told.head,
            seed_s=arrays["seed_s"], seed_fold=arrays["seed_fold"],
            models=models, banks=banks if banks[0] else models, arms=arms, typical=arrays.get("typical"),
            domain=domain_of(_part(arrays, "domain.")), trusted=trusted, heat=heat,
        )  # fmt: skip
        try_out(detector)
    except MemoryError:
        raise
    except Exception as error:  # a file from anywhere: whatever goes wrong in it is its fault
        raise _damaged(folder, DETECTOR_FILE) from error
    return detector


def _packed(arrays: Arrays, save: Callable[..., None] = np.savez) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


def digest_of(folder: Path) -> str:
    """Returns what names a bundle, 16 hex digits: two that score alike have the same. Raises InputError as above."""
    record = _record(folder)
    try:
        scores_by = {key: record[key] for key in ("format", "score_used", "spec", "bank", "head", "arms")}
        scores_by["sha256"] = {name: record["sha256"][name] for name in SCORES_BY}
    except LookupError as error:
        raise _damaged(folder, DETECTOR_FILE) from error
    return hashlib.sha256(json.dumps(scores_by, sort_keys=True).encode()).hexdigest()[:16]


def check_unchanged(folder: Path, digest: str) -> None:
    """Refuses a bundle that a run has put another in the place of since its digest was asked for. Raises InputError."""
    if digest_of(folder) != digest:
        raise InputError("detector: it was replaced while it was read", "start again with the new one")


def load_backbone(folder: Path, spec: FeatureSpec) -> Backbone:
    """The bundle's frozen backbone: no network, no package of weights. Raises InputError when it is damaged."""
    from safetensors.numpy import load

    data = _whole(folder, _record(folder), BACKBONE_FILE)
    try:
        weights = load(data)
        if not all(np.isfinite(tensor).all() for tensor in weights.values()):
            raise ValueError("not finite")
    except Exception as error:
        raise _damaged(folder, BACKBONE_FILE) from error
    try:
        return spec.build(weights)
    except (RuntimeError, LookupError, ValueError, TypeError) as error:
        reason = f"does not fit this timm's {spec.backbone} ({reason_of(error)})"
        raise InputError(f"detector: '{folder / BACKBONE_FILE}' {reason}", "install the timm of the run") from error


def bundle_files(folder: Path) -> dict[str, bytes]:
    """Returns the files of a bundle by name, each as it was written, and no others that its record may name.

    Raises:
        InputError: as `load_detector`.
    """
    record = _record(folder)
    files = {name: _whole(folder, record, name) for name in FILES if name in record["sha256"]}
    return files | {DETECTOR_FILE: (folder / DETECTOR_FILE).read_bytes()}


def _record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / DETECTOR_FILE).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"detector: '{folder}' holds no {DETECTOR_FILE} ({reason_of(error)})",
            "give a run directory or its detector/",
        ) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(folder, DETECTOR_FILE) from error
    if not isinstance(record, dict) or type(record.get("format")) is not int:
        raise InputError(
            f"detector: '{folder / DETECTOR_FILE}' describes no detector of swag-ray",
            "give a run directory or its detector/",
        )
    if record["format"] != FORMAT:
        newer = record["format"] > FORMAT
        raise InputError(
            f"detector: '{folder}' has format {record['format']}, this version reads {FORMAT}",
            "it is newer: update swag-ray" if newer else "it is older: run again, or score with the version of the run",
        )
    if not isinstance(record.get("sha256"), dict):
        raise _damaged(folder, DETECTOR_FILE)
    return record


def _optional(folder: Path, record: dict[str, Any], name: str, of: Callable[[Arrays], T]) -> T | None:
    """What one file that a bundle may lack holds; None where it was made without."""
    if name not in record["sha256"]:
        return None
    arrays = _arrays(folder, record, name)
    try:
        return of(arrays)
    except (ValueError, TypeError, LookupError) as error:
        raise _damaged(folder, name) from error


def _arrays(folder: Path, record: dict[str, Any], name: str) -> Arrays:
    """What one .npz file holds, if it is as it was written."""
    data = _whole(folder, record, name)
    try:
        return _npz(data)
    except Exception as error:
        raise _damaged(folder, name) from error


def _npz(data: bytes) -> Arrays:
    """Arrays of numbers or words, by name.

    Raises:
        Exception: of whatever kind: none, of objects, not finite, or larger than the file can hold.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(info.file_size for info in archive.infolist()) > max(UNPACKED, 20 * len(data)):
            raise ValueError("unpacks to more than a bundle holds")
        for info in archive.infolist():
            with archive.open(info) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
            # numpy makes room for what the header says before it reads.
            if dtype.hasobject or math.prod(shape) * dtype.itemsize > info.file_size:
                raise ValueError(f"{info.filename} is no plain array")
    with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
        arrays = {key: loaded[key] for key in loaded.files}
    if not all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f"):
        raise ValueError("not finite")
    return arrays


def _whole(folder: Path, record: dict[str, Any], name: str) -> bytes:
    """The bytes of one file, if they are those that were written."""
    try:
        data = (folder / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != record["sha256"][name]:
            raise ValueError("checksum")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise _damaged(folder, name) from error
    return data


def _damaged(folder: Path, name: str) -> InputError:
    return InputError(f"detector: '{folder / name}' is damaged or missing", "copy the bundle again, or run again")


def _part(fold: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): a for name, a in fold.items() if name.startswith(prefix)}
