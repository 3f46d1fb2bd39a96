"""A sweep's config: what to vary around a run config, over which datasets and seeds; and the trials that follow.

    sweep = load_sweep("configs/ablation.yaml", ["datasets.covid.root=data/covid_cxr"])
    trials = sweep.trials()

A trial is one run config. A *point* is one choice of the searched fields; every point runs on every dataset with every
seed, so that points can be compared in pairs.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from swag_ray.config import Config, fields, parse_config
from swag_ray.config.search import RANGES, Distribution, distribution
from swag_ray.config.sections import DatasetConfig, Section, absolute, as_tuple, run_name, weights_place
from swag_ray.config.shipped import find_config
from swag_ray.config.text import apply_override, dump_yaml, one_line, read_yaml
from swag_ray.core.seeding import numpy_generator
from swag_ray.errors import InputError
from swag_ray.store.stages import digest

Point = dict[str, Any]
# Read only by what comes after the first fits: trials that differ in nothing else share those.
LATE = ("rounds", "gate.", "calibration.", "controls")


OF_SPLIT = ("contamination", "on_corrupt")  # fields of a dataset that its images do not depend on
DRAWS = 100  # points of a space, of which one must make a config
NOTES = ("planned", "reference")  # that a sweep's directory adds to its sweep.yaml
# Relative ones are meant from where the sweep is called; trials, and who resumes it, are elsewhere.
PATHS: dict[str, Callable[[str], str]] = {
    **{f"dataset.{name}": absolute for name in ("root", "seed_root", "pool_root", "test_root", "manifest")},
    "store": absolute,
    "backbone.weights": weights_place,
}


class EarlyStopping(Section):
    """Asynchronous successive halving (Li et al. 2020): of trials that got as far, the worst end early."""

    grace_rounds: int = Field(default=1, ge=1, description="rounds that every trial gets")
    reduction_factor: float = Field(default=3, gt=1, le=100, description="one in so many goes on at each rung")


class SweepConfig(Section):
    name: Annotated[str, AfterValidator(run_name)] = Field(description="names the sweep: sweeps/NAME")
    base: dict[str, Any] = Field(description="the run config that all trials start from: a path or its fields")
    fixed: dict[str, Any] = Field(default={}, description="config fields that all trials have, over the base's")
    datasets: dict[str, dict[str, Any]] = Field(
        default={}, description="name -> fields of `dataset` that make it this dataset; none: the base's alone"
    )
    search: dict[str, Any] = Field(
        default={}, description="config field -> list of values, or {uniform|loguniform|randint: [low, high]}"
    )
    random_seeds: Annotated[tuple[int, ...], BeforeValidator(as_tuple)] = Field(
        default=(0,), min_length=1, description="`random_seed` of each repetition"
    )
    algorithm: Literal["grid", "random", "optuna"] = Field(
        default="grid", description="all combinations; points drawn at random; points suggested by Optuna's TPE"
    )
    points: int | None = Field(
        default=None, ge=1, le=10**6, description="random, optuna: how many points, each on all datasets and seeds"
    )
    random_seed: int = Field(default=0, ge=0, le=2**32 - 1, description="random, optuna: of the points drawn")
    metric: str = Field(
        default="last_round.pool_roc_auc",
        description="what optuna, early stopping and the report's ranking go by; a test figure would be tuned on",
    )
    mode: Literal["max", "min"] = Field(default="max", description="whether more or less of the metric is better")
    early_stopping: EarlyStopping | None = Field(default=None, description="null: every trial runs to its end")
    concurrent: int | None = Field(default=None, ge=1, description="trials at a time; null: as many as fit")
    loggers: dict[Literal["mlflow", "wandb"], dict[str, Any]] = Field(
        default={}, description="also log to these: arguments of Ray's MLflow or Weights & Biases callback"
    )

    @model_validator(mode="before")
    @classmethod
    def _dotted(cls, raw: Any) -> Any:
        """`search: {gate: {budget: [..]}}` means `search: {gate.budget: [..]}`, and `--set` writes it so."""
        if not isinstance(raw, dict):
            return raw
        sections = {name: dict(_flat(raw[name])) for name in ("search", "fixed") if isinstance(raw.get(name), dict)}
        return _with_absolute_paths(raw | sections)

    @model_validator(mode="after")
    def _rules(self) -> SweepConfig:
        if self.algorithm == "grid":
            if self.points is not None:
                raise ValueError("points: a grid has as many as it has combinations; remove it or change algorithm")
            drawn = [field for field, values in self.search.items() if not isinstance(values, list)]
            if drawn:
                raise ValueError(f"search.{drawn[0]}: a grid needs a list of values; or set algorithm: random")
        elif self.points is None:
            raise ValueError(f"points: is required where algorithm is {self.algorithm}")
        elif not self.search:
            raise ValueError("search: is required; name the fields to vary")
        given = {f"dataset.{field}" for fields_of in self.datasets.values() for field in fields_of}
        for section, field in [("search", name) for name in self.search] + [("fixed", name) for name in self.fixed]:
            if field in ("random_seed", "name") or field.split(".")[0] == "cluster":
                raise ValueError(
                    f"{section}.{field}: is not a trial's own; seeds go into random_seeds, cluster.* into base"
                )
            if field in given:
                raise ValueError(f"{section}.{field}: is what `datasets` sets; leave one of them out")
        for field, values in self.search.items():
            if field == "store" or field.split(".")[0] == "report":
                raise ValueError(f"search.{field}: cannot be searched; it changes no figure")
            if self.algorithm == "optuna" and field.split(".")[0] in ("backbone", "dataset"):
                raise ValueError(f"search.{field}: features must be there before the first trial; use grid or random")
            distribution(field, values)
        if self.early_stopping and not self.metric.startswith("last_round."):
            raise ValueError(f"metric: early_stopping needs a figure of every round (last_round.*), not {self.metric}")
        return self

    @property
    def anonymous(self) -> bool:
        """Whether the trials' `report.anonymous` is set."""
        report = self.base.get("report")
        own = report.get("anonymous") if isinstance(report, dict) else False
        return self.fixed.get("report.anonymous", own) is True

    def space(self) -> dict[str, Distribution]:
        """The searched fields with what may be drawn for each."""
        return {field: distribution(field, values) for field, values in self.search.items()}

    def repetitions(self) -> list[tuple[str, int]]:
        """(dataset, random seed) of every repetition of a point."""
        return list(itertools.product(self.datasets or {"": {}}, self.random_seeds))

    def trials(self) -> list[Trial]:
        """All trials of a grid or of random search, checked, in the order they should start.

        Raises:
            InputError: a combination that no run would take, named.
        """
        jobs = [(point, *repetition) for point in self._points() for repetition in self.repetitions()]
        return [self.trial(n, *job) for n, job in enumerate(_start_order(jobs))]

    def trial(self, number: int, point: Point, dataset: str, random_seed: int) -> Trial:
        """One trial; its config is checked as a run's is."""
        raw = json.loads(json.dumps(self.base))
        if dataset:
            raw["dataset"] = {**(raw.get("dataset") or {}), **self.datasets[dataset]}
        overrides = [f"{field}={json.dumps(value)}" for field, value in (self.fixed | point).items()]
        where = ", ".join(filter(None, [dataset, *overrides]))
        config = parse_config(
            raw | {"name": f"{self.name}-{number:04d}", "random_seed": random_seed}, overrides,
            source=f"trial {number} ({where})" if where else f"trial {number}",
        )  # fmt: skip
        return Trial(number, dataset, random_seed, point, config)

    def representative_trials(self) -> list[Trial]:
        """Trials that stand for all: a list's own, or one a repetition at some point of a space yet to be searched, the
        first drawn that makes a config; points that make none are failed trials when the search comes to them.

        Raises:
            InputError: a combination that no run would take, or a space of which none was found that one would.
        """
        if self.algorithm != "optuna":
            return self.trials()
        generator = np.random.default_rng(0)

        def drawn() -> list[Trial]:
            point = {field: values.draw(generator) for field, values in self.space().items()}
            return [self.trial(0, point, *repetition) for repetition in self.repetitions()]

        for _ in range(DRAWS - 1):
            with suppress(InputError):
                return drawn()
        return drawn()

    def reference(self) -> Point:
        """What the searched fields are where nobody varies them; empty where that makes no config."""
        try:
            return fields(self.trial(0, {}, *self.repetitions()[0]).config, *self.search)
        except (InputError, ValueError):
            return {}

    def _points(self) -> Iterator[Point]:
        space = self.space()
        if self.algorithm == "grid":
            choices = [values.choices for values in space.values()]
            yield from (dict(zip(space, chosen, strict=True)) for chosen in itertools.product(*choices))
            return
        for n in range(self.points or 0):
            generator = numpy_generator(self.random_seed, "point", n)
            yield {field: values.draw(generator) for field, values in space.items()}


