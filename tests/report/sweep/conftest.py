"""What several tests of the pages use."""

from __future__ import annotations

import pytest


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of words alone: what takes the time is left out."""
    monkeypatch.setattr("swag_ray.report.sweep.plots.svg", lambda drawing, name: '<svg viewBox="0 0 1 1"></svg>')
