"""One self-contained HTML page, and its plots as files, from a run directory alone."""

from __future__ import annotations

from swag_ray.report.page import write_report

__all__ = ["write_report"]
