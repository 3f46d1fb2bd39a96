"""The K fold models as one thing that scores images: saved with its backbone, copied anywhere, loaded without
unpickling.

    detector/detector.json        what it is
    detector/arrays.npz           fold models, banks, the seeds' scores that p-values are counted against
    detector/backbone.safetensors weights and normalisation of the frozen backbone

Shapes: n images, P patches, K folds.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.core import calibrate, head
from swag_ray.core.head import HeadSettings
from swag_ray.core.score import image_score
from swag_ray.data.features import FeatureReader, FeatureSpec, Patches, Rows, extract
from swag_ray.errors import InputError
from swag_ray.methods import contrast
from swag_ray.methods.contrast import ContrastSettings
from swag_ray.methods.patch_bank import BankSettings, distances
from swag_ray.stages import Arrays, fold_arrays

if TYPE_CHECKING:
    from swag_ray.core.backbone import Backbone

FORMAT = 1
RECORD, ARRAYS, BACKBONE = "detector.json", "arrays.npz", "backbone.safetensors"
CHUNK = 64


@dataclass(frozen=True)
class Detector:
    """Scores new images as the run's last fit scored its test images.

    Attributes:
        name: of the run.
        score_used: `head`, `bank` (with adapter) or `seed_bank`.
        spec: the features it reads.
        bank: settings of the patch distance.
        head: settings of the head; None where no head scores.
        rate: false-positive rate of `above_threshold`.
        seed_s, seed_fold: (n,) cross-fitted seed scores and their folds.
        models: per fold, what gives the score.
        banks: per fold, what gives the heatmap.
    """

    name: str
    score_used: str
    spec: FeatureSpec
    bank: BankSettings
    head: ContrastSettings | None
    rate: float
    seed_s: NDArray[np.float64]
    seed_fold: NDArray[np.int8]
    models: tuple[Arrays, ...]
    banks: tuple[Arrays, ...]

    def scores(self, patches: Patches) -> NDArray[np.float64]:
        """Scores of every fold, (n, K), of {stride: (n, P, C) float16} features."""
        if self.score_used == "head":
            assert self.head is not None
            pooled = head.pool_features(patches, self.head.grid)
            columns = [contrast.logits(pooled, fold).mean(axis=1, dtype=np.float64) for fold in self.models]
        else:
            columns = [image_score(d, self.bank.top_fraction) for d in self._distances(patches, self.models)]
        return np.stack(columns, axis=1).astype(np.float64)

    def p_values(self, score_nK: NDArray[np.float64]) -> NDArray[np.float64]:
        """Cross-conformal p-values (n,)."""
        return calibrate.cross_conformal_p(self.seed_s, self.seed_fold, score_nK)

    def distance_maps(self, patches: Patches) -> NDArray[np.float32]:
        """Patch distances to the memory banks, mean over the folds: (n, G, G)."""
        mean_nP = np.mean(self._distances(patches, self.banks), axis=0)
        return mean_nP.reshape(len(mean_nP), self.spec.grid, self.spec.grid).astype(np.float32)

    def evidence_maps(self, patches: Patches) -> NDArray[np.float32] | None:
        """Each place's share of the head's logit, mean over the folds: (n, g, g); None without a head."""
        if self.score_used != "head" or self.head is None:
            return None
        grid, channels = self.head.grid, [patches[s].shape[-1] for s in sorted(patches)]
        pooled = head.pool_features(patches, grid)
        maps = [contrast.evidence(pooled, fold, channels, grid) for fold in self.models]
        return np.mean(maps, axis=0).astype(np.float32)

    def _distances(self, patches: Patches, folds: tuple[Arrays, ...]) -> list[NDArray[np.float32]]:
        held = {s: patches[s] for s in self.bank.strides}
        if self.score_used == "bank":
            from swag_ray.methods import published  # torch, which no other detector needs

            return [published.distances(held, fold, self.bank) for fold in folds]
        return [distances(held, fold, self.bank) for fold in folds]


def score_maps(reader: FeatureReader, rows: Rows, detector: Detector) -> Arrays:
    """Maps of these images for the report, as one task: `distance` (n, G, G), and `evidence` where there is a head."""
    patches = reader.patches(rows, detector.spec.strides)
    evidence = detector.evidence_maps(patches)
    maps: Arrays = {"distance": detector.distance_maps(patches)}
    return maps if evidence is None else maps | {"evidence": evidence}


def save_detector(detector: Detector, weights: Arrays, folder: Path) -> None:
    """Write the bundle with its backbone's tensors; the folder appears complete or not at all."""
    from safetensors.numpy import save

    arrays = {"seed_s": detector.seed_s, "seed_fold": detector.seed_fold}
    arrays |= {f"fold{k}.model.{n}": a for k, fold in enumerate(detector.models) for n, a in fold.items()}
    if detector.banks is not detector.models:
        arrays |= {f"fold{k}.bank.{n}": a for k, fold in enumerate(detector.banks) for n, a in fold.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    files = {ARRAYS: buffer.getvalue(), BACKBONE: save(weights)}
    record = {
        "format": FORMAT, "name": detector.name, "score_used": detector.score_used, "rate": detector.rate,
        "spec": asdict(detector.spec), "bank": asdict(detector.bank),
        "head": asdict(detector.head) if detector.head else None,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }  # fmt: skip
    temporary = folder.with_name(folder.name + ".tmp")
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (temporary / name).write_bytes(data)
        (temporary / RECORD).write_text(json.dumps(record, indent=2))
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def load_detector(folder: Path) -> Detector:
    """Read a bundle; its backbone is read by `load_backbone`.

    Raises:
        InputError: not a bundle, damaged, or of another format.
    """
    record = _record(folder)
    data = _whole(folder, record, ARRAYS)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in loaded.files}
        flat = {name: a for name, a in arrays.items() if name.startswith("fold")}
        folds = fold_arrays(flat, int(arrays["seed_fold"].max()) + 1)
        models = tuple(_part(fold, "model.") for fold in folds)
        banks = tuple(_part(fold, "bank.") for fold in folds)
        spec = record["spec"] | {"strides": tuple(record["spec"]["strides"])}
        bank = record["bank"] | {"strides": tuple(record["bank"]["strides"])}
        h = record["head"]
        if h is not None:
            h = ContrastSettings(**h | {"strides": tuple(h["strides"]), "fit": HeadSettings(**h["fit"])})
        return Detector(
            name=record["name"], score_used=record["score_used"], rate=record["rate"],
            spec=FeatureSpec(**spec), bank=BankSettings(**bank), head=h,
            seed_s=arrays["seed_s"], seed_fold=arrays["seed_fold"],
            models=models, banks=banks if banks[0] else models,
        )  # fmt: skip
    except (ValueError, TypeError, LookupError, zipfile.BadZipFile) as error:
        raise _damaged(folder, RECORD) from error


