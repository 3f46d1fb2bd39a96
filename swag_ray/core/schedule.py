"""How long an adapter trains and when SWAG looks: known before anything is trained, and without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from swag_ray.errors import InputError

MIN_SNAPSHOTS = 2  # of fewer no Gaussian can be made
ROUND_STEPS = 20  # a fit's fewest, and its snapshots, where collect_every is null


@dataclass(frozen=True)
class AdapterSettings:
    """How a fit trains."""

    warmup_epochs: int = 3  # of fit 1 only, no snapshots
    round_epochs: int = 2  # of every fit, at a constant learning rate, with snapshots
    warmup_learning_rate: float = 1e-4
    learning_rate: float = 3e-5
    collect_every: int | None = None  # round steps from snapshot to snapshot; None: as `schedule` says
    max_columns: int = 20  # of SWAG
    batch_size: int = 1024  # patches, at most: 16 images on the default grid
    prototypes: int = 128
    collapse_below: float = 0.5  # share of the reference embedding variance


@dataclass(frozen=True)
class Schedule:
    """The steps of a fit."""

    steps_per_epoch: int
    collect_every: int  # round steps from snapshot to snapshot
    snapshots: int  # 2 or more


def schedule(patches: int, settings: AdapterSettings) -> Schedule:
    """The steps of a fit on so many training patches; callers ask before fit 1, `fit_adapter` asks again.

    With `collect_every` None the batches shrink until the round epochs have at least 20 steps, and a snapshot is taken
    every floor(steps / 20). A set value counts round steps and leaves the batches alone.

    Raises:
        InputError: fewer than 2 snapshots, of which no Gaussian can be made.
        ValueError: no patch, or a count in the settings below 1.
    """
    asked = settings.collect_every
    counts = (patches, settings.round_epochs, settings.batch_size, 1 if asked is None else asked)
    if min(counts) < 1:
        raise ValueError(f"patches, round_epochs, batch_size and collect_every are {counts}, must be at least 1")
    per_epoch = math.ceil(patches / settings.batch_size)
    if asked is None:
        per_epoch = min(max(per_epoch, math.ceil(ROUND_STEPS / settings.round_epochs)), patches)
    steps = per_epoch * settings.round_epochs
    every = asked or max(1, steps // ROUND_STEPS)
    if steps // every < MIN_SNAPSHOTS:
        if steps < MIN_SNAPSHOTS:
            raise InputError(
                f"swag.collect_every: a fit of {steps} step gives no 2 snapshots", "raise adapter.round_epochs"
            )
        raise InputError(
            f"swag.collect_every: every {every} steps gives {steps // every} snapshots in a fit of {steps} steps, "
            f"at least {MIN_SNAPSHOTS} are needed",
            f"set it to {steps // MIN_SNAPSHOTS} or less, or to null",
        )
    return Schedule(steps_per_epoch=per_epoch, collect_every=every, snapshots=steps // every)
