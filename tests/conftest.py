"""Fixtures that every test may use. Real X-rays stand beside the repository and are never copied into it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from swag_ray.config import Config, parse_config
from tests.support.command_line import Command
from tests.support.small_disk import SmallDisk, mount

# Two busy cores are no reason to fail: pytest-timeout watches the time.
settings.register_profile("swag-ray", deadline=None)
settings.load_profile("swag-ray")

pytest_plugins = ["tests.support.s3"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole experiments come first: of several workers, those that end early then have short files left to take."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/whole/"))


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


# A whole experiment in seconds: real digits, real ImageNet weights at a quarter of the side, real Ray.
TINY: dict[str, Any] = {
    "name": "tiny",
    "dataset": {
        "kind": "digit_anatomy",
        "digit_anatomy": {
            "normal_sets": 16, "normals_per_set": 6, "anomaly_sets": 8, "anomalies_per_set": 8,
            "test_normals": 24, "test_anomalies": 24, "test_scans": 20,
        },
    },
    "split": {"seed_fraction": 0.5, "folds": 3},
    "backbone": {"image_size": 64},
    "head": {"warmup_epochs": 5, "swag_epochs": 6},
    "swag": {"samples": 4},
    "outliers": {"probability": 0.5},
    "gate": {"budget": 12},
    "rounds": 2,
}  # fmt: skip


def tiny_config(store: Path, *overrides: str, **top: Any) -> Config:
    """`TINY` on a store, with dotted overrides and top-level fields."""
    raw = copy.deepcopy(TINY) | {"store": str(store)} | top
    for section in ("head", "outliers") if raw.get("method") == "published" else ():
        del raw[section]
    return parse_config(raw, overrides)


@pytest.fixture(scope="session")
def session_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that all tests of a session share, so that features are extracted once."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One local Ray for the session: two logical cores, a small object store, no dashboard."""
    from swag_ray.cluster.session import ray_session

    with ray_session(cpus=2, object_store_mb=200):
        yield


@pytest.fixture
def tiny(session_store: Path) -> Callable[..., Config]:
    """`tiny("gate.budget=5", method="published", store=other)`: a small config on the shared store."""

    def make(*overrides: str, store: Path | None = None, **top: Any) -> Config:
        return tiny_config(store or session_store, *overrides, **top)

    return make


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """`command("run", path).complaint`: the command line, in this process."""
    return Command(monkeypatch, capfd)


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the test does must not get as far as Ray."""

    def refuse(**options: Any) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("swag_ray.cluster.workers.ray_session", refuse)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], SmallDisk]]:
    """`small_disk("64k")`: an empty disk of that size, gone after the test."""
    disks: list[SmallDisk] = []

    def make(size: str) -> SmallDisk:
        disks.append(mount(tmp_path / f"disk{len(disks)}", size))
        return disks[-1]

    yield make
    for disk in disks:
        disk.unmount()


@pytest.fixture
def one_thread() -> None:
    """As the actors work: figures that are compared bit for bit depend on it."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests of a file that do not count what is computed."""
    return tmp_path_factory.mktemp("store")
