"""Whole runs on real images, real weights, real Ray: started again, extended, killed; the figures stay."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swag_ray.config import Config, to_yaml
from swag_ray.errors import InputError
from swag_ray.images.digit_anatomy import ANOMALY, GROUP, NORMAL
from swag_ray.run.run import Run, run_experiment
from tests.support.command_line import figures
from tests.support.images import blocks, encoded
from tests.support.processes import descendants, kill, wait_until_gone

pytestmark = pytest.mark.ray
Tiny = Callable[..., Config]


def stages(store: Path) -> set[tuple[str, str]]:
    """(kind, key) of every complete stage."""
    return {(p.parent.parent.name, p.parent.name) for p in (store / "stages").glob("*/*/complete.json")}


def contents(directory: Path) -> dict[str, bytes]:
    """What two runs must have in common, byte for byte."""
    return {
        name: (directory / name).read_bytes() for name in ("rounds.parquet", "scores.parquet", "detector/arrays.npz")
    }


def bundle(directory: Path) -> dict[str, bytes]:
    """Every file of a run's detector."""
    return {path.name: path.read_bytes() for path in (directory / "detector").iterdir()}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def finished(tiny: Tiny, local_ray: None, directory: Path) -> Run:
    """An uninterrupted run; computed by the first test that asks."""
    return run_experiment(tiny(), directory / "first")


def test_the_same_again_computes_nothing_and_starts_no_ray(
    tiny: Tiny, finished: Run, directory: Path, session_store: Path, no_ray: None
) -> None:
    before, files, kept = stages(session_store), contents(finished.directory), bundle(finished.directory)
    again = run_experiment(tiny(), directory / "first")
    assert (
        figures(again.metrics)
        == figures(finished.metrics)
        == figures(json.loads((directory / "first/metrics.json").read_text()))
    )
    other = run_experiment(tiny("cluster.actors=1"), directory / "second")
    assert figures(other.metrics) == figures(finished.metrics)
    assert contents(directory / "first") == files == contents(directory / "second")
    assert bundle(directory / "first") == kept == bundle(directory / "second")
    assert stages(session_store) == before


def test_more_rounds_compute_only_the_new(tiny: Tiny, finished: Run, directory: Path, session_store: Path) -> None:
    before, rounds = stages(session_store), len(finished.metrics["rounds"]) - 1
    assert rounds == 2 and not finished.metrics["totals"]["exhausted"], "this test needs a run that can go on"
    longer = run_experiment(tiny(f"rounds={rounds + 1}"), directory / "first")
    new = Counter(kind for kind, _ in stages(session_store) - before)
    # One fit and one decision more for the run itself and the controls that loop (of which the one that admits nobody
    # fits nothing of its own), and the grown bank of the end with its scale of heatmaps.
    assert new["fit"] <= 3 and new["decide"] <= 4 and new["bank"] == new["scores"] == 1
    assert new["heat"] == 1 and new.keys() <= {"fit", "decide", "bank", "scores", "test", "heat"}

    def rows(run: Run) -> list[dict[str, Any]]:
        return figures(run.metrics)["rounds"]

    assert rows(longer)[:-1] == rows(finished) and len(rows(longer)) == rounds + 2
    with pytest.raises(
        InputError, match=r"holds a run of another config \(rounds is 3 there, 2 here\); choose another"
    ):
        run_experiment(tiny(), directory / "first")
    back = run_experiment(tiny(), directory / "first", overwrite=True)
    assert figures(back.metrics) == figures(finished.metrics), "and fewer again"
    few = run_experiment(tiny("controls=[seed_only]"), directory / "first")
    assert figures(few.metrics) == figures(finished.metrics), "the other controls' figures are kept"


def test_figures_do_not_depend_on_the_number_of_actors(
    tiny: Tiny, finished: Run, directory: Path, session_store: Path, tmp_path: Path
) -> None:
    """One actor, on a store that holds nothing but the images' features."""
    for part in ("features", "datasets", "stages/features"):
        (tmp_path / part).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / part).symlink_to(session_store / part)
    alone = run_experiment(tiny("cluster.actors=1", store=tmp_path), directory / "alone")
    assert figures(alone.metrics) == figures(finished.metrics)
    assert contents(directory / "alone") == contents(finished.directory)


