"""One version of everything, everywhere, and one that pyproject.toml allows."""

from __future__ import annotations

import re

import pytest

from tests.cluster_files.files import CLUSTERS, LAUNCHED, PROJECT, README, constraints, launcher_config, requirements

pytestmark = pytest.mark.cluster

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


@pytest.mark.parametrize("requirement", [*requirements(), *requirements("cluster")], ids=str)
def test_every_dependency_is_pinned_to_a_version_that_the_project_allows(requirement) -> None:  # type: ignore[no-untyped-def]
    assert requirement.specifier.contains(constraints()[requirement.name])


def test_nothing_else_is_pinned() -> None:
    ours = {r.name for r in [*requirements(), *requirements("cluster")]}
    assert set(constraints()) - ours == {"pandas"}, "pandas: Ray Data's, and it must fit NumPy"


def test_the_extra_takes_the_same_ray() -> None:
    (main,) = (r for r in requirements() if r.name == "ray")
    (extra,) = (r for r in requirements("cluster") if r.name == "ray")
    assert main.specifier == extra.specifier
