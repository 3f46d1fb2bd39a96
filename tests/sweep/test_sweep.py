"""Sweeps on a real local Ray: figures of a run alone, every stage once, failures recorded, resumed after kill -9."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from swag_ray.config import Config, resolved
from swag_ray.config.sweep import SweepConfig, load_sweep
from swag_ray.errors import InputError
from swag_ray.run.run import run_experiment
from swag_ray.sweep.sweep import Sweep, run_sweep
from tests.support.command_line import Command, borrowed, figures
from tests.support.processes import descendants, kill, wait_until_gone
from tests.support.small_disk import SmallDisk

pytestmark = [pytest.mark.ray, pytest.mark.cluster]
POINTS = {"rounds": [1, 2], "gate.budget": [6, 12]}


@pytest.fixture(scope="module")
def features(local_ray: None, session_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds the features of the tiny images and nothing else."""
    from tests.conftest import tiny_config

    run_experiment(tiny_config(session_store, "rounds=1", "controls=[]"), tmp_path_factory.mktemp("first") / "run")
    return session_store


@pytest.fixture
def store(features: Path, tmp_path: Path) -> Path:
    """A fresh store with those features."""
    return borrowed(features, tmp_path / "store")


def sweep_of(config: Config, **changed: Any) -> SweepConfig:
    return SweepConfig.model_validate({"name": "study", "base": resolved(config), "search": POINTS} | changed)


@pytest.fixture
def base(tiny: Callable[..., Config], store: Path) -> Config:
    return tiny("controls=[seed_only]", store=store)


def metrics(directory: Path, number: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "trials" / f"{number:04d}" / "metrics.json").read_text())
    return figures(found)


def computed(directory: Path) -> Counter[str]:
    """How often each stage was computed, over all trials."""
    files = sorted((directory / "trials").glob("*/trial.json"))
    return Counter(f"{name}/{key}" for file in files for name, key, _ in json.loads(file.read_text())["computed"])


def test_a_trial_has_the_figures_of_its_run_alone_and_no_stage_is_computed_twice(
    base: Config, features: Path, tmp_path: Path
) -> None:
    sweep = sweep_of(base)
    reports: list[dict[str, Any]] = []
    done = run_sweep(sweep, tmp_path / "sweep", on_report=reports.append)
    assert done.count("done") == 4 == done.planned
    for trial in sweep.trials():
        alone = borrowed(features, tmp_path / f"alone{trial.number}")
        config = trial.config.model_copy(update={"store": str(alone)})
        run = run_experiment(config, tmp_path / f"run{trial.number}")
        assert metrics(done.directory, trial.number) == figures(run.metrics)
    counts = computed(done.directory)
    assert set(counts.values()) == {1}
    # Row 0 and its decision serve all; two budgets part at decide 1, and two rounds go on where one ended. Heads know
    # whom a decision rejects and not whom it admits: a fit serves both budgets.
    kinds = Counter(name.split("/")[0] for name in counts)
    assert kinds["fit"] == 3 and kinds["decide"] == 1 + 2 + 2
    assert Counter(r["status"] for r in reports) == {"running": 2 * 2 + 2 * 3, "done": 4}


def test_what_a_sweep_leaves(base: Config, tmp_path: Path) -> None:
    done = run_sweep(sweep_of(base, search={"rounds": [1]}, random_seeds=[0, 1]), tmp_path / "sweep")
    table = pq.read_table(done.directory / "trials.parquet")
    assert table.equals(done.table)
    first = ["trial", "name", "status", "error", "seconds", "dataset", "random_seed", "rounds"]
    assert table.column_names[: len(first)] == first
    row = table.to_pylist()[0]
    held = metrics(done.directory, 0)
    assert row["incremental.roc_auc"] == held["incremental"]["roc_auc"] and row["status"] == "done"
    assert row["last_round.pool_roc_auc"] == held["rounds"][-1]["pool_roc_auc"]
    assert (done.directory / "sweep.html").is_file() and (done.directory / "trials.csv").is_file()
    events = list((done.directory / "tune").rglob("events.out.tfevents.*"))
    assert len(events) == 2 and all(file.stat().st_size > 1000 for file in events), "TensorBoard's files"
    before = (done.directory / "trials" / "0000" / "trial.json").stat().st_mtime_ns
    again = run_sweep(sweep_of(base, search={"rounds": [1]}, random_seeds=[0, 1]), tmp_path / "sweep")
    assert again.table.equals(done.table)
    assert (done.directory / "trials" / "0000" / "trial.json").stat().st_mtime_ns == before, "nothing ran again"


