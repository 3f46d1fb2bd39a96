"""Read a run directory: what is damaged is refused in one line, what is absent stays absent.

Shapes: R rows of rounds.parquet, T test images, n images shown, H x W their size, G and g the grids of the two maps.
Labels are int8: 1 anomaly, 0 normal, -1 unknown.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from swag_ray.errors import InputError
from swag_ray.record.files import (
    CONFIG_FILE,
    MANIFEST_FILE,
    METRICS_FILE,
    OVERLAYS_FILE,
    ROUNDS_FILE,
    SCORES_FILE,
)
from swag_ray.record.run_metrics import DetectorMetrics, RunMetrics

SCORED_BY = {
    "incremental": "Incremental (this run)",
    "seed_only": "Seed only",
    "full_train": "Full train (all train normals)",
    "random_admission": "Random admission",
    "oracle_gate": "Oracle gate (true normals only)",
    "supervised": "Supervised (true labels)",
}


@dataclass(frozen=True)
class PoolRounds:
    """rounds.parquet. `ever_R`: admitted in this row's round or an earlier one."""

    round_R: NDArray[np.int64]
    z_R: NDArray[np.float64]
    p_R: NDArray[np.float64]
    label_R: NDArray[np.int8]
    ever_R: NDArray[np.bool_]

    @property
    def rounds(self) -> list[int]:
        return [int(r) for r in np.unique(self.round_R)]


@dataclass(frozen=True)
class TestScores:
    """scores.parquet. `score` holds a (T,) array per method, `p_T` (NaN: none) belongs to the incremental score."""

    __test__ = False  # pytest: not a test class

    id: list[str]
    kind: list[str | None]
    label_T: NDArray[np.int8]
    score: dict[str, NDArray[np.float64]]
    p_T: NDArray[np.float64]

    @property
    def both_classes(self) -> bool:
        return bool((self.label_T == 1).any() and (self.label_T == 0).any())


@dataclass(frozen=True)
class Overlays:
    """overlays.npz: the first half are the highest-scored test images, the second half the lowest-scored."""

    id: list[str]
    score_n: NDArray[np.float64]
    p_n: NDArray[np.float64] | None
    label_n: NDArray[np.int8]
    image_nHW: NDArray[np.uint8]
    distance_nGG: NDArray[np.float32] | None
    evidence_ngg: NDArray[np.float32] | None


@dataclass(frozen=True)
class RunRecord:
    folder: Path
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    metrics: RunMetrics
    pool: PoolRounds
    scores: TestScores | None
    overlays: Overlays | None

    def settings(self, key: str) -> Mapping[str, Any]:
        """A section of config.yaml, empty where absent; InputError where it is no table."""
        return nested(self.folder / CONFIG_FILE, self.config, key)

    @property
    def methods(self) -> list[tuple[str, str, DetectorMetrics]]:
        """(key, name, figures) of every method that was evaluated, this run's first."""
        found = {"incremental": self.metrics.incremental, **self.metrics.baselines}
        order = [*SCORED_BY, *sorted(set(found) - set(SCORED_BY))]
        return [(key, SCORED_BY.get(key, key), found[key]) for key in order if found.get(key)]


def nested(path: Path, table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Returns a table within the table that a file holds, empty where absent.

    Raises:
        InputError: the key holds something else than a table.
    """
    value = table.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InputError(f"{path}: {key} is not a table", "restore the file")
    return value


def read_run(folder: Path) -> RunRecord:
    """Everything the page needs.

    Raises:
        InputError: not a run directory, a file missing or damaged.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder", "give the directory of a finished run")
    metrics = RunMetrics.read(read_mapping(folder, METRICS_FILE))
    config = read_mapping(folder, CONFIG_FILE)
    options = nested(folder / CONFIG_FILE, config, "report")
    has_scores = (folder / SCORES_FILE).exists()
    if not has_scores and metrics.incremental:
        raise _missing(folder / SCORES_FILE)
    overlays = folder / OVERLAYS_FILE
    return RunRecord(
        folder=folder,
        config=config,
        manifest=read_mapping(folder, MANIFEST_FILE),
        metrics=metrics,
        pool=_pool(folder / ROUNDS_FILE),
        scores=_scores(folder / SCORES_FILE) if has_scores else None,
        overlays=_overlays(overlays) if options.get("images", True) and overlays.exists() else None,
    )


def _missing(path: Path) -> InputError:
    return InputError(f"{path}: missing", "give the directory of a finished run, or finish it with --resume")


def damaged(path: Path, error: object) -> InputError:
    """The error to raise for a file whose content is not what it should be, in one line."""
    reason = " ".join(str(error).split())[:200]
    return InputError(f"{path}: cannot be read ({reason})", "restore the file or run the experiment again")


def read_mapping(folder: Path, name: str) -> Mapping[str, Any]:
    """A YAML or JSON file that holds a table; InputError where it is missing or damaged."""
    path = folder / name
    try:
        text = path.read_text(encoding="utf-8")
        value = yaml.safe_load(text) if name.endswith(".yaml") else json.loads(text)
    except FileNotFoundError:
        raise _missing(path) from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise damaged(path, error) from None
    if not isinstance(value, Mapping):
        raise damaged(path, "not a table of keys and values")
    return value


def read_table(path: Path, required: Sequence[str]) -> pa.Table:
    """A Parquet file with at least the required columns; InputError where it is missing or damaged."""
    if not path.exists():
        raise _missing(path)
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, error) from None
    absent = [name for name in required if name not in table.column_names]
    if absent:
        raise damaged(path, f"no column {', '.join(absent)}")
    return table


