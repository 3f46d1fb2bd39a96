"""A config as a page shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from swag_ray.masking import without_secrets

PATHS = ("root", "seed_root", "pool_root", "test_root", "manifest", "store", "weights")  # fields that hold a path
NO_PATHS = ("bundled", "hub")  # words in place of one


def is_anonymous(config: Mapping[str, Any]) -> bool:
    """Whether a run's config says `report.anonymous`."""
    report = config.get("report")
    return isinstance(report, Mapping) and report.get("anonymous") is True


def settings_text(settings: Mapping[str, Any], *, anonymous: bool) -> str:
    """Returns a config as YAML, without secrets and, where it is anonymous, without paths."""
    plain = without_secrets(settings)
    return yaml.safe_dump(_without_paths(plain) if anonymous else plain, sort_keys=False, allow_unicode=True)


def _without_paths(value: Any, field: str = "") -> Any:
    if isinstance(value, Mapping):
        return {key: _without_paths(held, str(key)) for key, held in value.items()}
    if isinstance(value, list):
        return [_without_paths(held, field) for held in value]
    if not isinstance(value, str):
        return value
    hidden = field.rpartition(".")[2] in PATHS and value not in NO_PATHS
    return "not shown" if hidden or "/" in value or "\\" in value else value
