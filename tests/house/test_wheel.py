"""What a plain `pip install` gives: the wheel that the build backend really makes, in an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.images import write


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check", "--no-deps"]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a wheel of this checkout is installed into."""
    repository, folder = Path(__file__).resolve().parents[2], tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("swag_ray", "configs"):
        shutil.copytree(repository / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, source)
    built = pip("wheel", "-w", str(folder), str(source))
    if built.returncode and "hatchling" in built.stderr:
        pytest.skip("the build backend cannot be had here")
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    done = pip("install", "--target", str(folder / "site"), str(wheel))
    assert done.returncode == 0, done.stderr
    shutil.rmtree(source)
    return folder / "site"


def swag_ray(installed: Path, folder: Path, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    code = "import sys, swag_ray; assert swag_ray.__file__.startswith(sys.argv.pop(1))"
    code += "; from swag_ray.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, str(installed), *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip


def test_every_shipped_config_is_in_the_wheel_by_its_name(installed: Path, tmp_path: Path, repository: Path) -> None:
    names = {path.name for path in (repository / "configs").glob("*.yaml")}
    assert {path.name for path in (installed / "swag_ray" / "configs").iterdir()} == names
    shown = swag_ray(installed, tmp_path, "config", "show", "demo")
    assert shown.returncode == 0 and shown.stdout.startswith("name: demo\n"), shown.stderr
    wrong = swag_ray(installed, tmp_path, "run", "dmeo")
    assert wrong.returncode == 2 and "no config of that name comes with swag-ray; give a path or one of" in wrong.stderr


def test_init_works_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    for part, count in (("normals", 24), ("unknown", 12)):
        for number in range(count):
            write(tmp_path / part / f"{part}{number}.png", 1000 * count + number)
    done = swag_ray(installed, tmp_path, "init", "normals", "unknown")
    assert done.returncode == 0 and done.stdout.endswith(".yaml\n"), done.stderr


@pytest.mark.cluster
def test_the_demo_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """By its name alone, with no checkout near; fewer rounds and images than it comes with."""
    short = ("rounds=1", f"store={tmp_path / 'store'}", "controls=[seed_only]", "backbone.image_size=64",
             "dataset.digit_anatomy.normal_sets=16", "dataset.digit_anatomy.anomaly_sets=8",
             "dataset.digit_anatomy.test_normals=24", "dataset.digit_anatomy.test_anomalies=24",
             "dataset.digit_anatomy.test_scans=20")  # fmt: skip
    settings = [word for setting in short for word in ("--set", setting)]
    done = swag_ray(installed, tmp_path, "run", "demo", *settings, timeout=280)
    assert done.returncode == 0, done.stderr
    assert "against seed-only" in done.stdout and (tmp_path / "runs" / "demo" / "report.html").is_file()
