"""A finished run and its bundle, for all tests of scoring."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from swag_ray.config import Config
from swag_ray.run.run import run_experiment

Tiny = Callable[..., Config]


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("score")


@pytest.fixture
def tests(session_store: Path, finished: Path) -> Path:
    """The folder of the test images, both classes below it."""
    (drawn,) = (session_store / "datasets").glob("digit-anatomy-*")
    return drawn / "test"


@pytest.fixture
def finished(tiny: Tiny, local_ray: None, directory: Path) -> Path:
    """A run; the first test that asks waits for it."""
    if not (directory / "run" / "metrics.json").exists():
        run_experiment(tiny(rounds=1, controls=[]), directory / "run")
    return directory / "run"


@pytest.fixture
def bundle(finished: Path, tmp_path: Path) -> Path:
    """A copy of its detector, elsewhere."""
    return shutil.copytree(finished / "detector", tmp_path / "bundle")
