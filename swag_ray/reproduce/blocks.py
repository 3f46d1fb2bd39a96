"""The blocks of a plan on disk: what is done and left of each, why one cannot be carried out, how long all may take."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from swag_ray.config.reproduce import Block, sweep_of
from swag_ray.config.sweep import SweepConfig
from swag_ray.errors import InputError
from swag_ray.reproduce.wrong_seeds import with_wrong_seeds
from swag_ray.sweep.trial_log import TrialLog

DATASETS = "datasets"  # folder of OUT that holds those made here
START = 20.0  # seconds until a block's first trial begins


@dataclass(frozen=True)
class Place:
    """Where things are.

    Attributes:
        out: holds a folder a block, and RESULTS.md.
        data: holds the datasets.
        store: what the trials compute; None: what the configs say.
    """

    out: Path
    data: Path
    store: str | None = None

    def folder(self, block: Block) -> Path:
        return self.out / block.name


def missing(block: Block, place: Place) -> str | None:
    """Why a block cannot be carried out here; None where it can."""
    if block.not_run is not None:
        return block.not_run
    if block.data is not None and not (place.data / block.data).is_dir():
        return f"no folder {block.data} in --data"
    return None


def block_sweep(block: Block, place: Place) -> SweepConfig:
    """The sweep of a block that is not `missing`. Makes its folder of links where it has wrong seeds.

    Raises:
        InputError: the dataset cannot be listed.
    """
    if block.data is None:
        return sweep_of(block, None, place.store)
    root = (place.data / block.data).absolute()
    if block.wrong_seeds is not None:
        (first, *_) = sweep_of(block, root, place.store).trials()
        target = place.out.absolute() / DATASETS / f"{block.data}-wrong-{block.wrong_seeds:g}"
        root = with_wrong_seeds(first.config.dataset, block.wrong_seeds, target)
    return sweep_of(block, root, place.store)


@dataclass(frozen=True)
class State:
    """How far a block is.

    Attributes:
        block: it.
        seconds: that each of its ended trials took; of those that failed, which run again, nothing.
        failed: trials of the last call that failed.
        missing: why it cannot be carried out.
    """

    block: Block
    seconds: tuple[float, ...]
    failed: int
    missing: str | None

    @property
    def left(self) -> int:
        return 0 if self.missing is not None else self.block.count - len(self.seconds)


def state(block: Block, place: Place) -> State:
    """How far a block is, by its folder."""
    log = TrialLog(place.folder(block), sweep_of(block, None, None))
    through = sorted(log.through())
    return State(
        block, tuple(float(log.rows[n]["seconds"] or 0) for n in through), len(log.rows) - len(through),
        missing(block, place),
    )  # fmt: skip


def seconds_left(states: Sequence[State], cores: int | None = None) -> float:
    """Estimates how long the trials that are left take.

    The plan's seconds of a trial say how blocks compare; the trials so far say how fast this machine and store are.

    Args:
        cores: trials that run side by side; None: the machine's cores.
    """
    cores = cores or os.cpu_count() or 1
    expected = sum(s.block.seconds * len(s.seconds) for s in states)
    pace = sum(sum(s.seconds) for s in states) / expected if expected else 1.0
    waiting = [s for s in states if s.left]
    return sum(START + s.block.seconds * pace * s.left / min(cores, s.left) for s in waiting)


def check_data(data: Path) -> None:
    """Raises InputError where --data is no folder."""
    if not data.is_dir():
        raise InputError(f"--data: '{data}' is no folder", "give the one that holds chest_xray, covid_cxr and busi")
