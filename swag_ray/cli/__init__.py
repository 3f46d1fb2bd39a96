"""The command line: parse, call, print. Start at `commands`; the other files are what it prints with."""

from __future__ import annotations

from swag_ray.cli.commands import app, main

__all__ = ["app", "main"]