def _floats(table: pa.Table, name: str) -> NDArray[np.float64]:
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    column = pc.fill_null(table[name].cast(pa.float64()), np.nan)
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _labels(table: pa.Table) -> NDArray[np.int8]:
    if "label" not in table.column_names or pa.types.is_null(table["label"].type):
        return np.full(table.num_rows, -1, dtype=np.int8)
    column = pc.fill_null(table["label"].cast(pa.int8()), -1)
    return np.asarray(column.to_numpy(), dtype=np.int8)


def _pool(path: Path) -> PoolRounds:
    table = read_table(path, ["round", "id", "z_s"])
    try:
        round_R = np.asarray(table["round"].to_numpy(), dtype=np.int64)
        admitted_R = np.zeros(table.num_rows, dtype=bool)
        if "admitted" in table.column_names:
            admitted_R = np.asarray(pc.fill_null(table["admitted"].cast(pa.bool_()), False).to_numpy(), dtype=bool)
        _, image_R = np.unique(np.asarray(table["id"].to_pylist(), dtype=str), return_inverse=True)
        first = np.full(int(image_R.max(initial=-1)) + 1, np.iinfo(np.int64).max)
        np.minimum.at(first, image_R[admitted_R], round_R[admitted_R])
        z_R, p_R, label_R = _floats(table, "z_s"), _floats(table, "p"), _labels(table)
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise damaged(path, error) from None
    return PoolRounds(round_R, z_R, p_R, label_R, first[image_R] <= round_R)


def _scores(path: Path) -> TestScores:
    table = read_table(path, ["id"])
    try:
        score = {name: _floats(table, name) for name in SCORED_BY if name in table.column_names}
        kind = table["kind"].to_pylist() if "kind" in table.column_names else [None] * table.num_rows
        return TestScores(
            id=[str(value) for value in table["id"].to_pylist()],
            kind=[None if value is None else str(value) for value in kind],
            label_T=_labels(table),
            score={name: s_T for name, s_T in score.items() if np.isfinite(s_T).any()},
            p_T=_floats(table, "p"),
        )
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise damaged(path, error) from None


def _overlays(path: Path) -> Overlays:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            held = {name: arrays[name] for name in arrays.files}
        count = len(held["id"])
        wrong = [name for name, array in held.items() if array.ndim == 0 or len(array) != count]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: not one entry per image")
        dimensions = {"score": 1, "p": 1, "label": 1, "image": 3, "distance": 3, "evidence": 3}
        wrong = [name for name, ndim in dimensions.items() if name in held and held[name].ndim != ndim]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: wrong shape")
        label_n = np.nan_to_num(np.asarray(held["label"], dtype=np.float64), nan=-1) if "label" in held else None
        return Overlays(
            id=[str(value) for value in held["id"]],
            score_n=np.asarray(held["score"], dtype=np.float64),
            p_n=np.asarray(held["p"], dtype=np.float64) if "p" in held else None,
            label_n=np.full(count, -1, np.int8) if label_n is None else label_n.astype(np.int8),
            image_nHW=np.asarray(held["image"], dtype=np.uint8),
            distance_nGG=np.asarray(held["distance"], dtype=np.float32) if "distance" in held else None,
            evidence_ngg=np.asarray(held["evidence"], dtype=np.float32) if "evidence" in held else None,
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise damaged(path, error) from None
