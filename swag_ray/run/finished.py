"""A finished run as Python has it: its figures, its tables as DataFrames, its plots.

    from swag_ray import load_run
    run = load_run("runs/demo")
    run.pool.head(20)  # the most suspicious of the pool
    run.plot_roc().savefig("roc.png")

Neither Ray nor torch is loaded. Columns that nobody knows the values of are there and empty (NA, NaN).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swag_ray.config import Config, load_config
from swag_ray.errors import InputError
from swag_ray.record.changes import Changes, read_changes
from swag_ray.record.csv_cells import csv_text
from swag_ray.record.files import (
    CHANGES_FILE,
    CONFIG_FILE,
    MANIFEST_FILE,
    METRICS_FILE,
    POOL_FILE,
    ROUNDS_FILE,
    SCORES_FILE,
    SEEDS_FILE,
)
from swag_ray.record.remote import is_remote, local_copy
from swag_ray.record.run_metrics import RunMetrics

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.figure import Figure

    from swag_ray.report.page.figure import Drawing
    from swag_ray.report.run.read import RunRecord

DRAWN = (CONFIG_FILE, MANIFEST_FILE, METRICS_FILE, ROUNDS_FILE, SCORES_FILE, SEEDS_FILE)  # what the plots read
POOL_COLUMNS = {"path": "string", "id": "string", "score": "double", "p": "double", "rejected": "bool",
                "admitted": "bool", "round": "int32"}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished run, as `run_experiment` and `load_run` return it.

    Tables are read when they are first asked for, from s3:// too, and then kept. Truth values are pandas' `boolean`,
    which has NA. A manifest's own columns stand last in each table; one whose name is taken is called manifest_NAME.

    Attributes:
        directory: the run directory; None where that is on s3://, of which no copy stays here.
        metrics: what metrics.json holds, as `record/run_metrics.py` describes it.
        address: the run directory as it was given.
        changes: what is otherwise than in the run that the directory held before; None where there was none.
    """

    directory: Path | None
    metrics: dict[str, Any] = field(repr=False)
    address: str
    changes: Changes | None = field(default=None, repr=False)

    @cached_property
    def config(self) -> Config:
        """The run's config, as it was resolved. Raises InputError where it is none of this version."""
        with local_copy(self.address, "load_run", CONFIG_FILE) as folder:
            return load_config(folder / CONFIG_FILE)

    @cached_property
    def pool(self) -> pd.DataFrame:
        """The pool by the last fit, the most suspicious first; a row an image.

        Columns: `path` and `id` (path NA in an anonymous run), `score` (higher is more suspicious), `p` (share of
        trusted images that score at least as high), `rejected` (a likely anomaly; NA in method `published`),
        `admitted` (held at the end), `round` (of its last admission, NA where there was none). A manifest's own
        columns are text here, as in pool.csv.

        Raises:
            InputError: pool.csv is missing or damaged.
        """
        return self._frame(POOL_FILE, _pool_table)

    @cached_property
    def rounds(self) -> pd.DataFrame:
        """A row per pool image and round; round 0 is what the trusted images alone give.

        Columns: `round`, `id`, `fold`, `s` (score), `u` (its uncertainty), `z_s` and `z_u` (both in the trusted
        images' sd), `p`, `rejected` (a likely anomaly), `candidate` (passed the gates), `admitted` (in this round),
        `label` (whether it is an anomaly; for the audit, never for the method). `u` and `z_u` are NaN where the gate
        did not ask, `rejected` is NA in method `published`, `label` where it is unknown.

        Raises:
            InputError: rounds.parquet is missing or damaged.
        """
        return self._frame(ROUNDS_FILE, _table("round", "id", "s"))

    @cached_property
    def scores(self) -> pd.DataFrame:
        """The test images, a row an image.

        Columns: `id`, `path` (NA in an anonymous run), `label` (whether it is an anomaly, NA where unknown), `kind` (of
        anomaly, NA where there are none), a score for each control that was run (`seed_only`, `full_train`,
        `no_admission`, `random_admission`, `oracle_gate`, `supervised`), `incremental` (the run's own) and its `p`.

        Raises:
            InputError: scores.parquet is missing or damaged.
        """
        return self._frame(SCORES_FILE, _table("id", "incremental"))

    @cached_property
    def seeds(self) -> pd.DataFrame:
        """The trusted images, each scored by models that have not seen it; a row an image.

        Columns: `id`, `path` (NA in an anonymous run), `fold`, `s` (score), `z` (in the trusted images' sd), `p`.

        Raises:
            InputError: seeds.parquet is missing or damaged.
        """
        return self._frame(SEEDS_FILE, _table("id", "z"))

    def plot_roc(self) -> Figure:
        """Draws the ROC curves of the detector and the controls on the labelled test images.

        Raises:
            InputError: there are no labelled test images of both classes.
        """
        from swag_ray.report.run.plots import roc

        return self._drawn(roc, "plot_roc: a curve takes labelled test images of both classes")

    def plot_rounds(self) -> Figure:
        """Draws ROC-AUC and purity by round. Raises InputError where no label is known."""
        from swag_ray.report.run.plots import rounds

        return self._drawn(rounds, "plot_rounds: what it shows of a round takes labels, of test images or of the pool")

    def plot_pool(self) -> Figure:
        """Draws the pool's scores in each round, what was admitted filled; anomalies below the line where labels tell.

        Raises:
            InputError: no pool image has a score.
        """
        from swag_ray.report.run.histograms import gate_histogram

        return self._drawn(gate_histogram, "plot_pool: no image of the pool has a score")

    def _frame(self, name: str, read: Callable[[Path], pa.Table]) -> pd.DataFrame:
        import pandas as pd
        import pyarrow as pa

        with local_copy(self.address, "load_run", name) as folder:
            table = read(folder / name)
        kinds = {pa.bool_(): pd.BooleanDtype()} | ({pa.int32(): pd.Int32Dtype()} if name == POOL_FILE else {})
        return table.to_pandas(types_mapper=kinds.get)

    def _drawn(self, draw: Callable[[RunRecord], Drawing | None], lacking: str) -> Figure:
        from swag_ray.report.run.read import read_run

        with local_copy(self.address, "load_run", *DRAWN) as folder:
            drawing = draw(read_run(folder))
        if drawing is None:
            raise InputError(lacking, f"'{self.address}' has none")
        return drawing.figure


