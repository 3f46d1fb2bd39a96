"""The references must compute what the project computes: a ratio against something else would mean nothing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from swag_ray.core import head
from swag_ray.core.coreset import integer_rows, k_center
from swag_ray.core.gate import GateSettings, decide
from swag_ray.core.knn import Index
from swag_ray.core.seeding import numpy_generator
from swag_ray.features.extract import extract
from tests.benchmarks import bare_loop, pool_size, sweep
from tests.benchmarks.__main__ import FAMILIES, LEFT_OUT
from tests.benchmarks.measure import REPOSITORY, Goal, Row, interleaved
from tests.benchmarks.naive import brute_force_gate, brute_force_knn, logistic_regression, sequential_k_center
from tests.support.pool_state import initial_state


def unit_rows(count: int, dim: int, seed: int = 0) -> np.ndarray:
    x_ND = np.random.default_rng(seed).normal(size=(count, dim))
    return (x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True)).astype(np.float32)


def test_sequential_greedy_in_float32_picks_what_k_center_picks() -> None:
    x_ND = unit_rows(1_500, 24)
    assert np.array_equal(sequential_k_center(integer_rows(x_ND), 150), k_center(x_ND, 150))


def test_brute_force_search_finds_what_the_index_finds() -> None:
    rows_MD, query_ND = unit_rows(300, 16), unit_rows(40, 16, seed=1)
    distance, index = brute_force_knn(rows_MD, query_ND, 3)
    ours = Index(rows_MD).search(query_ND, 3)
    assert np.array_equal(ours[1], index)
    np.testing.assert_allclose(ours[0], distance, atol=1e-5)


@pytest.mark.parametrize("shift", [0.0, 3.0, 9.0])
def test_brute_force_gate_decides_as_two_stages_do(shift: float) -> None:
    """Also where the round must be relaxed, and where nobody passes at all."""
    draw = np.random.default_rng(7)
    z_s, z_u = draw.normal(shift, 1, 200), draw.normal(0, 1, 200)
    settings = GateSettings(-1.0, 0.5, 1.5, 20)

    def uncertainty(mask_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.exp(np.where(mask_N, z_u, np.nan)), np.where(mask_N, z_u, np.nan)

    none_N = np.zeros(200, dtype=np.bool_)
    ours = decide(z_s, z_s, none_N, initial_state(200), settings, uncertainty, numpy_generator(0))
    first, both, admitted = brute_force_gate(
        z_s, z_u, tau_distance=-1.0, tau_uncertainty=0.5, tau_relaxed=1.5, budget=20
    )
    for ours_N, theirs in ((ours.passed_distance_N, first), (ours.passed_both_N, both), (ours.admitted_N, admitted)):
        assert set(np.flatnonzero(ours_N)) == set(theirs)


def test_scikit_learn_solves_the_objective_of_the_head() -> None:
    draw = np.random.default_rng(3)
    x_ND = np.concatenate([draw.normal(0, 1, (150, 40)), draw.normal(0.4, 1, (60, 40))]).astype(np.float32)
    abnormal_N = np.arange(210) >= 150
    settings = head.HeadSettings(1e-2, weight_decay=1.0, warmup_epochs=30, swag_epochs=30)
    state = head.fit_head(x_ND, abnormal_N, settings, torch.Generator().manual_seed(0))
    query_ND = draw.normal(0.2, 1, (300, 40)).astype(np.float32)
    ours = query_ND @ state.mean["weight"].numpy()
    assert spearmanr(ours, logistic_regression(x_ND, abnormal_N, 1.0)(query_ND)).statistic > 0.99


@pytest.mark.data
def test_the_bare_loop_gives_the_pipelines_features(xray_root: Path) -> None:
    """Within the rounding of float16: the pipeline may fuse layers or order its sums otherwise."""
    from swag_ray.features.backbone import build_backbone

    paths = [str(path) for path in sorted((xray_root / "test" / "NORMAL").iterdir())[:3]]
    theirs = bare_loop.features(bare_loop.build(), paths)
    backbone = build_backbone("tf_efficientnet_lite0", "bundled", bare_loop.STRIDES, bare_loop.GRID)
    rows = list(extract(backbone, [Path(path).read_bytes() for path in paths], bare_loop.SIZE))
    for stride in bare_loop.STRIDES:
        ours = np.stack([row["features"][stride] for row in rows]).astype(np.float32)
        off = theirs[stride].astype(np.float32) - ours
        assert np.sqrt((off**2).mean() / (ours**2).mean()) < 2e-3


def test_the_mixed_store_is_a_store_of_the_project(tmp_path: Path) -> None:
    source = {8: np.ones((4, 64, 5), np.float16), 16: np.ones((4, 64, 7), np.float16)}
    pool_size.make_store(tmp_path, source, 2, 40)
    count, shard = pool_size.sizes_of(40)
    from swag_ray.features.reader import FeatureReader, Rows

    shards = sorted(path.name for path in (tmp_path / "features" / pool_size.SPEC.fingerprint).iterdir())
    reader = FeatureReader(str(tmp_path), pool_size.SPEC.fingerprint, shards)
    number = np.arange(count, dtype=np.int32)
    found = reader.patches(Rows(number // shard, number % shard), (8, 16))
    assert {s: x.shape for s, x in found.items()} == {8: (count, 64, 5), 16: (count, 64, 7)}
    assert all(np.allclose(x, 1, atol=1e-3) for x in found.values())


def test_a_sweep_is_compared_figure_by_figure() -> None:
    trial: Any = SimpleNamespace(name="0000", point={"rounds": 1})
    metrics = {"incremental": {"roc_auc": 0.5}, "rounds": [{"admitted": 3, "seconds": 1.0}], "timing": {"fits": 9.0}}
    row = {"trial": 0, "status": "done", "error": None, "rounds": 1, "incremental.roc_auc": 0.5}
    alone = [sweep.Alone(10.0, metrics, set())]
    same = row | {"last_round.admitted": 3, "last_round.seconds": 2.0}
    sweep._require_same(sweep.Swept(1.0, [same], []), [trial], alone)
    for other in ({"incremental.roc_auc": 0.6}, {"last_round.admitted": None}, {"status": "failed"}, {"more": 1.0}):
        with pytest.raises(RuntimeError, match="trial 0000"):
            sweep._require_same(sweep.Swept(1.0, [same | other], []), [trial], alone)


def test_rows_compare_pairs_and_know_their_goals() -> None:
    faster = Row("f", "n", [1.0, 2.0], [4.0, 6.0], kind="speed-up", goal=Goal(3.5, at_least=True))
    assert faster.ratios == [4.0, 3.0] and faster.met
    assert not Row("f", "n", [1.0], [2.0], kind="speed-up", goal=Goal(3, at_least=True)).met
    assert Row("f", "n", [10.0, 30.0, 11.0], [100.0], goal=Goal(0.3)).met
    assert Row("f", "n", [0.4], [0.02], goal=Goal(0.5, of="ours")).met
    assert Row("f", "n", [0.4]).met is None and Row("f", "n", [0.4]).record()["ratio"] is None
    assert json.loads(json.dumps(faster.record()))["ratio"]["median"] == 3.5
    seconds, returned = interleaved({"a": lambda: 1, "b": lambda: 2}, 3)
    assert [len(v) for v in seconds.values()] == [3, 3] and returned == {"a": 1, "b": 2}


def test_every_family_is_a_module_with_a_measure_and_make_names_the_left_out() -> None:
    for name in FAMILIES:
        assert "def measure(bench: Bench)" in (REPOSITORY / "tests" / "benchmarks" / f"{name}.py").read_text()
    makefile = (REPOSITORY / "Makefile").read_text()
    assert all(f"--only {name}" in makefile for name in LEFT_OUT)
