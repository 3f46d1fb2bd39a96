"""The floors hold: imports go downward, Ray stays in cluster/, the command line starts fast."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import swag_ray

PACKAGE = Path(swag_ray.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# A folder may import these parts of swag_ray and no others.
BASE = {"errors", "config", "config_sections", "config_text", "stages"}
FLOORS = {
    "core": {"core", "errors"},
    "data": {"data", "core", *BASE},
    "methods": {"methods", "data", "core", *BASE},
    "cluster": {"cluster", "methods", "data", "core", "sweep_config", "sweep_table", "search", *BASE},
}


def imports(source: str, package: str = "swag_ray") -> Iterator[str]:
    """Every module that the source imports, inside functions too; "a.b" for `from a import b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def imported(path: Path) -> set[str]:
    package = ".".join(path.relative_to(PACKAGE.parent).parent.parts)
    return set(imports(path.read_text(encoding="utf-8"), package))


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def test_imports_sees_every_form() -> None:
    source = "import ray.data\ndef f():\n    from ray import tune\n    from .. import core\n"
    assert set(imports(source, "swag_ray.data")) == {"ray.data", "ray.tune", "swag_ray.core"}


def test_only_cluster_imports_ray() -> None:
    offenders = {
        str(path.relative_to(PACKAGE))
        for path in FILES
        if part(path) != "cluster" and any(name.split(".")[0] == "ray" for name in imported(path))
    }
    assert not offenders


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_go_downward(floor: str) -> None:
    files = [path for path in FILES if part(path) == floor]
    assert files, f"swag_ray/{floor} holds no code"
    upward = {
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in files
        for name in imported(path)
        if name.startswith("swag_ray.") and name.split(".")[1] not in FLOORS[floor]
    }
    assert not upward


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after the statement."""
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_the_package_alone_loads_nothing_heavy() -> None:
    assert not loaded_by("import swag_ray; swag_ray.__version__") & {"torch", "ray", "timm", "numpy", "pydantic"}


def test_the_command_line_loads_nothing_heavy() -> None:
    assert not loaded_by("import swag_ray.cli") & {"torch", "ray", "timm", "faiss", "torchvision", "matplotlib"}


def test_reading_a_config_loads_nothing_heavy() -> None:
    assert not loaded_by("from swag_ray import load_config") & {"torch", "ray", "timm", "numpy"}


def test_the_public_names_are_there() -> None:
    from swag_ray import config
    from swag_ray.run import run

    assert swag_ray.load_config is config.load_config
    assert swag_ray.run_experiment is run.run_experiment
    assert {"load_config", "run_experiment", "__version__"} <= set(dir(swag_ray))
    with pytest.raises(AttributeError, match="no_such_name"):
        swag_ray.no_such_name  # noqa: B018
