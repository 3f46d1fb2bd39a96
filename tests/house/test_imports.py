"""Who may import whom (the table stands in pyproject.toml), and what an import loads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import swag_ray
from swag_ray.config import Config, to_yaml
from swag_ray.run.run import run_experiment

PACKAGE = Path(swag_ray.__file__).parent
PYPROJECT = PACKAGE.parent / "pyproject.toml"

HEAVY = frozenset({"torch", "torchvision", "timm", "faiss", "sklearn", "scipy", "pandas", "ray", "matplotlib"})


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs import-linter on the package and the table that lie in `folder`; lines are not wrapped."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    wide = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=wide, capture_output=True, text=True, timeout=120)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package's code and its import table, to plant faults in."""
    shutil.copytree(PACKAGE, tmp_path / "swag_ray", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PYPROJECT, tmp_path)
    return tmp_path


def test_the_code_keeps_the_import_table() -> None:
    done = lint_imports(PACKAGE.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


IN_FUNCTION = "def planted() -> None:\n    "
FOR_TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "
AUDIT = "from swag_ray.images.audit import Audit"


@pytest.mark.parametrize(
    ("file", "code", "told"),
    [
        ("methods/fit.py", AUDIT, "swag_ray.methods.fit -> swag_ray.images.audit"),
        ("images/check.py", AUDIT, "swag_ray.images.check -> swag_ray.images.audit"),
        ("experiment/decide.py", IN_FUNCTION + AUDIT, "swag_ray.experiment.decide -> swag_ray.images.audit"),
        ("experiment/pipeline.py", FOR_TYPES + AUDIT, "swag_ray.experiment.pipeline -> swag_ray.images.audit"),
        ("core/knn.py", "import ray", "swag_ray.core.knn -> ray"),
        ("experiment/loop.py", IN_FUNCTION + "from ray import tune", "swag_ray.experiment.loop -> ray"),
        ("core/knn.py", "from swag_ray.features import spec", "swag_ray.core.knn -> swag_ray.features.spec"),
        ("features/spec.py", FOR_TYPES + "import swag_ray.config", "swag_ray.features.spec -> swag_ray.config"),
        ("store/store.py", "from swag_ray.images import decode", "swag_ray.store.store -> swag_ray.images.decode"),
        ("report/run/read.py", "from swag_ray.store import s3", "swag_ray.report.run.read -> swag_ray.store.s3"),
        ("progress.py", "from swag_ray.core import knn", "swag_ray.progress -> swag_ray.core.knn"),
        ("core/knn.py", "from swag_ray.core import score", "No import cycle, neither among rooms nor in one BROKEN"),
        ("annex/__init__.py", "", "swag_ray.annex"),
    ],
    ids=[
        "labels in the method", "labels beside the labels", "labels in a function", "labels for types", "Ray in core",
        "Ray in a function", "upward", "upward for types", "a sibling", "downward but not in the table",
        "what everybody may import", "a cycle in a room", "a room without a place",
    ],
)  # fmt: skip
def test_a_planted_import_is_found_and_named(copy: Path, file: str, code: str, told: str) -> None:
    planted = copy / "swag_ray" / file
    planted.parent.mkdir(exist_ok=True)
    with planted.open("a") as source:
        source.write(f"\n\n{code}\n")
    done = lint_imports(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    assert told in done.stdout


def loaded_by(code: str, *arguments: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after the code."""
    code += "\nimport sys\nprint()\nprint(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import swag_ray; swag_ray.__version__", HEAVY | {"numpy", "pydantic"}),
        ("import swag_ray.cli", HEAVY),
        ("from swag_ray import load_config", HEAVY | {"numpy"}),
        ("from swag_ray.config import load_config", HEAVY | {"numpy"}),
        ("from swag_ray import load_run", HEAVY),
        ("import swag_ray.experiment.loop, swag_ray.experiment.controls, swag_ray.detector", HEAVY - {"ray"}),
        ("import swag_ray.run.run", HEAVY - {"ray"}),
        ("import swag_ray.cluster.memory_bank", HEAVY - {"ray"}),
        ("import swag_ray.cluster.sample_actors", HEAVY - {"ray"}),
    ],
)
def test_an_import_loads_no_more_than_it_needs(code: str, unwanted: set[str]) -> None:
    assert loaded_by(code) & unwanted == set()


def test_the_driver_of_contrast_never_loads_torch(tiny: Callable[..., Config], local_ray: None, tmp_path: Path) -> None:
    """Features, heads and scores are the actors' work; the driver does arithmetic on a few numbers per image."""
    config = tiny("rounds=1", "controls=[seed_only]")
    run_experiment(config, tmp_path / "first")  # features are there from now on; the fits of another seed are not
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    code = (
        "import sys; from pathlib import Path; "
        "from swag_ray.config import load_config; from swag_ray.run import run_experiment; "
        "c = load_config(Path(sys.argv[1]), ['random_seed=7', 'cluster.cpus=1']); "
        "run = run_experiment(c, sys.argv[2]); assert run.metrics['rounds'][-1]['head_on'] is not None"
    )
    found = loaded_by(code, str(tmp_path / "config.yaml"), str(tmp_path / "second"))
    assert not found & {"torch", "timm", "faiss"}
    assert "ray" in found, "it computed nothing"


def test_the_public_names_are_there() -> None:
    from swag_ray import config
    from swag_ray.run import finished, run

    assert swag_ray.load_config is config.load_config
    assert swag_ray.run_experiment is run.run_experiment
    assert swag_ray.load_run is finished.load_run and run.Run is finished.Run
    assert {"load_config", "load_run", "run_experiment", "__version__"} <= set(dir(swag_ray))
    with pytest.raises(AttributeError, match="no_such_name"):
        swag_ray.no_such_name  # noqa: B018
