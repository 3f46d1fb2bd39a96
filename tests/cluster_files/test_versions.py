"""One version of everything, everywhere, and one that pyproject.toml allows."""

from __future__ import annotations

import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.cluster_files.files import (
    CLUSTERS,
    LAUNCHED,
    PROJECT,
    README,
    constraints,
    launcher_config,
    pins,
    requirements,
)

pytestmark = pytest.mark.cluster

NODE = {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux", "python_version": "3.11",
        "python_full_version": "3.11.9"}  # fmt: skip
EXTRAS = ("cluster", "serve", "dicom")
TAG = re.compile(r"rayproject/ray:([\w.-]+)")


def images(name: str) -> dict[str, str]:
    docker = launcher_config(name)["docker"]
    return {key: docker[key] for key in ("image", "head_image", "worker_image") if key in docker}


def test_all_images_are_rays_of_one_version_and_python() -> None:
    files = [CLUSTERS / "Dockerfile", CLUSTERS / "README.md", *(CLUSTERS / f"{name}.yaml" for name in LAUNCHED)]
    tags = [tag for file in files for tag in TAG.findall(file.read_text(encoding="utf-8"))]
    version = constraints()["ray"]
    assert len(tags) >= len(files)
    assert set(tags) == {f"{version}-py311-cpu", f"{version}-py311-gpu"}
    assert PROJECT["requires-python"] == ">=3.11"
    assert f"Ray {version}" in README


@pytest.mark.parametrize("name", LAUNCHED)
def test_workers_have_the_gpu_image(name: str) -> None:
    found = images(name)
    assert found.get("worker_image", found.get("image", "")).endswith("-gpu")
    assert found.get("head_image", "-cpu").endswith("-cpu")
    assert launcher_config(name)["docker"]["container_name"]


@pytest.mark.parametrize(
    "requirement", [*requirements(), *(r for extra in EXTRAS for r in requirements(extra))], ids=str
)
def test_every_dependency_is_pinned_to_a_version_that_the_project_allows(requirement) -> None:  # type: ignore[no-untyped-def]
    assert requirement.specifier.contains(constraints()[requirement.name])


def test_every_package_that_a_node_gets_is_pinned_with_its_hashes() -> None:
    """Of what is installed here: all that ours depend on, and all that those do."""
    wanted, met = [*requirements(), *(r for extra in EXTRAS for r in requirements(extra))], set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        if (name, *sorted(requirement.extras)) in met:
            continue
        met.add((name, *sorted(requirement.extras)))
        assert name in constraints(), f"{name} is not pinned"
        with suppress(PackageNotFoundError):  # ours by an extra that the tests do without
            for text in distribution(name).requires or []:
                below = Requirement(text)
                extras = requirement.extras or {""}
                if below.marker is None or any(below.marker.evaluate(NODE | {"extra": extra}) for extra in extras):
                    wanted.append(below)
    assert len(met) > 90
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", text) for _, _, hashes in pins() for text in hashes)
    assert all(hashes for _, _, hashes in pins())


def test_nothing_is_run_that_a_network_sent() -> None:
    for file in [
        *CLUSTERS.glob("*.yaml"),
        CLUSTERS / "README.md",
        CLUSTERS / "Dockerfile",
        CLUSTERS.parent / "README.md",
    ]:
        assert not re.search(r"(curl|wget)[^|\n]*\|\s*(sudo\s+)?(ba)?sh\b", file.read_text(encoding="utf-8")), file.name


def test_the_extra_takes_the_same_ray() -> None:
    (main,) = (r for r in requirements() if r.name == "ray")
    for name in ("cluster", "serve"):
        (extra,) = (r for r in requirements(name) if r.name == "ray")
        assert main.specifier == extra.specifier
