"""What the folders of a plan's blocks hold: rows, and what was not run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import swag_ray
from swag_ray.config.reproduce import Block, Plan
from swag_ray.reproduce.blocks import Place, State, state
from swag_ray.reproduce.rows import Row, read_trials, rows_of
from swag_ray.store.stages import VERSIONS
from swag_ray.wording import plural


@dataclass(frozen=True)
class Results:
    """All that a plan's folders hold.

    Attributes:
        rows: by the block's name, in the order of the plan; blocks without a trial have none.
        not_run: block's name -> why not, or what of it is left.
        command: that made it.
    """

    plan: Plan
    rows: dict[str, tuple[Row, ...]]
    not_run: dict[str, str]
    command: str

    def blocks(self, group: str) -> list[Block]:
        """Those of a group that have rows."""
        return [block for block in self.plan.blocks if block.group == group and self.rows.get(block.name)]

    def plain(self) -> dict[str, Any]:
        """results.json; seconds, which are another machine's elsewhere, stand at its end."""
        rows = [row for rows in self.rows.values() for row in rows]
        return {
            "command": self.command,
            "swag_ray": swag_ray.__version__,
            "stages": dict(sorted(VERSIONS.items())),
            "rows": [row.plain() for row in rows],
            "not_run": self.not_run,
            "seconds": [
                {"block": row.block.name, "point": row.point, "seconds": [round(s, 1) for s in row.seconds]}
                for row in rows
            ],
        }


def gather(plan: Plan, place: Place, command: str) -> Results:
    """Reads what the blocks left.

    Raises:
        InputError: a block's folder is not reproduce's.
    """
    trials = {block.name: read_trials(place.folder(block)) for block in plan.blocks}
    rows = {
        block.name: tuple(rows_of(block, trials[block.name], trials.get(block.against or "", [])))
        for block in plan.blocks
    }
    not_run = {block.name: told for block in plan.blocks if (told := _not_run(state(block, place)))}
    return Results(plan, {name: found for name, found in rows.items() if found}, not_run, command)


def _not_run(found: State) -> str:
    through = len(found.seconds)
    if found.missing is not None and not through:
        return found.missing
    if found.failed:
        return f"{plural(found.failed, 'trial')} of {found.block.count} failed"
    if through < found.block.count:
        return f"{found.block.count - through} of {plural(found.block.count, 'trial')} left"
    return ""