def test_other_test_images_fit_nothing_anew(
    tiny: Tiny, finished: Run, directory: Path, session_store: Path, tmp_path: Path
) -> None:
    """The same train folder, one test image of another content, one less: what the rounds and the bundle hold stays."""
    (generated,) = (session_store / "datasets").glob("digit-anatomy-*")
    images = Path(shutil.copytree(generated, tmp_path / "images"))
    changed, gone, *_ = sorted((images / "test" / NORMAL).iterdir())
    changed.write_bytes(encoded(blocks(1, 64)))
    gone.unlink()
    before = stages(session_store)
    folder = {"root": str(images), "normal": NORMAL, "anomaly": ANOMALY}
    other = run_experiment(
        tiny(dataset=folder, split={"seed_fraction": 0.5, "folds": 3, "group": GROUP}), directory / "folder"
    )
    new = Counter(kind for kind, _ in stages(session_store) - before)
    assert new["test"] > 0 and new.keys() <= {"test", "index", "looks"}
    held, found = contents(directory / "first"), contents(directory / "folder")
    assert {name for name in held if held[name] != found[name]} == {"scores.parquet"}
    assert other.metrics["dataset"]["split"]["test"] == finished.metrics["dataset"]["split"]["test"] - 1


class Driver:
    """`swag-ray run` in a process of its own."""

    def __init__(self, config: Path, out: Path | str, *overrides: str) -> None:
        command = [sys.executable, "-m", "swag_ray.cli", "run", str(config), "--out", str(out), "--quiet"]
        for override in overrides:
            command += ["--set", override]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    def kill_when(self, reached: Callable[[], bool]) -> None:
        """kill -9 of the driver as soon as it has come so far; its Ray must end by itself."""
        while not reached():
            assert self.process.poll() is None, f"it ended before it was killed: {self.process.communicate()[1]}"
            time.sleep(0.02)
        below = descendants(self.process.pid)
        self.process.kill()
        self.process.communicate()
        agents = [pid for pid, command in below.items() if command.endswith("Agent")]
        left = wait_until_gone([pid for pid in below if pid not in agents])
        for pid in [*left, *agents]:  # Ray's agents call home for a minute before they give up
            kill(pid)
        assert not left, f"a killed run leaves processes behind: {[below[pid] for pid in left]}"


@pytest.fixture
def config_file(tiny: Tiny, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(tiny(store=tmp_path / "store")))
    yield path


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_any_point_it_goes_on_and_ends_with_the_same_figures(
    finished: Run, config_file: Path, tmp_path: Path
) -> None:
    store, out = tmp_path / "store", tmp_path / "run"

    def count(pattern: str) -> int:
        return len(list(store.glob(pattern)))

    Driver(config_file, out, "cluster.cpus=1").kill_when(lambda: count("features/*/*.parquet") >= 1)
    shards = {p.name: p.stat().st_mtime_ns for p in store.glob("features/*/*.parquet")}
    assert count("stages/features/*/complete.json") == 0, "it was killed while features were extracted"
    Driver(config_file, out, "cluster.cpus=3").kill_when(lambda: count("stages/fit/*/complete.json") >= 1)
    kept = {p.name: p.stat().st_mtime_ns for p in store.glob("features/*/*.parquet")}
    assert shards.items() < kept.items(), "shards that were there are kept"
    rounds = len(finished.metrics["rounds"])
    Driver(config_file, out, "cluster.cpus=2").kill_when(lambda: count("stages/decide/*/complete.json") > rounds)
    assert not (out / "metrics.json").exists() and count("stages/supervised/*/complete.json") == 0
    before = stages(store)
    last = Driver(config_file, out, "cluster.cpus=1")
    assert last.process.wait() == 0, last.process.communicate()[1]
    assert stages(store) > before
    assert figures(json.loads((out / "metrics.json").read_text())) == figures(finished.metrics)
    assert contents(out) == contents(finished.directory)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["extracted"] == 0
