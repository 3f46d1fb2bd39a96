"""Dataclasses from the JSON of a file that may come from anywhere: every field there, of its type, no other."""

from __future__ import annotations

import math
import types
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def built(made: type[T], values: Any) -> T:
    """Returns a dataclass of a JSON object; lists become tuples, whole numbers floats where one is due.

    Args:
        made: its fields are numbers, words, tuples of one of them, dataclasses like it, or None beside these.

    Raises:
        TypeError: no object, a field missing, unknown, or of another type.
    """
    if not isinstance(values, dict):
        raise TypeError(f"{made.__name__}: {type(values).__name__} in place of an object")
    hints = get_type_hints(made)
    known = {field.name for field in fields(made)}  # type: ignore[arg-type]
    if unknown := values.keys() - known:
        raise TypeError(f"{made.__name__}: {', '.join(sorted(unknown))} unknown")
    return made(**{name: _of_type(hints[name], value, name) for name, value in values.items()})


def _of_type(wanted: Any, value: Any, name: str) -> Any:
    if get_origin(wanted) in (Union, types.UnionType):
        if value is None and type(None) in get_args(wanted):
            return None
        (wanted,) = (one for one in get_args(wanted) if one is not type(None))
    if get_origin(wanted) is tuple and isinstance(value, list):
        return tuple(_of_type(get_args(wanted)[0], one, name) for one in value)
    if is_dataclass(wanted):
        return built(wanted, value)  # type: ignore[arg-type]
    if wanted is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if type(value) is wanted:  # a bool is no number
        return value
    raise TypeError(f"{name}: {value!r:.40} is no {wanted}")