@dataclass(frozen=True)
class Trial:
    """One run config of a sweep: number, repetition (dataset "" where the base's is the only one), point."""

    number: int
    dataset: str
    random_seed: int
    point: Point
    config: Config

    @property
    def name(self) -> str:
        """Names the trial's folder."""
        return f"{self.number:04d}"


def source_key(config: Config) -> str:
    """Stands for the images and features that a config works on: trials with the same share both."""
    return digest(
        fields(
            config,
            *(f"dataset.{name}" for name in DatasetConfig.model_fields if name not in OF_SPLIT),
            "split.group",
            "backbone",
        )
    )


def load_sweep(path: str | Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read a sweep's YAML and its base config, apply `a.b=value` overrides (of the base's fields too, as `base.a.b`).

    Args:
        path: of the file, or the name of a shipped sweep (`config.shipped`).

    Raises:
        InputError: one line naming file, field, value and rule.
    """
    path = find_config(path)
    raw = read_yaml(path)
    for note in NOTES:
        raw.pop(note, None)
    base = raw.get("base")
    if isinstance(base, str):
        found = Path(path).parent / Path(base).expanduser()
        raw["base"] = read_yaml(found)
    for override in overrides:
        apply_override(raw, override)
    try:
        return SweepConfig.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{path}: {one_line(error, SweepConfig)}") from None


def load_examples(path: str | Path, overrides: Sequence[str] = ()) -> list[Config]:
    """A trial's config on each dataset of a sweep.

    Raises:
        InputError: as `load_sweep`.
    """
    found: dict[str, Config] = {}
    for trial in load_sweep(path, overrides).representative_trials():
        found.setdefault(trial.dataset, trial.config)
    # Where a config leaves their number open, a trial has one actor and a run as many as have room.
    one = {"actors": 1}
    return [
        c if c.cluster.actors else c.model_copy(update={"cluster": c.cluster.model_copy(update=one)})
        for c in found.values()
    ]


def to_yaml(sweep: SweepConfig) -> str:
    """The resolved sweep; `load_sweep` reads it back."""
    return dump_yaml(sweep.model_dump(mode="json"))


def _flat(nested: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in nested.items():
        if isinstance(value, dict) and not set(value) & set(RANGES):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _with_absolute_paths(raw: dict[str, Any]) -> dict[str, Any]:
    """The sweep's fields, with all paths absolute."""

    def at(field: str, value: Any) -> Any:
        if isinstance(value, list):
            return [at(field, one) for one in value]
        with suppress(ValueError):  # told where a trial's config is checked
            return PATHS[field](value) if field in PATHS and isinstance(value, str) else value
        return value

    def below(prefix: str, section: Any) -> Any:
        if not isinstance(section, dict):
            return section
        return {
            k: below(f"{prefix}{k}.", v) if isinstance(v, dict) else at(f"{prefix}{k}", v) for k, v in section.items()
        }

    datasets = raw.get("datasets")
    if isinstance(datasets, dict):
        raw = raw | {"datasets": {name: below("dataset.", section) for name, section in datasets.items()}}
    return raw | {name: below("", raw[name]) for name in ("base", "fixed", "search") if name in raw}


def _start_order(jobs: list[tuple[Point, str, int]]) -> list[tuple[Point, str, int]]:
    """Jobs in the order in which they should start.

    Those that would wait for each other's stages are spread out, and of those that share a beginning the longest goes
    first: the others then find what they need. Jobs that differ in nothing early form a lane; lanes take turns.
    """
    lanes: dict[str, list[tuple[Point, str, int]]] = {}
    for job in jobs:
        point, dataset, random_seed = job
        early = {field: value for field, value in point.items() if not field.startswith(LATE)}
        lanes.setdefault(json.dumps([dataset, random_seed, early], sort_keys=True), []).append(job)
    for lane in lanes.values():
        lane.sort(key=lambda job: -rounds if isinstance(rounds := job[0].get("rounds"), int) else 0)
    turns = itertools.zip_longest(*lanes.values())
    return [job for turn in turns for job in turn if job is not None]
