"""Fixtures that every test may use. Real X-rays stand beside the repository and are never copied into it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# Two busy cores are no reason to fail: pytest-timeout watches the time.
settings.register_profile("swag-ray", deadline=None)
settings.load_profile("swag-ray")

REPOSITORY = Path(__file__).resolve().parent.parent


def _real(name: str) -> Path:
    root = REPOSITORY.parent / "shared" / "data" / name
    if not root.is_dir():
        pytest.skip(f"the real X-rays {name} are not beside the repository")
    return root


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def xray_root() -> Path:
    """train|test/NORMAL|PNEUMONIA, 5,840 images."""
    return _real("chest_xray")


@pytest.fixture(scope="session")
def covid_root() -> Path:
    """train|test/NORMAL|COVID19, 2,056 images."""
    return _real("covid_cxr")


@pytest.fixture
def tmp_store(tmp_path: Path) -> Path:
    """An empty store of this test alone."""
    store = tmp_path / "store"
    store.mkdir()
    return store
