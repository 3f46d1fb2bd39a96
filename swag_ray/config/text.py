"""A config as text: strict YAML in and out, dotted overrides, and the wording of one-line errors."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from swag_ray.errors import InputError, reason_of
from swag_ray.masking import MASK, is_secret, masked, without_secrets

LOGGERS = "loggers"


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses duplicate keys and reads 1e-4 as a number, which YAML 1.1 takes for text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode):
                if key_node.value in seen:
                    problem = f"the key {key_node.value!r} stands twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
                seen.add(key_node.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Lists on one line; text that `_Loader` would read as a number in quotes."""


_Dumper.add_representer(
    list, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)
)
_Dumper.add_representer(  # unquoted, line separators other than \n at an end are lost
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, None if text.isprintable() else '"'),
)
for _yaml in (_Loader, _Dumper):
    _yaml.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML mapping from a file; duplicate keys are refused. Raises InputError."""
    try:
        raw = yaml.load(Path(path).read_text(encoding="utf-8-sig"), Loader=_Loader)
    except OSError as error:
        raise InputError(f"{path}: cannot read the config: {reason_of(error)}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not a text file in UTF-8") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not valid YAML: {_yaml_problem(error)}") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: must hold keys and values (`name: ...`), not {type(raw).__name__}")
    return raw


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set `a.b=value` in a nested mapping, in place; the value is YAML. Raises InputError."""
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    secret = any(key == LOGGERS or is_secret(key) for key in keys)
    shown = f"{path}={MASK}" if secret and text.strip() else override
    if not equals or not all(keys):
        raise InputError(f"--set {shown}: must look like section.key=value")
    if not text.strip():
        raise InputError(f"--set {shown}: has no value", "write null for none")
    try:
        value = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = "" if secret else f": {_yaml_problem(error)}"
        raise InputError(f"--set {shown}: the value is not valid YAML{problem}") from None
    for depth, key in enumerate(keys[:-1], start=1):
        raw[key] = {} if raw.get(key) is None else raw[key]
        raw = raw[key]
        if not isinstance(raw, dict):
            raise InputError(f"--set {shown}: {'.'.join(keys[:depth])} is a value and has no keys")
    raw[keys[-1]] = value


def dump_yaml(plain: dict[str, Any], *, escaped: bool = False) -> str:
    """Returns YAML that `read_yaml` reads back unchanged but for secrets, which are masked; keys in their order.

    Args:
        escaped: in ASCII alone.
    """
    return yaml.dump(without_secrets(plain), Dumper=_Dumper, sort_keys=False, allow_unicode=not escaped, width=120)


RULES = {
    "missing": "is required",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "string_type": "must be text (put it in quotes)",
    "tuple_type": "must be a list",
    "string_too_short": "must not be empty",
    "model_type": "must hold keys and values",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
}


def one_line(error: ValidationError, model: type[BaseModel]) -> str:
    """The first error as `field: value rule`, and how many more there are; `model` is the one that was validated."""
    first, *others = error.errors(include_url=False)
    loc, kind = first["loc"], first["type"]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")
    rule = RULES[kind].format(**first.get("ctx", {})) if kind in RULES else first["msg"]
    if kind == "extra_forbidden":
        message = f"{field}: unknown key; {_suggestion([str(part) for part in loc], model)}"
    elif kind == "missing":
        message = f"{field}: {rule}"
    elif not loc:
        message = rule
    else:
        # A logger's arguments are for its library: which of them are secrets, or misplaced ones, it alone knows.
        shown = MASK if LOGGERS in loc else masked(repr(without_secrets(first["input"], str(loc[-1]))))
        message = f"{field}: {shown if len(shown) <= 80 else shown[:77] + '...'} {rule}"
    more = f" (and {len(others)} more)" if others else ""
    return " ".join(message.split()) + more


def _suggestion(keys: list[str], model: type[BaseModel]) -> str:
    """The nearest known key: among its siblings, else anywhere in the config."""
    *sections, wrong = keys
    section: Any = model
    for key in sections:
        field = getattr(section, "model_fields", {}).get(key)
        section = field.annotation if field is not None else None
    if not hasattr(section, "model_fields"):  # an entry of a list or of a mapping
        return "remove it"
    near = difflib.get_close_matches(wrong, section.model_fields, n=1)
    if near:
        return f"did you mean {'.'.join([*sections, near[0]])}?"
    leaves = {path.rpartition(".")[2]: path for path in reversed(list(_paths(model)))}
    elsewhere = difflib.get_close_matches(wrong, leaves, n=1, cutoff=0.8)
    return f"did you mean {leaves[elsewhere[0]]}?" if elsewhere else f"known here: {', '.join(section.model_fields)}"


def _paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _paths(field.annotation, f"{prefix}{name}.")


def _yaml_problem(error: Exception) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return where + " ".join(str(problem or error).split())