def test_a_trial_that_fails_is_recorded_and_tried_again_by_the_next_call(base: Config, tmp_path: Path) -> None:
    sweep = sweep_of(base, search={"swag.collect_every": [1, 10_000]})
    done = run_sweep(sweep, tmp_path / "sweep")
    good, bad = done.table.to_pylist()
    assert (good["status"], bad["status"]) == ("done", "failed")
    assert bad["error"].startswith("swag.collect_every: 10000 leaves 0 snapshots")
    assert bad["incremental.roc_auc"] is None
    again = run_sweep(sweep, tmp_path / "sweep")
    assert again.table.to_pylist()[0] == good and again.count("failed") == 1


def test_a_shard_that_is_damaged_fails_no_trial(base: Config, features: Path, tmp_path: Path) -> None:
    """One flipped byte in a map that the banks read: one of the trials extracts the shard again."""
    store = tmp_path / "own"
    for part in ("features", "stages/index"):
        shutil.copytree(features / part, store / part)
    (store / "datasets").symlink_to(features / "datasets")
    shard = max(store.glob("features/*/*.parquet"), key=lambda path: path.stat().st_size)
    good = shard.read_bytes()
    shard.write_bytes(good[:9000] + bytes([good[9000] ^ 16]) + good[9001:])
    sweep = sweep_of(base.model_copy(update={"store": str(store)}), search={"rounds": [1], "gate.budget": [6, 12]})
    done = run_sweep(sweep, tmp_path / "sweep")
    assert done.count("done") == 2, done.table.column("error").to_pylist()
    assert shard.read_bytes() == good
    alone = run_experiment(sweep.trials()[0].config.model_copy(update={"store": str(features)}), tmp_path / "alone")
    assert metrics(done.directory, 0) == figures(alone.metrics)


def test_another_sweep_or_foreign_files_are_refused_untouched(base: Config, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"^--out: '.*' holds something else \('notes.txt'\)"):
        run_sweep(sweep_of(base), folder)
    (folder / "notes.txt").rename(folder / "sweep.yaml")
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep_of(base).model_dump(mode="json")))
    with pytest.raises(InputError, match="holds another sweep"):
        run_sweep(sweep_of(base, random_seeds=[5]), folder)
    assert [p.name for p in folder.iterdir()] == ["sweep.yaml"]
    with pytest.raises(InputError, match=r"'s3://b/sweep': a sweep's directory is a folder"):
        run_sweep(sweep_of(base), "s3://b/sweep")


def test_what_can_never_fit_is_refused_within_seconds_with_the_numbers(base: Config, tmp_path: Path) -> None:
    huge = sweep_of(base.model_copy(update={"cluster": base.cluster.model_copy(update={"actors": 64})}))
    started = time.perf_counter()
    with pytest.raises(InputError, match=r"64 actors needs one node with 64 CPUs.*more than 2 CPUs"):
        run_sweep(huge, tmp_path / "sweep")
    assert time.perf_counter() - started < 5
    assert not (tmp_path / "sweep").exists(), "a folder that a mended sweep may have"


