"""rounds.parquet, scores.parquet, seeds.parquet and pool.csv as tables. A manifest's own columns stand last in each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from swag_ray.experiment.loop import Round, Trajectory
from swag_ray.experiment.shown_names import shown_paths
from swag_ray.images.audit import Audit
from swag_ray.methods.fit import Experiment, Fit
from swag_ray.methods.method import method_of


def rounds_table(
    experiment: Experiment, audit: Audit, trajectory: Trajectory, further_N: pa.Table | None = None
) -> pa.Table:
    """rounds.parquet: one row per pool image and round, rows 0..R.

    Args:
        further_N: a manifest's own columns of the train images.
    """
    pool = pa.array(experiment.cohort.pool)
    further = None if further_N is None else further_N.take(pool)
    return pa.concat_tables([_with_further(_round_table(experiment, audit, row), further) for row in trajectory.rows])


def _round_table(experiment: Experiment, audit: Audit, row: Round) -> pa.Table:
    cohort, pool, fit, a = experiment.cohort, experiment.cohort.pool, row.fit, row.decision.arrays
    u_N = np.where(np.isnan(fit.u_N), a["u"], fit.u_N)  # of all images, or of those that the gate asked for
    z_u_N = fit.z_u(u_N)
    picks_rejects = method_of(experiment).picks_rejects
    return pa.table(
        {
            "round": pa.array(np.full(len(pool), row.n), pa.int32()),
            "id": cohort.id_N.take(pa.array(pool)),
            "fold": pa.array(cohort.fold_N[pool], pa.int8()),
            "s": _nullable(fit.s_N[pool]),
            "u": _nullable(u_N[pool]),
            "z_s": _nullable(fit.z_N[pool]),
            "z_u": _nullable(z_u_N[pool]),
            "p": _nullable(fit.p_N[pool]),
            "rejected": pa.array(a["rejected"][pool].tolist() if picks_rejects else [None] * len(pool), pa.bool_()),
            "candidate": pa.array(a["candidate"][pool]),
            "admitted": pa.array(a["admitted"][pool]),
            "label": _label(audit.label_N[pool]),
        }
    )


def scores_table(
    experiment: Experiment, audit: Audit, last: Fit, controls: dict[str, Fit], further_T: pa.Table | None = None
) -> pa.Table:
    """scores.parquet: test images, a score column per method, the detector's p.

    Args:
        further_T: a manifest's own columns of the test images.
    """
    cohort = experiment.cohort
    columns: dict[str, Any] = {
        "id": cohort.id_T,
        "path": shown_paths(audit.path_T.tolist(), experiment.config),
        "label": _label(audit.label_T),
        "kind": pa.array([kind or None for kind in audit.kind_T.tolist()], pa.string()),
    }
    columns |= {name: pa.array(fit.s_T) for name, fit in controls.items()}
    return _with_further(pa.table(columns | {"incremental": pa.array(last.s_T), "p": pa.array(last.p_T)}), further_T)


def seeds_table(
    experiment: Experiment, paths: pa.ChunkedArray, last: Fit, further_N: pa.Table | None = None
) -> pa.Table:
    """seeds.parquet: the trusted images, each scored by its own fold, whose models have not seen it.

    Args:
        paths: their files, in the cohort's order.
        further_N: a manifest's own columns of the train images.
    """
    cohort, seeds = experiment.cohort, experiment.cohort.seeds
    table = pa.table(
        {
            "id": cohort.id_N.take(pa.array(seeds)),
            "path": shown_paths(paths.to_pylist(), experiment.config),
            "fold": pa.array(cohort.fold_N[seeds], pa.int8()),
            "s": pa.array(last.seed_s),
            "z": pa.array(last.z_N[seeds]),
            "p": pa.array(last.p_N[seeds]),
        }
    )
    return _with_further(table, None if further_N is None else further_N.take(pa.array(seeds)))


def pool_table(experiment: Experiment, paths: pa.ChunkedArray, trajectory: Trajectory, further_N: pa.Table) -> pa.Table:
    """pool.csv: the pool by the last fit, the most suspicious first; images of one score by their id.

    Columns: path, id, score, p, rejected (a likely anomaly by the last row; null in `published`), admitted (held at the
    end), round (of the last admission, null where there was none).

    Args:
        paths: files of the pool, in the cohort's order.
        further_N: a manifest's own columns of the train images.
    """
    cohort, pool, last = experiment.cohort, experiment.cohort.pool, trajectory.last
    decision = trajectory.decision.arrays
    round_N = np.full(len(cohort.id_N), -1, np.int32)
    for row in trajectory.rows:
        round_N[row.decision.arrays["admitted"]] = row.n
    picks_rejects, rejected = method_of(experiment).picks_rejects, pa.array(decision["rejected"][pool].astype(bool))
    table = pa.table(
        {
            "path": shown_paths(paths.to_pylist(), experiment.config),
            "id": cohort.id_N.take(pa.array(pool)),
            "score": _nullable(last.s_N[pool]),
            "p": _nullable(last.p_N[pool]),
            "rejected": rejected if picks_rejects else pa.nulls(len(pool), pa.bool_()),
            "admitted": pa.array(decision["held"][pool]),
            "round": pa.array(round_N[pool], pa.int32(), mask=round_N[pool] < 0),
        }
    )
    order = np.argsort(-last.s_N[pool], kind="stable")  # the cohort is sorted by id; NaN comes last
    return _with_further(table, further_N.take(pa.array(pool))).take(pa.array(order))


def _with_further(table: pa.Table, further: pa.Table | None) -> pa.Table:
    """The table with a manifest's own columns behind; one whose name is taken is called manifest_NAME."""
    if further is None:
        return table
    for name in further.column_names:
        free = name
        while free in table.column_names:
            free = f"manifest_{free}"
        table = table.append_column(free, further.column(name))
    return table


def _label(label: NDArray[np.float64]) -> pa.Array:
    """Whether an image is an anomaly, null where that is not known."""
    return pa.array(label == 1, pa.bool_(), mask=np.isnan(label))


def _nullable(values: NDArray[np.float64]) -> pa.Array:
    return pa.array(values, pa.float64(), mask=np.isnan(values))
