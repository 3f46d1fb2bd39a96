"""rounds.parquet and scores.parquet as tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from swag_ray.experiment.loop import Row, Trajectory
from swag_ray.images.audit import Audit
from swag_ray.methods.fit import Fit, Lab, log_u_z


def rounds_table(lab: Lab, audit: Audit, trajectory: Trajectory) -> pa.Table:
    """rounds.parquet: one row per pool image and round, rows 0..R."""
    return pa.concat_tables([_round_table(lab, audit, row) for row in trajectory.rows])


def _round_table(lab: Lab, audit: Audit, row: Row) -> pa.Table:
    cohort, pool, fit, a = lab.cohort, lab.cohort.pool, row.fit, row.decision.arrays
    u_N = fit.u_N if lab.config.method == "contrast" else a["u"]
    z_u_N = log_u_z(fit.u_N[cohort.seeds], u_N)
    contrast = lab.config.method == "contrast"
    label = [None if np.isnan(v) else bool(v) for v in audit.label_N[pool]]
    return pa.table(
        {
            "round": pa.array(np.full(len(pool), row.n), pa.int32()),
            "id": cohort.id_N.take(pa.array(pool)),
            "fold": pa.array(cohort.fold_N[pool], pa.int8()),
            "s": _nullable(fit.s_N[pool]),
            "u": _nullable(u_N[pool]),
            "z_s": _nullable(fit.z_N(cohort)[pool]),
            "z_u": _nullable(z_u_N[pool]),
            "p": _nullable(fit.p_N(cohort)[pool]),
            "rejected": pa.array(a["rejected"][pool].tolist() if contrast else [None] * len(pool), pa.bool_()),
            "candidate": pa.array(a["candidate"][pool]),
            "admitted": pa.array(a["admitted"][pool]),
            "label": pa.array(label, pa.bool_()),
        }
    )


def scores_table(lab: Lab, audit: Audit, last: Fit, controls: dict[str, Fit]) -> pa.Table:
    """scores.parquet: test images, a score column per method, the detector's p."""
    cohort = lab.cohort
    columns: dict[str, Any] = {
        "id": cohort.id_T,
        "path": pa.array(audit.path_T.tolist(), pa.string()),
        "label": pa.array(audit.anomaly_T),
        "kind": pa.array([kind or None for kind in audit.kind_T.tolist()], pa.string()),
    }
    columns |= {name: pa.array(fit.s_T) for name, fit in controls.items()}
    return pa.table(columns | {"incremental": pa.array(last.s_T), "p": pa.array(last.p_T(cohort))})


def _nullable(values: NDArray[np.float64]) -> pa.Array:
    return pa.array(values, pa.float64(), mask=np.isnan(values))
