"""What `swag-ray reproduce` carries out and claims, as data: blocks of trials, published figures, what was looked at.

    plan = load_plan()  # configs/reproduce.yaml
    blocks = plan.chosen(["contrast", "ablation/whitening"])

A block is one sweep around a shipped config. Its name is a path: `contrast` chooses all that lie below `contrast/`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from swag_ray.config.sections import FolderName, Section, as_tuple
from swag_ray.config.shipped import shipped_configs
from swag_ray.config.sweep import SweepConfig
from swag_ray.config.text import one_line, read_yaml
from swag_ray.errors import InputError

PLAN = "reproduce"
NAME = re.compile(r"[a-z0-9][a-z0-9_]*(/[a-z0-9][a-z0-9_]*)+")


def _block_name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError("must be GROUP/NAME of lower-case letters, digits and '_'")
    return value


class Block(Section):
    """Trials around one config: all combinations of `search`, each with every random seed."""

    name: Annotated[str, AfterValidator(_block_name)] = Field(description="GROUP/NAME; its sweep is OUT/GROUP/NAME")
    title: str = Field(min_length=1, description="what it shows, for a table's row or heading")
    base: str | dict[str, Any] = Field(description="the run config: a file beside this one, or its fields")
    data: FolderName | None = Field(default=None, description="folder of --data that is the dataset; null: the base's")
    wrong_seeds: float | None = Field(
        default=None, gt=0, lt=0.5, description="share of the train normals' folder that anomalies are moved into"
    )
    fixed: dict[str, Any] = Field(default={}, description="config fields of all its trials")
    search: dict[str, list[Any]] = Field(default={}, description="config field -> values")
    random_seeds: Annotated[tuple[int, ...], BeforeValidator(as_tuple)] = Field(min_length=1, description="splits")
    against: str | None = Field(
        default=None, description="block whose trials of the same pool its own are compared with"
    )
    seconds: float = Field(default=60.0, gt=0, description="a trial's seconds on one core, before any is known")
    not_run: str | None = Field(default=None, description="why it is not carried out; null: it is")

    @property
    def group(self) -> str:
        return self.name.partition("/")[0]

    @property
    def count(self) -> int:
        """Its trials."""
        points = 1
        for values in self.search.values():
            points *= len(values)
        return points * len(self.random_seeds)


class Group(Section):
    """A section of RESULTS.md."""

    title: str = Field(description="heading")
    text: str = Field(description="what its tables show")


class Earlier(Section):
    """Figures of an earlier version, by the pool's share of anomalies."""

    name: str
    source: str = Field(description="where they stand")
    roc_auc: dict[float, float] = Field(description="share of anomalies -> mean ROC-AUC")


class Plan(Section):
    groups: dict[str, Group] = Field(description="first part of the blocks' names -> section, in order")
    blocks: Annotated[tuple[Block, ...], BeforeValidator(as_tuple)] = Field(min_length=1, description="in order")
    looked_at: str = Field(min_length=1, description="how often and for what the test images were looked at")
    earlier: Earlier | None = Field(default=None, description="drawn in the figure")
    figure: dict[str, str] = Field(default={}, description="block -> its name in the figure")

    @model_validator(mode="after")
    def _rules(self) -> Plan:
        names = [block.name for block in self.blocks]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"blocks: '{twice[0]}' stands twice")
        for block in self.blocks:
            if block.group not in self.groups:
                raise ValueError(f"blocks: '{block.name}' is of no group; add groups.{block.group}")
            if block.against is not None and block.against not in names:
                raise ValueError(f"blocks: '{block.name}' is against '{block.against}', which is no block")
            if block.wrong_seeds is not None and block.data is None:
                raise ValueError(f"blocks: '{block.name}' moves images of a folder (wrong_seeds) and names none (data)")
        drawn = [name for name in self.figure if name not in names]
        if drawn:
            raise ValueError(f"figure: '{drawn[0]}' is no block")
        return self

    def chosen(self, names: Sequence[str]) -> tuple[Block, ...]:
        """The blocks of these names or groups, in the plan's order; all where none is given.

        Raises:
            InputError: a name of no block.
        """
        for name in names:
            if not any(_matches(block.name, name) for block in self.blocks):
                known = dict.fromkeys(part for block in self.blocks for part in (block.group, block.name))
                raise InputError(f"reproduce: '{name}' is no block", f"one of {', '.join(known)}")
        return tuple(b for b in self.blocks if not names or any(_matches(b.name, name) for name in names))


def _matches(block: str, name: str) -> bool:
    return block == name or block.startswith(name.rstrip("/") + "/")


def shipped_plan() -> Path:
    """configs/reproduce.yaml, of a checkout or of an installed package."""
    return shipped_configs()[PLAN]


def load_plan(path: str | Path | None = None, *, seeds: int | None = None) -> Plan:
    """Read a plan and the configs that its blocks start from; every block is tried as a sweep.

    Args:
        path: default: the shipped one.
        seeds: random seeds of each block at most; None: all.

    Raises:
        InputError: one line naming file, field, value and rule.
    """
    if seeds is not None and seeds < 1:
        raise InputError(f"--seeds: {seeds}", "give 1 or more")
    path = Path(path) if path is not None else shipped_plan()
    raw = read_yaml(path)
    for block in raw["blocks"] if isinstance(raw.get("blocks"), list) else ():
        if isinstance(block, dict):
            if isinstance(block.get("base"), str):
                block["base"] = read_yaml(path.parent / Path(block["base"]).expanduser())
            if isinstance(block.get("random_seeds"), list):
                block["random_seeds"] = block["random_seeds"][:seeds]
        try:
            Block.model_validate(block)
        except ValidationError as error:  # by its name, which says more than its place
            name = block.get("name") if isinstance(block, dict) else None
            raise InputError(f"{path}: block {name}: {one_line(error, Block)}") from None
    try:
        plan = Plan.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{path}: {one_line(error, Plan)}") from None
    for block in plan.blocks:
        try:
            sweep_of(block, None, None).trials()
        except InputError as error:
            raise InputError(f"{path}: block {block.name}: {error.problem}", error.advice) from None
    return plan


def sweep_of(block: Block, root: Path | None, store: str | None) -> SweepConfig:
    """The sweep that a block is.

    Args:
        root: the dataset's folder, where the block names one; None: what the base says.
        store: None: what the base says.

    Raises:
        InputError: no sweep follows from it.
    """
    assert isinstance(block.base, dict)
    base = dict(block.base)
    if root is not None:
        base["dataset"] = {**(base.get("dataset") or {}), "root": str(root)}
    if store is not None:
        base["store"] = store
    raw = {
        "name": block.name.replace("/", "-"), "base": base, "fixed": block.fixed, "search": block.search,
        "random_seeds": block.random_seeds,
    }  # fmt: skip
    try:
        return SweepConfig.model_validate(raw)
    except ValidationError as error:
        raise InputError(one_line(error, SweepConfig)) from None