@pytest.mark.parametrize(
    ("loggers", "said"),
    [
        ({"mlflow": {}}, r"^loggers\.mlflow: `pip install mlflow` first"),
        ({"wandb": {"project": "p"}}, r"^loggers\.wandb: `pip install wandb` first"),
        ({"mlflow": {"colour": 1}}, r"^loggers\.mlflow: .*unexpected keyword argument 'colour'"),
    ],
)
def test_loggers_that_are_not_there_are_told_before_any_work(
    base: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loggers: dict[str, Any], said: str
) -> None:
    for package in loggers:
        monkeypatch.setitem(sys.modules, package, None)  # so Python finds none
    with pytest.raises(InputError, match=said):
        run_sweep(sweep_of(base, loggers=loggers), tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_early_stopping_ends_the_worst_and_keeps_what_they_had(base: Config, tmp_path: Path) -> None:
    sweep = sweep_of(
        # Where each scores higher than those before, none is stopped: so the last is nearly the first.
        base, search={"rounds": [3], "score.top_fraction": [0.3, 1.0, 0.05, 0.6, 0.31]},
        early_stopping={"grace_rounds": 1, "reduction_factor": 4}, concurrent=1,
    )  # fmt: skip
    done = run_sweep(sweep, tmp_path / "sweep")
    assert done.count("done") + done.count("stopped") == 5 and done.count("stopped") >= 1
    stopped = [row for row in done.table.to_pylist() if row["status"] == "stopped"]
    assert all(row["last_round.pool_roc_auc"] is not None and row["incremental.roc_auc"] is None for row in stopped)


def test_optuna_suggests_points_and_learns_from_those_that_are_through(base: Config, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    sweep = sweep_of(
        base, algorithm="optuna", points=2, random_seeds=[0, 1],
        search={"gate.tau_distance": {"uniform": [-0.5, 0.5]}, "rounds": [1]},
    )  # fmt: skip
    done = run_sweep(sweep, tmp_path / "sweep")
    rows = done.table.to_pylist()
    assert [row["trial"] for row in rows] == [0, 1, 2, 3] and done.count("done") == 4
    taus = [row["gate.tau_distance"] for row in rows]
    assert taus[0] == taus[1] != taus[2] == taus[3], "a point runs with every seed"
    assert [row["random_seed"] for row in rows] == [0, 1, 0, 1]
    more = run_sweep(sweep, tmp_path / "sweep")
    assert more.table.equals(done.table)
    # A point that was broken off is completed before there are others, and a point counts once, whatever others hold.
    (tmp_path / "sweep" / "trials" / "0001" / "trial.json").unlink()
    again = run_sweep(sweep, tmp_path / "sweep").table.to_pylist()
    assert [(row["trial"], row["gate.tau_distance"]) for row in again] == list(enumerate(taus))


def test_a_search_that_goes_on_does_not_draw_what_it_has(base: Config) -> None:
    pytest.importorskip("optuna")
    from swag_ray.cluster.tune.suggest import OptunaPoints

    search = {"gate.tau_distance": {"uniform": [-0.5, 0.5]}}
    sweep = sweep_of(base, algorithm="optuna", points=3, random_seeds=[0, 1], search=search)
    first = OptunaPoints(sweep, [])
    drawn = [first.suggest(f"a{n}") for n in range(3)]
    assert [job["trial"] for job in drawn] == [0, 1, 2] and first.count == 6
    ends = ({"status": "done", sweep.metric: 0.9}, {"status": "done", sweep.metric: 0.8}, {"status": "failed"})
    history = [
        end | {"trial": n, "point": json.dumps({"gate.tau_distance": job["gate.tau_distance"]})}
        for n, (job, end) in enumerate(zip(drawn, ends, strict=True))
    ]
    second = OptunaPoints(sweep, history)
    left = [second.suggest(f"b{n}") for n in range(4)]
    assert [(job["trial"], job["random_seed"]) for job in left] == [(2, 0), (3, 1), (4, 0), (5, 1)]
    assert left[0]["gate.tau_distance"] == left[1]["gate.tau_distance"] == drawn[2]["gate.tau_distance"]
    assert left[2]["gate.tau_distance"] == left[3]["gate.tau_distance"]
    assert left[2]["gate.tau_distance"] not in {job["gate.tau_distance"] for job in drawn}
    assert second.suggest("b4") == "FINISHED" and second.count == 4
    known = second.optuna._ot_study.get_trials(states=None)
    assert [trial.value for trial in known if trial.value is not None] == [pytest.approx(0.85)]


def test_paths_are_meant_from_where_the_sweep_is_called(
    features: Path, tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials run elsewhere, and a sweep is resumed from anywhere."""
    borrowed(features, tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    plain = resolved(tiny("controls=[seed_only]", store=tmp_path / "store")) | {"store": "store"}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({"name": "study", "base": plain, "search": {"rounds": [1]}}))
    done = run_sweep(load_sweep(path), "out")
    assert done.count("done") == 1, done.table.column("error").to_pylist()
    monkeypatch.chdir("/")
    again = run_sweep(load_sweep(tmp_path / "out" / "sweep.yaml"), tmp_path / "out")
    assert again.table.equals(done.table)


def test_early_stopping_goes_by_dataset(base: Config) -> None:
    """Two datasets of one kind and four arms: with one bracket for all, the easier dataset would end the other's."""
    from swag_ray.cluster.tune.early_stopping import scheduler as halving

    sweep = sweep_of(
        base, datasets={"easy": {"kind": "digit_anatomy"}, "hard": {"kind": "digit_anatomy"}},
        early_stopping={"grace_rounds": 1, "reduction_factor": 2},
    )  # fmt: skip
    scheduler = halving(sweep)

    def decide(name: str, dataset: str, value: float) -> str:
        trial = SimpleNamespace(trial_id=name, config={"dataset": dataset})
        scheduler.on_trial_add(None, trial)
        return str(scheduler.on_trial_result(None, trial, {"training_iteration": 2, sweep.metric: value}))

    assert [decide(f"e{n}", "easy", 0.99 + n / 1000) for n in range(3)] == ["CONTINUE"] * 3
    assert decide("h0", "hard", 0.7) == "CONTINUE"
    assert decide("h1", "hard", 0.6) == "STOP", "worse than the other of its own dataset"


def test_a_full_disk_is_one_line(base: Config, tmp_path: Path, small_disk: Callable[[str], SmallDisk]) -> None:
    disk = small_disk("64k")
    with pytest.raises(InputError, match=r"^--out: cannot write to '.*sweep' \(.*; free space there, or choose"):
        run_sweep(sweep_of(base, search={"rounds": [1]}), disk.path / "sweep")


def test_a_metric_that_no_round_has_ends_what_goes_by_it(base: Config, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    sweep = sweep_of(
        base, algorithm="optuna", points=9, metric="last_round.pool_auc",
        search={"gate.tau_distance": {"uniform": [-0.5, 0.5]}}, fixed={"rounds": 1},
    )  # fmt: skip
    with pytest.raises(InputError, match=r"^metric: trials have no last_round\.pool_auc to go by"):
        run_sweep(sweep, tmp_path / "sweep")


def test_the_command_line(base: Config, tmp_path: Path, command: Command) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(sweep_of(base, search={"rounds": [1]}).model_dump(mode="json")))
    told = command("sweep", path, "--out", tmp_path / "out", "--set", "random_seeds=[3]")
    assert told.code == 0 and "1 done of 1 trials" in told.out and "test ROC-AUC" in told.out
    assert command("sweep", "--resume", tmp_path / "out", "--quiet").code == 0
    assert command("sweep").complaint == "sweep: give either a CONFIG or --resume DIR"
    assert "holds no sweep (no sweep.yaml)" in command("sweep", "--resume", tmp_path).complaint
    assert "roundz: unknown key" in command("sweep", path, "--set", "search.roundz=[1]").complaint


def _start(path: Path, out: Path) -> subprocess.Popen[bytes]:
    call = [sys.executable, "-m", "swag_ray.cli", "sweep", str(path), "--out", str(out), "--quiet"]
    return subprocess.Popen(call, start_new_session=True)


def _until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come so far"
        time.sleep(0.1)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_is_killed_or_interrupted_loses_at_most_the_stages_in_flight(
    base: Config, tmp_path: Path, how: signal.Signals
) -> None:
    out, path = tmp_path / "out", tmp_path / "study.yaml"
    sweep = sweep_of(base)
    path.write_text(yaml.safe_dump(sweep.model_dump(mode="json")))
    child = _start(path, out)
    _until(lambda: len(list((out / "trials").glob("*/trial.json"))) >= 1)
    below = descendants(child.pid)
    agents = [pid for pid, command in below.items() if command.endswith("Agent")]
    os.kill(child.pid, how)
    assert child.wait(timeout=60) == (-9 if how == signal.SIGKILL else 130)
    left = wait_until_gone([pid for pid in below if pid not in agents])
    for pid in [*left, *agents]:  # Ray's agents call home for a minute before they give up
        kill(pid)
    assert not left, [below[pid] for pid in left]
    kept = {file: file.stat().st_mtime_ns for file in (out / "trials").glob("*/trial.json")}
    done: Sweep = run_sweep(sweep, out)
    assert done.count("done") == 4
    assert all(file.stat().st_mtime_ns == at for file, at in kept.items()), "what was through ran again"
    counts = computed(out)
    assert set(counts.values()) == {1}
    whole = run_sweep(sweep, tmp_path / "undisturbed")
    for number in range(4):
        assert metrics(out, number) == metrics(whole.directory, number)
