"""Read a run directory: what is damaged is refused in one line, what is absent stays absent.

Shapes: T test images, n seeds.
Labels are int8: 1 anomaly, 0 normal, -1 unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from swag_ray.errors import InputError
from swag_ray.record.changes import Changes, read_changes
from swag_ray.record.files import (
    CHANGES_FILE,
    CONFIG_FILE,
    MANIFEST_FILE,
    METRICS_FILE,
    OVERLAYS_FILE,
    POOL_FILE,
    ROUNDS_FILE,
    SCORES_FILE,
    SEEDS_FILE,
)
from swag_ray.record.run_metrics import DetectorMetrics, RunMetrics
from swag_ray.report.page.reading import damaged, missing, nested, read_mapping
from swag_ray.report.run.paper_figures import FIGURES, Published, TestSet, check_published, difference
from swag_ray.report.run.pictures import Overlays, read_overlays
from swag_ray.report.run.pool import PoolRounds, read_pool
from swag_ray.report.run.ranking import PoolRanking, read_ranking
from swag_ray.report.run.tables import floats, labels

SCORED_BY = {
    "incremental": "Incremental (this run)",
    "seed_only": "Seed only",
    "full_train": "Full train (all train normals)",
    "no_admission": "Nobody admitted",
    "random_admission": "Random admission",
    "oracle_gate": "Oracle gate (true normals only)",
    "supervised": "Supervised (true labels)",
}


@dataclass(frozen=True)
class TestScores:
    """scores.parquet. `score` holds a (T,) array per method, `p_T` (NaN: none) belongs to the incremental score; `path`
    is None where it is not recorded.
    """

    __test__ = False  # pytest: not a test class

    id: list[str]
    path: list[str | None]
    kind: list[str | None]
    label_T: NDArray[np.int8]
    score: dict[str, NDArray[np.float64]]
    p_T: NDArray[np.float64]

    @property
    def both_classes(self) -> bool:
        return bool((self.label_T == 1).any() and (self.label_T == 0).any())


@dataclass(frozen=True)
class SeedScores:
    """seeds.parquet: the trusted images, each scored by models that have not seen it.

    Attributes:
        id, path: what they are called; `path` is None where it is not recorded.
        z_n: scores in the seeds' standard deviations.
        p_n: share of the seeds that score at least as high.
    """

    id: list[str]
    path: list[str | None]
    z_n: NDArray[np.float64]
    p_n: NDArray[np.float64]


@dataclass(frozen=True)
class RunRecord:
    folder: Path
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    metrics: RunMetrics
    pool: PoolRounds
    scores: TestScores | None
    seeds: SeedScores | None
    overlays: Overlays | None
    ranking: PoolRanking | None
    changes: Changes | None = None

    @property
    def answers(self) -> bool:
        """Whether nothing is known of the pool: what the run found there is then the answer, not a figure to check."""
        return bool(self.pool.rounds) and not self.pool.labelled

    @property
    def tested(self) -> bool:
        """Whether any test image has a label."""
        return self.scores is not None and bool((self.scores.label_T >= 0).any())

    def settings(self, key: str) -> Mapping[str, Any]:
        """A section of config.yaml, empty where absent; InputError where it is no table."""
        return nested(self.folder / CONFIG_FILE, self.config, key)

    @cached_property
    def published(self) -> tuple[Published, ...]:
        """The published figures to show beside the run's: those of `report.published`, where its test set is that."""
        return () if self.published_set is None or self.unlike_published else FIGURES[self.published_set]

    @property
    def published_set(self) -> str | None:
        """`report.published`; InputError where it names no known set."""
        return check_published(self.settings("report").get("published"))

    @cached_property
    def unlike_published(self) -> str:
        """Why `report.published` is not the test set of this run; "" where it is, or where nothing is asked for."""
        if self.published_set is None:
            return ""
        if self.scores is None:
            return "no test score is recorded"
        return difference(self.published_set, TestSet.of(self.scores.path, self.scores.label_T.tolist()))

    @property
    def methods(self) -> list[tuple[str, str, DetectorMetrics]]:
        """(key, name, figures) of every method that was evaluated, this run's first."""
        found = {"incremental": self.metrics.incremental, **self.metrics.baselines}
        order = [*SCORED_BY, *sorted(set(found) - set(SCORED_BY))]
        return [(key, SCORED_BY.get(key, key), found[key]) for key in order if found.get(key)]


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
        raise missing(folder / SCORES_FILE)
    overlays, seeds = folder / OVERLAYS_FILE, folder / SEEDS_FILE
    return RunRecord(
        folder=folder,
        config=config,
        manifest=read_mapping(folder, MANIFEST_FILE),
        metrics=metrics,
        pool=read_pool(folder / ROUNDS_FILE),
        scores=_scores(folder / SCORES_FILE) if has_scores else None,
        seeds=_seeds(seeds) if seeds.exists() else None,  # older runs lack it
        overlays=read_overlays(overlays) if options.get("images", True) and overlays.exists() else None,
        ranking=read_ranking(folder / POOL_FILE) if (folder / POOL_FILE).exists() else None,  # older runs lack it
        changes=read_changes(folder / CHANGES_FILE),
    )


def read_table(path: Path, required: Sequence[str]) -> pa.Table:
    """A Parquet file with at least the required columns; InputError where it is missing or damaged."""
    if not path.exists():
        raise missing(path)
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, error) from None
    absent = [name for name in required if name not in table.column_names]
    if absent:
        raise damaged(path, f"no column {', '.join(absent)}")
    return table


def _scores(path: Path) -> TestScores:
    table = read_table(path, ["id"])
    try:
        score = {name: floats(table, name) for name in SCORED_BY if name in table.column_names}
        kind = table["kind"].to_pylist() if "kind" in table.column_names else [None] * table.num_rows
        return TestScores(
            id=[str(value) for value in table["id"].to_pylist()],
            path=_paths(table),
            kind=[None if value is None else str(value) for value in kind],
            label_T=labels(table),
            score={name: s_T for name, s_T in score.items() if np.isfinite(s_T).any()},
            p_T=floats(table, "p"),
        )
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise damaged(path, error) from None


def _seeds(path: Path) -> SeedScores:
    table = read_table(path, ["id", "z"])
    try:
        return SeedScores([str(value) for value in table["id"].to_pylist()], _paths(table), floats(table, "z"),
                          floats(table, "p"))  # fmt: skip
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise damaged(path, error) from None


def _paths(table: pa.Table) -> list[str | None]:
    """The column `path`: None where it is not recorded."""
    if "path" not in table.column_names:
        return [None] * table.num_rows
    return [None if value is None else str(value) for value in table["path"].to_pylist()]
