"""How many are trusted, in how many folds, and at what rate is flagged, where the images are few."""

from __future__ import annotations

import math

import pyarrow as pa

from swag_ray.errors import InputError
from swag_ray.images.split import MIN_FOLD_SEEDS, make_split, seeds_needed, smallest_rate
from swag_ray.init.plan import Guess, Plan
from swag_ray.wording import plural

FRACTION, FOLDS, RATE = 0.3, 5, 0.05  # the config's own defaults
WANTED = 100  # seeds: 20 to each of 5 folds, whose mean and spread are then no guesses
MOST = {WANTED: 0.5, seeds_needed(RATE): 0.7}  # share of the normals that is given up for so many seeds
OF_A_FOLD = 4  # seeds: one more than the fewest, as a film may not be readable
FEWEST = 2 * MIN_FOLD_SEEDS


def guess_sizes(plan: Plan, table: pa.Table | None) -> list[Guess]:
    """Returns the guesses for the seed fraction, the folds and the rate, where they are not the defaults.

    Args:
        table: of the listed images, on which the split is tried; None: what names say must do.

    Raises:
        InputError: no setting can split these images.
    """
    fraction = _fraction(plan.normals) if plan.drawn else None
    share = fraction or 1.0
    seeds, patients = int(share * plan.normals), int(share * plan.patients)
    if seeds < FEWEST:
        needed = FEWEST if not plan.drawn else 10
        raise InputError(
            f"init: {plural(plan.normals, 'normal image')} to train on are too few", f"at least {needed} are needed"
        )
    folds = max(2, min(FOLDS, seeds // OF_A_FOLD, patients // 2))
    if table is not None:
        folds, seeds = _tried(table, fraction or FRACTION, folds)
    normals = plural(plan.normals, "normal image")
    guesses = []
    if fraction is not None and fraction != FRACTION:
        guesses.append(Guess("split.seed_fraction", fraction, f"{normals}: about {seeds} of them are then trusted"))
    if folds != FOLDS:
        reason = f"{plural(seeds, 'trusted image')} of {plural(patients, 'patient')} give no more folds"
        guesses.append(Guess("split.folds", folds, reason))
    if seeds < seeds_needed(RATE):
        reason = f"with {plural(seeds, 'trusted image')} no p-value is lower, so below it nothing would be flagged"
        guesses.append(Guess("calibration.false_positive_rate", smallest_rate(seeds), reason))
    return guesses


def _fraction(normals: int) -> float:
    """The share of the normals to trust: the default, or more where that would be too few."""
    wanted = (min(most, math.ceil(100 * seeds / max(1, normals)) / 100) for seeds, most in MOST.items())
    return max(FRACTION, *wanted)


def _tried(table: pa.Table, fraction: float, folds: int) -> tuple[int, int]:
    """The folds that these very images can be split into, and their seeds.

    Raises:
        InputError: as `make_split`, of two folds.
    """
    while True:
        try:
            split = make_split(table, seed_fraction=fraction, folds=folds, contamination=None, random_seed=0)
            return folds, split.counts["seed"]
        except InputError:
            if folds == 2:
                raise
            folds -= 1