def load_backbone(folder: Path, spec: FeatureSpec) -> Backbone:
    """The bundle's frozen backbone: no network, no package of weights. Raises InputError when it is damaged."""
    from safetensors.numpy import load

    data = _whole(folder, _record(folder), BACKBONE)
    try:
        return spec.build(load(data))
    except (RuntimeError, LookupError) as error:
        reason = f"does not fit this timm's {spec.backbone} ({str(error).splitlines()[0]})"
        raise InputError(f"detector: '{folder / BACKBONE}' {reason}; install the timm of the run") from error


def _record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / RECORD).read_text())
    except OSError as error:
        raise InputError(
            f"detector: '{folder}' holds no {RECORD} ({error.strerror}); give a run directory or its detector/"
        ) from error
    except ValueError as error:
        raise _damaged(folder, RECORD) from error
    if not isinstance(record, dict) or "format" not in record:
        raise _damaged(folder, RECORD)
    if record["format"] != FORMAT:
        raise InputError(f"detector: '{folder}' has format {record['format']}, this version reads {FORMAT}")
    return record


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
    return InputError(f"detector: '{folder / name}' is damaged or missing; copy the bundle again, or run again")


def score_files(folder: Path, paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Score image files with the bundle in `folder`, in this process.

    Yields:
        path, score, p, above_threshold, seconds (its share of its batch's time), error (None, or why it cannot be
        read).
    """
    import torch

    detector = load_detector(folder)
    backbone = load_backbone(folder, detector.spec)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as the run's actors: with more, torch convolves otherwise and scores differ a little
    try:
        for i in range(0, len(paths), CHUNK):
            yield from _scored(detector, backbone, paths[i : i + CHUNK])
    finally:
        torch.set_num_threads(before)


def _scored(detector: Detector, backbone: Backbone, chunk: Sequence[Path]) -> Iterator[dict[str, Any]]:
    spec, start = detector.spec, time.perf_counter()
    data, denied = zip(*map(_read, chunk), strict=True)
    rows = list(extract(backbone, data, spec.image_size))
    for row, reason in zip(rows, denied, strict=True):
        row["error"] = reason or row["error"]
    good = [row["features"] for row in rows if row["error"] is None]
    if good:
        score_nK = detector.scores({s: np.stack([f[s] for f in good]) for s in spec.strides})
        values = iter(zip(score_nK.mean(axis=1), detector.p_values(score_nK), strict=True))
    seconds = (time.perf_counter() - start) / len(chunk)
    for path, row in zip(chunk, rows, strict=True):
        score, p = next(values) if row["error"] is None else (None, None)
        yield {
            "path": os.fsencode(path).decode(errors="replace"),  # a name may be of another encoding
            "score": None if score is None else float(score), "p": None if p is None else float(p),
            "above_threshold": None if p is None else bool(p <= detector.rate),
            "seconds": seconds, "error": row["error"],
        }  # fmt: skip


def _read(path: Path) -> tuple[bytes, str | None]:
    """A file's bytes, or none and why."""
    try:
        return path.read_bytes(), None
    except OSError as error:
        return b"", error.strerror or str(error)


def _part(fold: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): a for name, a in fold.items() if name.startswith(prefix)}
