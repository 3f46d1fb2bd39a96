"""What messages name exists: each `section.field:` in front of one is a field of a config."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

import swag_ray
from swag_ray.config import Config
from swag_ray.config.sweep import SweepConfig

PACKAGE = Path(swag_ray.__file__).parent


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted names of a model's fields, those of its sections too."""
    for name, field in model.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(field.annotation, f"{prefix}{name}.")


def named_fields(file: Path) -> Iterator[str]:
    """What stands before the colon of each InputError that the file makes, where it is written out."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "InputError":
            message = node.args[0]
            parts = message.values if isinstance(message, ast.JoinedStr) else [message]
            if parts and isinstance(parts[0], ast.Constant):
                before, colon, _ = str(parts[0].value).partition(": ")
                if colon:
                    yield before


def test_fields_that_messages_name_are_there() -> None:
    known = {*fields(Config), *fields(SweepConfig)}
    named = {name: file for file in PACKAGE.rglob("*.py") for name in named_fields(file)}
    dotted = {name for name in named if name.partition(".")[0] in known and "." in name}
    assert {"score.neighbours", "split.seed_fraction", "dataset.root"} <= dotted
    assert {name: str(named[name]) for name in dotted - known} == {}
