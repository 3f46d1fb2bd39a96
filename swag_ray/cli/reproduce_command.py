"""`swag-ray reproduce`: its options, and what it shows."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from swag_ray.cli.detector_commands import Quiet
from swag_ray.cli.exit import interruptible
from swag_ray.progress import Progress
from swag_ray.wording import duration, plural

if TYPE_CHECKING:
    from swag_ray.cli.sweep_screen import SweepScreen
    from swag_ray.config.reproduce import Block
    from swag_ray.config.sweep import SweepConfig
    from swag_ray.reproduce.blocks import State
    from swag_ray.sweep.sweep import Sweep


def reproduce(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[BLOCK...]", help="Blocks or groups of them; default: all.")
    ] = None,
    data: Annotated[Path, typer.Option(metavar="DIR", help="Holds chest_xray, covid_cxr and busi.")] = Path("data"),
    out: Annotated[Path, typer.Option(help="Where RESULTS.md and a folder for each block go.")] = Path("reproduce"),
    store: Annotated[str | None, typer.Option(help="Path or s3:// address; default: the configs'.")] = None,
    seeds: Annotated[int | None, typer.Option(metavar="N", help="Random seeds of each block at most.")] = None,
    plan: Annotated[Path | None, typer.Option(metavar="FILE", help="Default: the shipped reproduce.yaml.")] = None,
    address: Annotated[str | None, typer.Option(help="Join a running Ray cluster: `auto` or HOST:PORT.")] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="Show the blocks and how long they may take; run none.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Carry out everything that README and docs claim, and write RESULTS.md. Goes on where it was stopped."""
    from swag_ray.cli.screen import run_screen
    from swag_ray.config.reproduce import load_plan

    loaded, chosen = load_plan(plan, seeds=seeds), list(names or [])
    with run_screen(quiet=quiet) as screen, interruptible(screen.progress):
        from swag_ray.reproduce.blocks import Place, check_data, state

        place = Place(out, data, store)
        if list_:
            check_data(data)
            show_blocks(screen.console, [state(block, place) for block in loaded.chosen(chosen)])
            return
        from swag_ray.reproduce.reproduce import reproduce as carry_out
        from swag_ray.reproduce.write import RESULTS_FILE

        command = _command(chosen, seeds, plan)
        states = carry_out(loaded, chosen, place, ReproduceScreen(screen.console), command=command, address=address)
        failed = sum(found.failed for found in states)
        done = sum(len(found.seconds) for found in states)
        missing = sum(found.missing is not None for found in states)
        told = [f"{plural(done, 'trial')} done", *([f"{failed} failed"] if failed else [])]
        told += [f"{plural(missing, 'block')} not run"] if missing else []
        screen.console.print(f"{', '.join(told)} · results: {out / RESULTS_FILE}", highlight=False, markup=False)
    if failed:
        raise typer.Exit(1)


def _command(names: Sequence[str], seeds: int | None, plan: Path | None) -> str:
    """What RESULTS.md says made it; folders of this machine do not belong there."""
    parts = ["swag-ray", "reproduce", *names, "--data", "DIR", *(["--seeds", str(seeds)] if seeds is not None else [])]
    return shlex.join([*parts, *(["--plan", plan.name] if plan is not None else [])])


class ReproduceScreen:
    """A line before each block; its trials as `sweep` shows them."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live: SweepScreen | None = None

    def begin(self, state: State, seconds: float) -> None:
        done = len(state.seconds)
        self.console.print(
            f"{state.block.name}: {done} of {plural(state.block.count, 'trial')} done, {state.left} left · "
            f"{minutes(seconds)} left in all",
            highlight=False, markup=False,
        )  # fmt: skip

    @contextmanager
    def sweep(self, sweep: SweepConfig) -> Iterator[tuple[Progress, Callable[[dict[str, Any]], None]]]:
        from swag_ray.cli.sweep_screen import SweepScreen

        with SweepScreen(self.console, sweep) as live:
            self._live = live
            yield live.progress, live.report

    def end(self, block: Block, done: Sweep) -> None:
        assert self._live is not None
        self._live.summary(done)


def minutes(seconds: float) -> str:
    """An estimate in words: no more digits than it deserves."""
    return f"about {duration(60 * max(1, round(seconds / 60)))}".removesuffix(" 00 s")


def show_blocks(console: Console, states: Sequence[State]) -> None:
    """Prints every block with its trials, those done, and an estimate."""
    from swag_ray.reproduce.blocks import seconds_left

    table = Table(header_style="bold")
    for column in ("block", "trials", "done", "left", ""):
        table.add_column(column, justify="right" if column in ("trials", "done", "left") else "left")
    for found in states:
        note = f"not run: {found.missing}" if found.missing is not None else ""
        table.add_row(found.block.name, str(found.block.count), str(len(found.seconds)), str(found.left), note)
    console.print(table)
    left = sum(found.left for found in states)
    told = minutes(seconds_left(states)) if left else "nothing to do"
    console.print(f"{plural(left, 'trial')} left: {told}", highlight=False)
