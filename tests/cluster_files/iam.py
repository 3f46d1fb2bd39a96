"""A small reading of IAM: enough for clusters/iam, and strict where it knows no better."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _holds(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    for operator, tests in condition.items():
        if operator not in ("StringEquals", "StringLike"):
            raise ValueError(f"unknown condition {operator}")
        for key, wanted in tests.items():
            found = context.get(key)  # an absent key fails, as it does in AWS
            same = fnmatchcase if operator == "StringLike" else str.__eq__
            if found is None or not any(same(found, str(value)) for value in _list(wanted)):
                return False
    return True


def allowed(statements: list[dict[str, Any]], action: str, resource: str, context: Mapping[str, str]) -> bool:
    """Whether a statement allows the action on the resource; without `Deny`, one is enough.

    Args:
        context: condition keys of the request, such as `aws:ResourceTag/...`.
    """
    assert all(statement["Effect"] == "Allow" for statement in statements)
    return any(
        any(fnmatchcase(action, pattern) for pattern in _list(statement["Action"]))
        and any(fnmatchcase(resource, pattern) for pattern in _list(statement["Resource"]))
        and _holds(statement.get("Condition", {}), context)
        for statement in statements
    )


def actions(statements: list[dict[str, Any]]) -> set[str]:
    """Every action that is allowed on something."""
    return {action for statement in statements for action in _list(statement["Action"])}