def load_run(path: str | Path) -> Run:
    """Returns a finished run.

    Args:
        path: its directory, or the s3:// address of it.

    Raises:
        InputError: no such folder, no finished run in it, or damaged figures.
    """
    from swag_ray.report.page.reading import read_mapping

    with local_copy(path, "load_run", METRICS_FILE, CHANGES_FILE) as folder:
        if not folder.is_dir():
            raise InputError(f"load_run: no folder '{path}'", "give the directory of a finished run")
        metrics = dict(read_mapping(folder, METRICS_FILE))
        RunMetrics.read(metrics)
        changes = read_changes(folder / CHANGES_FILE)
    return Run(None if is_remote(path) else Path(path), metrics, str(path), changes)


def _table(*required: str) -> Callable[[Path], pa.Table]:
    """Reads a Parquet file that has these columns."""
    from swag_ray.report.run.read import read_table

    return lambda path: read_table(path, required)


def _pool_table(path: Path) -> pa.Table:
    """pool.csv with the texts that its cells stand for."""
    import pyarrow as pa
    from pyarrow import csv

    from swag_ray.report.page.reading import damaged, missing

    parse = csv.ParseOptions(newlines_in_values=True)
    try:
        with csv.open_csv(path, parse_options=parse) as file:
            names = file.schema.names
        if absent := [name for name in POOL_COLUMNS if name not in names]:
            raise damaged(path, f"no column {', '.join(absent)}")
        kinds = {name: POOL_COLUMNS.get(name, "string") for name in names}
        convert = csv.ConvertOptions(
            column_types={name: pa.type_for_alias(kind) for name, kind in kinds.items()},
            null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False,
        )  # fmt: skip
        table = csv.read_csv(path, parse_options=parse, convert_options=convert)
    except FileNotFoundError:
        raise missing(path) from None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise damaged(path, error) from None
    columns = [
        pa.array([None if cell is None else csv_text(cell) for cell in column.to_pylist()], pa.string())
        if pa.types.is_string(column.type)
        else column
        for column in table.columns
    ]
    return pa.table(columns, names=[csv_text(name) for name in names])
