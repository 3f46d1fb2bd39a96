"""The fit of plain PatchCore: one memory bank per fold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swag_ray.methods.fit import Fit, Lab
from swag_ray.methods.folds import fold_tasks, score_images
from swag_ray.methods.settings import bank_settings
from swag_ray.models.fold_bank import fit_bank, score_bank
from swag_ray.store.stages import Result, fold_arrays, stage_key


def patch_bank_fit(
    lab: Lab, members: NDArray[np.int64], decision: str | None = None, *, score_pool: bool = True
) -> Fit:
    """Plain PatchCore, one bank a fold, over these own images: the seed-only bank, the grown bank, a control.

    Args:
        members: own rows that the banks may hold.
        decision: the decision that admitted them, for the bank actor to check; None for seeds or a control.
        score_pool: whether pool images are scored too (only row 0 gates on them).
    """
    cohort, settings = lab.cohort, bank_settings(lab.config)
    reads = lab.reads("memory", "score") | {"members": members.tolist(), "score_pool": score_pool}
    key = stage_key("bank", reads, [cohort.key])

    def compute() -> Result:
        tasks = fold_tasks(lab, members, ("bank",))
        folds = lab.workers.publish(fit_bank, tasks, settings, version=key, decision=decision)
        own = np.arange(len(cohort.id_N)) if score_pool else cohort.seeds
        s_NS, s_TKS = score_images(lab, score_bank, folds, settings, own, samples=1, extra=(key,))
        return Result({"s_N": s_NS[:, 0], "s_TK": s_TKS[:, :, 0]})

    result = lab.store.stage("scores", key, compute)
    rows = lab.store.load("bank", key)
    if rows is None:  # damaged or pruned apart from its scores: the same picks again
        folds = lab.workers.publish(
            fit_bank, fold_tasks(lab, members, ("bank",)), settings, version=key, decision=decision
        )
    else:
        folds = fold_arrays(rows.arrays, cohort.folds)
    null_N = np.full(len(cohort.id_N), np.nan)
    return Fit(key, result.arrays["s_N"], null_N, result.arrays["s_TK"], folds, "seed_bank")
