"""What is not loaded costs no time: torch, timm and scikit-learn stay out of processes that do without."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from swag_ray.config import Config, to_yaml
from swag_ray.run.run import run_experiment

HEAVY = ("torch", "torchvision", "timm", "faiss", "sklearn", "scipy", "pandas", "ray", "matplotlib")


def loaded(code: str, *arguments: str) -> set[str]:
    """Which of the heavy packages a Python has loaded after this."""
    told = f"import sys; {code}; print(*({HEAVY!r} & sys.modules.keys()))".replace(repr(HEAVY), f"set({HEAVY!r})")
    done = subprocess.run([sys.executable, "-c", told, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import swag_ray.cli", set()),
        ("from swag_ray.config import load_config", set()),
        ("import swag_ray.experiment.loop, swag_ray.experiment.controls, swag_ray.detector", {"ray"}),
        ("import swag_ray.cluster.memory_bank", {"ray"}),
        ("import swag_ray.cluster.sample_actors", {"ray"}),
    ],
)
def test_an_import_loads_no_more_than_it_needs(code: str, allowed: set[str]) -> None:
    assert loaded(code) - allowed == set()


def test_the_driver_of_contrast_never_loads_torch(tiny: Callable[..., Config], local_ray: None, tmp_path: Path) -> None:
    """Features, heads and scores are the actors' work; what the driver does is arithmetic on a few numbers an image."""
    config = tiny("outliers.ceiling=.4", "rounds=1", "controls=[seed_only]")
    run_experiment(config, tmp_path / "first")  # features are there from now on; the fits of another seed are not
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    code = (
        "from pathlib import Path; from swag_ray.config import load_config; from swag_ray.run import run_experiment; "
        "c = load_config(Path(sys.argv[1]), ['random_seed=7', 'cluster.cpus=1']); "
        "run = run_experiment(c, sys.argv[2]); print(run.metrics['rounds'][-1]['head_on'])"
    )
    found = loaded(code, str(tmp_path / "config.yaml"), str(tmp_path / "second"))
    assert "torch" not in found and "timm" not in found and "faiss" not in found
    assert "ray" in found, "it computed nothing"
