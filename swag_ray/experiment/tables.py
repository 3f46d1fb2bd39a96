"""rounds.parquet, scores.parquet and seeds.parquet as tables."""

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


def rounds_table(experiment: Experiment, audit: Audit, trajectory: Trajectory) -> pa.Table:
    """rounds.parquet: one row per pool image and round, rows 0..R."""
    return pa.concat_tables([_round_table(experiment, audit, row) for row in trajectory.rows])


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


def scores_table(experiment: Experiment, audit: Audit, last: Fit, controls: dict[str, Fit]) -> pa.Table:
    """scores.parquet: test images, a score column per method, the detector's p."""
    cohort = experiment.cohort
    columns: dict[str, Any] = {
        "id": cohort.id_T,
        "path": shown_paths(audit.path_T.tolist(), experiment.config),
        "label": _label(audit.label_T),
        "kind": pa.array([kind or None for kind in audit.kind_T.tolist()], pa.string()),
    }
    columns |= {name: pa.array(fit.s_T) for name, fit in controls.items()}
    return pa.table(columns | {"incremental": pa.array(last.s_T), "p": pa.array(last.p_T)})


def seeds_table(experiment: Experiment, paths: pa.ChunkedArray, last: Fit) -> pa.Table:
    """seeds.parquet: the trusted images, each scored by its own fold, whose models have not seen it.

    Args:
        paths: their files, in the cohort's order.
    """
    cohort, seeds = experiment.cohort, experiment.cohort.seeds
    return pa.table(
        {
            "id": cohort.id_N.take(pa.array(seeds)),
            "path": shown_paths(paths.to_pylist(), experiment.config),
            "fold": pa.array(cohort.fold_N[seeds], pa.int8()),
            "s": pa.array(last.seed_s),
            "z": pa.array(last.z_N[seeds]),
            "p": pa.array(last.p_N[seeds]),
        }
    )


def _label(label: NDArray[np.float64]) -> pa.Array:
    """Whether an image is an anomaly, null where that is not known."""
    return pa.array(label == 1, pa.bool_(), mask=np.isnan(label))


def _nullable(values: NDArray[np.float64]) -> pa.Array:
    return pa.array(values, pa.float64(), mask=np.isnan(values))
