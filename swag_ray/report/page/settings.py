"""A config as a page shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from swag_ray.masking import without_secrets

# Fields that hold a path, a folder's name or what to look for in names.
NAMES = ("root", "seed_root", "pool_root", "test_root", "manifest", "store", "weights", "normal", "anomaly", "group")
NO_NAMES = ("bundled", "hub", "folder", "column", "patient_id")  # words in place of one


def is_anonymous(config: Mapping[str, Any]) -> bool:
    """Whether a run's config says `report.anonymous`."""
    report = config.get("report")
    return isinstance(report, Mapping) and report.get("anonymous") is True


def settings_text(settings: Mapping[str, Any], *, anonymous: bool) -> str:
    """Returns a config as YAML, without secrets and, where it is anonymous, without names of files and folders."""
    plain = without_secrets(settings)
    return yaml.safe_dump(_without_names(plain) if anonymous else plain, sort_keys=False, allow_unicode=True)


def _without_names(value: Any, field: str = "") -> Any:
    if isinstance(value, Mapping):
        return {key: _without_names(held, str(key)) for key, held in value.items()}
    if isinstance(value, list):
        return [_without_names(held, field) for held in value]
    if not isinstance(value, str):
        return value
    hidden = field.rpartition(".")[2] in NAMES and value not in NO_NAMES
    return "not shown" if hidden or "/" in value or "\\" in value else value
