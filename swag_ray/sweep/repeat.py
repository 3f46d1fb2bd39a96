"""A run repeated over several splits: what `swag-ray run CONFIG --repeat N` does.

It is a sweep that searches nothing: N trials that differ in `random_seed` alone, hence in who is a seed, in the folds
and in every draw. The test images are the same in all of them.

Shapes: R splits, T test images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.cluster.workers import RayWorkers
from swag_ray.config import Config, resolved
from swag_ray.config.sweep import SweepConfig
from swag_ray.core import metrics
from swag_ray.core.seeding import numpy_generator
from swag_ray.errors import InputError
from swag_ray.experiment.loop import incremental_loop
from swag_ray.experiment.pipeline import with_shards_repaired
from swag_ray.experiment.prepare import prepare
from swag_ray.experiment.source import ImageSource, check_source
from swag_ray.progress import Progress
from swag_ray.sweep.sweep import Sweep

Scores = NDArray[np.float64]
LONGEST_NAME = 80  # letters; the sweep's name and its trials' are made of it


@dataclass(frozen=True)
class Repeats:
    """A run's figures over several splits.

    Attributes:
        random_seeds: of the splits that are through.
        seed_only, incremental: ROC-AUC on the test set under each of them, (R,).
        difference: mean over the splits of incremental minus seed-only.
        low, high: 95 % interval of it, which resamples splits and test images.
    """

    random_seeds: tuple[int, ...]
    seed_only: Scores
    incremental: Scores
    difference: float
    low: float
    high: float

    @property
    def sentence(self) -> str:
        """What came out."""
        subject = f"over {len(self.random_seeds)} splits the incremental detector"
        span = f"(95 % interval {self.low:+.4f} to {self.high:+.4f}, splits and test images resampled)"
        if self.low > 0:
            return f"{subject} beats its seed-only bank by {self.difference:.4f} ROC-AUC {span}"
        if self.high < 0:
            return f"{subject} falls behind its seed-only bank by {-self.difference:.4f} ROC-AUC {span}"
        return (
            f"{subject} shows no difference to its seed-only bank that these splits and this test set could tell from "
            f"zero: {self.difference:+.4f} ROC-AUC {span}"
        )

    def plain(self) -> dict[str, Any]:
        """Returns plain JSON types."""
        return {
            "random_seeds": list(self.random_seeds),
            "roc_auc": {"seed_only": self.seed_only.tolist(), "incremental": self.incremental.tolist()},
            "delta_vs_seed_only": {"roc_auc": self.difference, "low": self.low, "high": self.high},
        }


def repeated(config: Config, splits: int) -> SweepConfig:
    """Returns the sweep of so many runs of a config, with its `random_seed` and those that follow.

    Raises:
        InputError: fewer than two splits, or a name that leaves no room for the trials'.
    """
    if splits < 2:
        raise InputError(f"--repeat: {splits} split is a plain run", "give 2 or more, or leave --repeat away")
    if len(config.name) > LONGEST_NAME:
        raise InputError(f"name: '{config.name}' is too long to be repeated", f"at most {LONGEST_NAME} letters")
    first = config.random_seed
    return SweepConfig.model_validate(
        {
            "name": f"{config.name}-repeat-{splits}",
            "base": resolved(config),
            "random_seeds": list(range(first, first + splits)),
        }
    )


def compare_splits(sweep: SweepConfig, done: Sweep, *, address: str | None = None) -> Repeats | None:
    """Returns the figures over the splits that are through; None where those are fewer than two, or where test images
    of both classes are not known.

    The fits are read from the store, and what is no longer there is computed again.

    Args:
        sweep: from `repeated`.
        done: what `run_sweep` gave for it.
        address: as there.
    """
    rows = done.table.to_pylist()
    through = {row["trial"] for row in rows if row["status"] == "done"}
    trials = [trial for trial in sweep.trials() if trial.number in through]
    if len(trials) < 2:
        return None
    source = check_source(trials[0].config, Progress())
    with RayWorkers(**resolved(trials[0].config)["cluster"], address=address) as workers:
        found = [_test_scores(replace(source, config=trial.config), workers) for trial in trials]
    label_T = found[0][0]
    if not metrics.has_both_classes(label_T):
        return None
    seed_only_RT, own_RT = (np.stack([scores[column] for scores in found]) for column in (1, 2))
    generator = numpy_generator(trials[0].config.random_seed, "repeat")
    difference, low, high = metrics.repeated_difference(label_T, own_RT, seed_only_RT, generator)
    seed_only, own = (
        np.array([metrics.roc_auc(label_T, s_T) for s_T in scores_RT]) for scores_RT in (seed_only_RT, own_RT)
    )
    return Repeats(tuple(trial.random_seed for trial in trials), seed_only, own, difference, low, high)


def _test_scores(source: ImageSource, workers: RayWorkers) -> tuple[NDArray[np.bool_], Scores, Scores]:
    """Returns of the labelled test images (L,) who is an anomaly, and the scores by seed-only bank and last fit."""

    def attempt() -> tuple[NDArray[np.bool_], Scores, Scores]:
        prepared = prepare(source, workers, Progress())
        found = incremental_loop(prepared.experiment)
        known = prepared.audit.known_T
        return prepared.audit.anomaly_T[known], found.seed_bank.s_T[known], found.last.s_T[known]

    return with_shards_repaired(source, Progress(), attempt)
