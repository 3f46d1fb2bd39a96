"""The files that a page or a card is made from: tables of keys and values, and the one line for what is not there.

What is damaged is refused, what is absent stays absent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from swag_ray.errors import InputError


def missing(path: Path) -> InputError:
    """Returns the one line for a file that a finished run has and this one has not."""
    return InputError(f"{path}: missing", "give the directory of a finished run, or finish it with --resume")


def damaged(path: Path, error: object) -> InputError:
    """The error to raise for a file whose content is not what it should be, in one line."""
    reason = " ".join(str(error).split())[:200]
    return InputError(f"{path}: cannot be read ({reason})", "restore the file or run the experiment again")


def read_mapping(folder: Path, name: str) -> Mapping[str, Any]:
    """A YAML or JSON file that holds a table; InputError where it is missing or damaged."""
    path = folder / name
    try:
        text = path.read_text(encoding="utf-8")
        value = yaml.safe_load(text) if name.endswith(".yaml") else json.loads(text)
    except FileNotFoundError:
        raise missing(path) from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise damaged(path, error) from None
    if not isinstance(value, Mapping):
        raise damaged(path, "not a table of keys and values")
    return value


def nested(path: Path, table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Returns a table within the table that a file holds, empty where absent.

    Raises:
        InputError: the key holds something else than a table.
    """
    value = table.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InputError(f"{path}: {key} is not a table", "restore the file")
    return value
