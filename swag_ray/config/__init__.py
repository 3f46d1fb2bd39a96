"""Configs of runs and sweeps: every field typed, with a range and a reason. Start at `run`, then `sections`."""

from __future__ import annotations

from swag_ray.config.run import Config, fields, identity, load_config, parse_config, resolved, schema, to_yaml

__all__ = ["Config", "fields", "identity", "load_config", "parse_config", "resolved", "schema", "to_yaml"]
