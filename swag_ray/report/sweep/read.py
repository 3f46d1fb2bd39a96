"""Read a sweep's directory: its trials, the fields it searched, and the arms (combinations of their values).

Shapes: N trials of one dataset that are done.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from swag_ray.errors import InputError
from swag_ray.record.files import SWEEP_FILE, TRIALS_FILE
from swag_ray.report.page.markup import MINUS, number
from swag_ray.report.page.reading import damaged, read_mapping
from swag_ray.report.run.read import read_table
from swag_ray.report.sweep.statistics import Coded, Codes, Floats, quantile_bins

TEST = "incremental.roc_auc"
SEED_ONLY = "baselines.seed_only.roc_auc"
NO_ADMISSION = "baselines.no_admission.roc_auc"
LEVELS = 8  # a numeric field with more values is drawn as a scatter with binned means


@dataclass(frozen=True)
class Field:
    """A swept field. `values` are the canonical texts that the trials hold, in order."""

    name: str
    short: str
    values: tuple[str, ...]

    @property
    def numeric(self) -> bool:
        return all(_as_number(value) is not None for value in self.values)

    @property
    def continuous(self) -> bool:
        return self.numeric and len(self.values) > LEVELS


@dataclass(frozen=True)
class Arm:
    """A combination of swept values, in the order of the sweep's fields; numbered by its first trial."""

    number: int
    values: tuple[str, ...]


@dataclass(frozen=True)
class Results:
    """The trials of one dataset that are done."""

    dataset: str
    rows: Sequence[Mapping[str, Any]]
    arm_N: Codes
    seed_N: Codes
    _read: dict[str, Floats] = dataclass_field(default_factory=dict, repr=False)

    def figures(self, column: str) -> Floats:
        """A column as floats, NaN where it is not known."""
        if column not in self._read:
            self._read[column] = np.array([_finite(row.get(column)) for row in self.rows], dtype=np.float64)
        return self._read[column]

    def known(self, column: str) -> bool:
        return bool(np.isfinite(self.figures(column)).any())

    def by_seed(self, arm: int, column: str) -> dict[int, float]:
        """Random seed to figure, of one arm; trials that ran twice with a seed are averaged."""
        value_N = self.figures(column)
        here_N = (self.arm_N == arm) & np.isfinite(value_N)
        return {int(s): float(value_N[here_N & (self.seed_N == s)].mean()) for s in np.unique(self.seed_N[here_N])}

    def coded(self, field: Field, bins: int, most: int) -> Coded:
        """The field as levels: its values (the `most` frequent), or quantile bins where it is continuous."""
        texts = [canonical(row.get(field.name)) for row in self.rows]
        if field.continuous:
            value_N = np.array([_finite(_as_number(text)) for text in texts])
            code_N, at_L = quantile_bins(value_N, bins)
            ends = [(value_N[code_N == level].min(), value_N[code_N == level].max()) for level in range(len(at_L))]
            return Coded(code_N, [f"{low:.2g} to {high:.2g}".replace("-", MINUS) for low, high in ends], at_L)
        held = [value for value in field.values if value in set(texts)]
        kept = sorted(held, key=lambda value: -texts.count(value))[:most]
        held = [value for value in held if value in kept]
        code_N = np.array([held.index(text) if text in held else -1 for text in texts], dtype=np.int64)
        return Coded(code_N, [display(value) for value in held], np.arange(len(held), dtype=np.float64))

    def blocks(self, fields: Sequence[Field], without: Sequence[Field]) -> Codes:
        """A number for each combination of seed and all other fields' values: trials that differ in `without` alone."""
        others = [field.name for field in fields if field not in without]
        keys = [(int(s), *(canonical(row.get(name)) for name in others))
                for s, row in zip(self.seed_N, self.rows, strict=True)]  # fmt: skip
        number_of = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        return np.array([number_of[key] for key in keys], dtype=np.int64)

    def places(self, field: Field) -> Floats:
        """A numeric field's values."""
        return np.array([_finite(_as_number(canonical(row.get(field.name)))) for row in self.rows])


