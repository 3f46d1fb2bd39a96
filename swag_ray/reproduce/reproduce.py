"""Carry out a plan's blocks, one sweep after the other, and write RESULTS.md from what they left.

    from swag_ray.config.reproduce import load_plan
    from swag_ray.reproduce.blocks import Place
    from swag_ray.reproduce.reproduce import reproduce
    reproduce(load_plan(), ["contrast"], Place(Path("reproduce"), Path("data")))

A block's folder is a sweep's: a trial that has ended does not run again, so that the same call goes on after any end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any, Protocol

from swag_ray.cluster.session import ray_session
from swag_ray.config.reproduce import Block, Plan
from swag_ray.config.sweep import SweepConfig
from swag_ray.config.text import dump_yaml
from swag_ray.progress import Progress
from swag_ray.record.directory import check_directory, claim
from swag_ray.reproduce.blocks import Place, State, block_sweep, check_data, missing, seconds_left, state
from swag_ray.reproduce.write import write_results
from swag_ray.sweep.sweep import Sweep, run_sweep
from swag_ray.sweep.trial_log import check_sweep_directory

CLAIM = "reproduce.yaml"  # in OUT: that it is ours


class Screen(Protocol):
    """Who is told."""

    def begin(self, state: State, seconds: float) -> None:
        """A block begins, so many seconds before all is done."""

    def sweep(self, sweep: SweepConfig) -> AbstractContextManager[tuple[Progress, Callable[[dict[str, Any]], None]]]:
        """Shows a sweep's trials."""

    def end(self, block: Block, done: Sweep) -> None:
        """A block has ended."""


def reproduce(
    plan: Plan, names: Sequence[str], place: Place, screen: Screen, *, command: str, address: str | None = None
) -> list[State]:
    """Carries out the blocks of these names, all where none is given, and writes RESULTS.md after each.

    Args:
        command: that RESULTS.md names.
        address: a running Ray cluster; None starts a local Ray, or uses the one that this process has.

    Returns:
        The state of every block that was asked for.

    Raises:
        InputError: an unknown name, a folder that is something else's, or what stops a sweep as a whole.
    """
    chosen = plan.chosen(names)
    check_data(place.data)
    check = partial(check_directory, place.out, CLAIM, lambda path: "", "choose another folder")
    with (
        claim(place.out, CLAIM, dump_yaml({"blocks": [block.name for block in plan.blocks]}), check),
        ExitStack() as stack,
    ):
        for block in chosen:
            _check_block(block, place)
        started = False
        for block in chosen:
            states = [state(other, place) for other in chosen]
            (own,) = (s for s in states if s.block is block)
            if not own.left:
                continue
            if not started:  # one Ray for all blocks
                stack.enter_context(ray_session(address=address))
                started = True
            screen.begin(own, seconds_left(states))
            sweep = block_sweep(block, place)
            with screen.sweep(sweep) as (progress, on_report):
                done = run_sweep(
                    sweep, place.folder(block), address=address, scores=True, progress=progress, on_report=on_report
                )
            screen.end(block, done)
            write_results(plan, place, command)
        write_results(plan, place, command)
        return [state(block, place) for block in chosen]


def _check_block(block: Block, place: Place) -> None:
    """Refuses a folder that holds another block's trials: those of an earlier plan, other seeds, another dataset."""
    if place.folder(block).exists() and missing(block, place) is None:
        check_sweep_directory(place.folder(block), block_sweep(block, place))
