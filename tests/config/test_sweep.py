"""A sweep's YAML: which trials follow from it, in which order, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from swag_ray.config import resolved
from swag_ray.config.search import distribution
from swag_ray.config.sweep import SweepConfig, load_sweep, source_key, to_yaml
from swag_ray.errors import InputError

BASE: dict[str, Any] = {"name": "base", "dataset": {"kind": "digit_anatomy"}}
SWEEP: dict[str, Any] = {
    "name": "study", "base": BASE, "search": {"rounds": [1, 3], "gate.budget": [10, 20]}, "random_seeds": [0, 1],
}  # fmt: skip


def sweep(**changed: Any) -> SweepConfig:
    return SweepConfig.model_validate(SWEEP | changed)


def write(folder: Path, **changed: Any) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(SWEEP | changed))
    return path


def refused(folder: Path, *overrides: str, **changed: Any) -> str:
    with pytest.raises(InputError) as caught:
        load_sweep(write(folder, **changed), overrides).trials()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_grid_is_every_combination_on_every_dataset_with_every_seed() -> None:
    trials = sweep().trials()
    assert [trial.number for trial in trials] == list(range(8))
    found = {(t.config.rounds, t.config.gate.budget, t.config.random_seed) for t in trials}
    assert found == {(r, b, s) for r in (1, 3) for b in (10, 20) for s in (0, 1)}
    assert all(t.config.name == f"study-{t.number:04d}" for t in trials)


def test_the_longest_of_those_that_share_a_beginning_goes_first_and_neighbours_share_little() -> None:
    trials = sweep(random_seeds=[0, 1, 2]).trials()
    assert [t.random_seed for t in trials[:6]] == [0, 1, 2, 0, 1, 2]
    assert [t.config.rounds for t in trials] == [3] * 6 + [1] * 6


def test_datasets_and_fixed_fields_go_over_the_base(tmp_path: Path) -> None:
    base = BASE | {"dataset": {"anomaly": "SICK", "normal": "WELL"}}
    datasets = {"one": {"root": str(tmp_path / "1")}, "two": {"root": str(tmp_path / "2"), "normal": "FINE"}}
    trials = sweep(base=base, datasets=datasets, fixed={"controls": ["seed_only"], "gate.rank": "random"}).trials()
    assert len(trials) == 16
    kinds = {(t.dataset, t.config.dataset.normal, t.config.dataset.anomaly, t.config.gate.rank) for t in trials}
    assert kinds == {("one", "WELL", ("SICK",), "random"), ("two", "FINE", ("SICK",), "random")}
    assert {t.config.controls for t in trials} == {("seed_only",)}
    assert len({source_key(t.config) for t in trials}) == 2


def test_random_points_depend_on_the_seed_alone_and_stay_in_their_ranges() -> None:
    search = {
        "gate.tau_distance": {"uniform": [-1, 1]}, "head.learning_rate": {"loguniform": [1e-5, 1e-2]},
        "gate.budget": {"randint": [5, 7]}, "rounds": [1, 2, 3],
    }  # fmt: skip
    drawn = sweep(search=search, algorithm="random", points=30).trials()
    again = sweep(search=search, algorithm="random", points=30).trials()
    other = sweep(search=search, algorithm="random", points=30, random_seed=1).trials()
    assert [t.point for t in drawn] == [t.point for t in again] != [t.point for t in other]
    assert {t.config.gate.budget for t in drawn} == {5, 6, 7} and {t.config.rounds for t in drawn} == {1, 2, 3}
    assert all(-1 <= t.config.gate.tau_distance <= 1 for t in drawn)
    rates = np.log10([t.config.head.learning_rate for t in drawn])
    assert rates.min() < -4 and rates.max() > -3 and ((rates >= -5) & (rates <= -2)).all()
    assert len(drawn) == 60, "each of 30 points with two seeds"


def test_overrides_reach_the_base_the_datasets_and_the_search(tmp_path: Path) -> None:
    path = write(tmp_path, base="base.yaml", search={"rounds": [1]})
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE | {"dataset": {"anomaly": "A"}}))
    loaded = load_sweep(
        path, ["datasets.x.root=/data", "base.swag.samples=3", "search.gate.budget=[7]", "random_seeds=[4]"]
    )
    (trial,) = loaded.trials()
    c = trial.config
    assert (c.dataset.root, c.swag.samples, c.gate.budget, c.random_seed) == ("/data", 3, 7, 4)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    first = sweep(search={"gate.tau_distance": {"uniform": [0.0, 1.0]}}, algorithm="random", points=2)
    (tmp_path / "again.yaml").write_text(to_yaml(first))
    second = load_sweep(tmp_path / "again.yaml")
    assert second == first
    assert [resolved(t.config) for t in second.trials()] == [resolved(t.config) for t in first.trials()]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"search": {"roundz": [1]}}, "trial 0 (roundz=1): roundz: unknown key; did you mean rounds?"),
        ({"search": {"rounds": [0]}}, "trial 0 (rounds=0): rounds:"),
        ({"search": {"rounds": []}}, "search.rounds: must name at least one value"),
        ({"search": {"rounds": [1, 1]}}, "must not name a value twice"),
        ({"search": {"rounds": 3}}, "search.rounds: a grid needs a list of values"),
        ({"search": {"rounds": {"uniform": [0, 1]}}}, "a grid needs a list of values"),
        ({"search": {"rounds": ["x"]}}, "rounds: 'x' must be a whole number"),
        ({"search": {"random_seed": [1]}}, "search.random_seed: is not a trial's own; seeds go into random_seeds"),
        ({"fixed": {"random_seed": 1}}, "fixed.random_seed: is not a trial's own; seeds go into random_seeds"),
        ({"fixed": {"cluster": {"actors": 2}}}, "fixed.cluster.actors: is not a trial's own; seeds"),
        (
            {"datasets": {"x": {"root": "/d"}}, "fixed": {"dataset.root": "/e"}},
            "fixed.dataset.root: is what `datasets`",
        ),
        ({"search": {"store": ["a"]}}, "search.store: cannot be searched"),
        ({"points": 3}, "points: a grid has as many"),
        ({"algorithm": "random"}, "points: is required where algorithm is random"),
        ({"algorithm": "optuna", "points": 2, "search": {"backbone.grid": [4, 8]}}, "use grid or random"),
        ({"early_stopping": {}, "metric": "incremental.roc_auc"}, "early_stopping needs a figure of every round"),
        ({"random_seeds": []}, "random_seeds"),
        ({"base": {"name": "x"}}, "dataset.root: is required"),
        ({"bsae": {}}, "bsae: unknown key; did you mean base?"),
        ({"datasets": {"x": {"rot": "/data"}}}, "did you mean dataset.root"),
    ],
)
def test_what_is_refused_says_what_where_and_what_to_do(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    assert words in refused(tmp_path, **changed)


@pytest.mark.parametrize("ends", [[1], [2, 1], [1, 1], ["a", 2], [0, 1, 2], [True, 2]])
def test_ranges_that_are_none(ends: list[Any]) -> None:
    with pytest.raises(ValueError, match="must be a list of values"):
        distribution("x", {"uniform": ends})


def test_a_space_is_judged_by_a_point_that_makes_a_config() -> None:
    base = {"dataset": {"kind": "digit_anatomy"}}
    optuna = {"name": "s", "base": base, "algorithm": "optuna", "points": 2, "random_seeds": [3, 4]}
    found = SweepConfig.model_validate(optuna | {"search": {"rounds": {"randint": [-50, 9]}}}).representative_trials()
    assert [trial.random_seed for trial in found] == [3, 4] and found[0].config.rounds >= 1
    with pytest.raises(InputError, match="rounds: -"):
        SweepConfig.model_validate(optuna | {"search": {"rounds": {"randint": [-50, -1]}}}).representative_trials()


def test_ranges_with_needs_of_their_own() -> None:
    with pytest.raises(ValueError, match="above 0"):
        distribution("x", {"loguniform": [0, 1]})
    with pytest.raises(ValueError, match="whole numbers"):
        distribution("x", {"randint": [0.5, 2]})


def test_the_configs_that_come_with_the_project(repository: Path) -> None:
    small = load_sweep(repository / "configs" / "ablation_small.yaml").trials()
    assert len(small) == 24 and {t.dataset for t in small} == {"pneumonia", "covid"}
    full = load_sweep(repository / "configs" / "ablation.yaml").trials()
    varied = ("split.seed_fraction", "rounds", "gate.tau_distance")
    assert len(full) == 108 and all(set(t.point) == set(varied) for t in full)