@dataclass(frozen=True)
class SweepRecord:
    """sweep.yaml and trials.parquet. `rows`: every trial, by number."""

    folder: Path
    settings: Mapping[str, Any]
    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]

    @property
    def name(self) -> str:
        return str(self.settings.get("name") or self.folder.resolve().name)

    @property
    def metric(self) -> str:
        return str(self.settings.get("metric") or "last_round.pool_roc_auc")

    @property
    def descending(self) -> bool:
        return str(self.settings.get("mode") or "max") != "min"

    @property
    def crossed(self) -> bool:
        """Every combination meets every seed, so that seeds are the repetitions; else each arm is a draw of its own."""
        return str(self.settings.get("algorithm") or "grid") == "grid"

    @cached_property
    def fields(self) -> list[Field]:
        """Swept fields that the trials have a column for."""
        search = _section(self, "search")
        names = [str(name) for name in search if str(name) in self.columns]
        return [Field(name, short, _values(search[name], [row.get(name) for row in self.rows]))
                for name, short in zip(names, short_names(names), strict=True)]  # fmt: skip

    @property
    def varied(self) -> list[Field]:
        return [field for field in self.fields if len(field.values) > 1]

    @cached_property
    def arms(self) -> list[Arm]:
        found = dict.fromkeys(self._combination(row) for row in self.rows)
        return [Arm(number, values) for number, values in enumerate(found, start=1)]

    @cached_property
    def results(self) -> list[Results]:
        """Per dataset, in the order of the trials; datasets without a trial that is done are left out."""
        numbers = {arm.values: arm.number for arm in self.arms}
        done = [row for row in self.rows if row.get("status") == "done"]
        result = []
        for dataset in dict.fromkeys(str(row.get("dataset")) for row in done):
            rows = [row for row in done if str(row.get("dataset")) == dataset]
            arm_N = np.array([numbers[self._combination(row)] for row in rows], dtype=np.int64)
            seed_N = np.array([_seed(row) for row in rows], dtype=np.int64)
            result.append(Results(dataset, rows, arm_N, seed_N))
        return result

    @cached_property
    def reference(self) -> tuple[int, bool]:
        """The reference arm's number, and whether it holds the base config's values.

        A field whose base value was not tried stands at its first value; where no trial has that combination, the
        first arm is the reference.
        """
        base, noted = _section(self, "base"), _section(self, "reference")
        wanted, exact = [], True
        for field in self.fields:
            value = canonical(noted[field.name]) if field.name in noted else _dotted(base, field.name)
            exact &= value in field.values
            wanted.append(value if value in field.values else field.values[0])
        match = [arm.number for arm in self.arms if arm.values == tuple(wanted)]
        return (match[0], exact) if match else (1, False)

    @property
    def planned(self) -> int | None:
        value = number(self.settings.get("planned"))
        return None if value is None else max(round(value), 0)

    def count(self, status: str) -> int:
        return sum(row.get("status") == status for row in self.rows)

    def describe(self, arm: int, most: int = 200) -> str:
        """An arm in words: each field that varies and its value; empty where none does."""
        values = zip(self.fields, self.arms[arm - 1].values, strict=True)
        text = ", ".join(f"{field.short} {display(value)}" for field, value in values if len(field.values) > 1)
        return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"

    def _combination(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(canonical(row.get(field.name)) for field in self.fields)


def read_sweep(folder: Path) -> SweepRecord:
    """Everything the page needs.

    Raises:
        InputError: not a sweep's directory, a file missing or damaged.
    """
    for path in (folder / SWEEP_FILE, folder / TRIALS_FILE):
        if not path.exists():
            raise InputError(f"{path}: missing", "give the directory of a sweep with a trial that has ended")
    settings = read_mapping(folder, SWEEP_FILE)
    table = read_table(folder / TRIALS_FILE, ["trial", "status", "dataset", "random_seed"])
    try:
        rows = sorted(table.to_pylist(), key=lambda row: (row["trial"] is None, row["trial"] or 0))
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise damaged(folder / TRIALS_FILE, error) from None
    sweep = SweepRecord(folder, settings, list(table.column_names), rows)
    for key in ("search", "base", "datasets"):
        _section(sweep, key)
    return sweep


def canonical(value: object) -> str:
    """One text per value, so that 1, 1.0 and the JSON text "1" are one level."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return str(value)
    x = number(value)
    if x is not None:
        return repr(int(x)) if x == int(x) and abs(x) < 1e15 else repr(x)
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def display(value: str, most: int = 28) -> str:
    """A canonical text as a reader wants it: four digits of a number, a proper minus, no endless text."""
    x = _as_number(value)
    if x is not None:
        return f"{x:.4g}".replace("-", MINUS) if not x.is_integer() or abs(x) >= 1e7 else f"{x:.0f}".replace("-", MINUS)
    text = "".join(c if c.isprintable() else " " for c in value)
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def short_names(names: Sequence[str]) -> list[str]:
    """The last part of each dotted name, the whole name where two would be alike or it says nothing by itself."""
    last = [name.rpartition(".")[2] for name in names]
    clear = [last.count(part) == 1 and part not in ("", "name", "kind") for part in last]
    return [part if ok else name for name, part, ok in zip(names, last, clear, strict=True)]


def _values(searched: object, held: Sequence[object]) -> tuple[str, ...]:
    """The values that occur: numbers by size, others in the order of the search, then as they came."""
    found = list(dict.fromkeys(canonical(value) for value in held))
    if all(_as_number(text) is not None for text in found):
        return tuple(sorted(found, key=lambda text: _as_number(text) or 0.0))
    order = [canonical(value) for value in searched] if isinstance(searched, list) else []
    return tuple(sorted(found, key=lambda text: order.index(text) if text in order else len(order)))


def _section(sweep: SweepRecord, key: str) -> Mapping[str, Any]:
    value = sweep.settings.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise damaged(sweep.folder / SWEEP_FILE, f"{key} is not a table")
    return value


def _dotted(table: object, name: str) -> str:
    """A config's value under a dotted name as canonical text, no text at all where the config does not say."""
    for part in name.split("."):
        if not isinstance(table, Mapping) or part not in table:
            return ""
        table = table[part]
    return canonical(table)


def _seed(row: Mapping[str, Any]) -> int:
    value = number(row.get("random_seed"))
    return -1 if value is None else int(value)


def _as_number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _finite(value: object) -> float:
    x = number(value)
    return math.nan if x is None else x
