"""A finished run to draw a page from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from swag_ray.report.run.page import write_report
from tests.report.run.fixture import write_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("runs") / "complete", overlays=4)
    write_report(folder)
    return folder


@pytest.fixture
def drawn_run(finished: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def run(drawn_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same for tests of words and tables alone: no plot is drawn, as that takes a second."""
    monkeypatch.setattr("swag_ray.report.run.page.draw_all", lambda run: {})
    return drawn_run
