"""What a searched field may be: one of several values, or a number from a range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Kind = Literal["choice", "uniform", "loguniform", "randint"]
RANGES: tuple[Kind, ...] = ("uniform", "loguniform", "randint")


@dataclass(frozen=True)
class Distribution:
    """Values of one field.

    Attributes:
        kind: `choice` of `choices`, or a range: `uniform`, `loguniform`, or `randint` (both ends may come).
        low, high: of the range.
    """

    kind: Kind
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0

    def draw(self, generator: np.random.Generator) -> Any:
        """One value."""
        match self.kind:
            case "choice":
                return self.choices[int(generator.integers(len(self.choices)))]
            case "uniform":
                return float(generator.uniform(self.low, self.high))
            case "loguniform":
                return float(np.exp(generator.uniform(math.log(self.low), math.log(self.high))))
            case "randint":
                return int(generator.integers(int(self.low), int(self.high) + 1))


def distribution(field: str, given: Any) -> Distribution:
    """A field's values as the sweep's YAML gives them.

    Raises:
        ValueError: neither a list nor `{uniform|loguniform|randint: [low, high]}`, naming the field.
    """
    if isinstance(given, list):
        if not given:
            raise ValueError(f"search.{field}: must name at least one value")
        if len({repr(value) for value in given}) != len(given):
            raise ValueError(f"search.{field}: must not name a value twice")
        return Distribution("choice", tuple(given))
    if isinstance(given, dict) and len(given) == 1:
        ((kind, ends),) = given.items()
        numbers = isinstance(ends, list) and len(ends) == 2 and all(type(end) in (int, float) for end in ends)
        if kind in RANGES and numbers and ends[0] < ends[1]:
            if kind == "loguniform" and ends[0] <= 0:
                raise ValueError(f"search.{field}: loguniform needs ends above 0")
            if kind == "randint" and any(type(end) is not int for end in ends):
                raise ValueError(f"search.{field}: randint needs whole numbers")
            return Distribution(kind, (), float(ends[0]), float(ends[1]))
    raise ValueError(
        f"search.{field}: must be a list of values, or {{uniform: [low, high]}}, loguniform or randint, not {given!r}"
    )
