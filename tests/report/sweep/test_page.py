"""The page of a sweep: what it says of known effects and of every trial, whole and the same each time."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from swag_ray.report.sweep.arms import against_reference, against_seed_only, effects, interactions, ranking
from swag_ray.report.sweep.page import write_sweep_report
from swag_ray.report.sweep.read import SEED_ONLY, TEST, canonical, display, read_sweep
from swag_ray.report.sweep.words import on_test
from tests.report.sweep.fixture import (
    GRID,
    ONE,
    POOL,
    RANDOM,
    failed,
    grid_rows,
    page,
    page_of,
    random_rows,
    write_sweep,
)
from tests.support.html import Page


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_sweep(tmp_path_factory.mktemp("sweeps") / "gates", grid_rows())
    write_sweep_report(folder)
    return folder


def test_every_part_stands_in_order(complete: Path) -> None:
    text = page(complete).text
    parts = ["120 of 120 trials done", "ranks first of 12 arms", "Nothing to warn of", "Best configs", "Paired tests",
             "Main effects", "Interactions", "Purity and contamination against AUROC", "Trials", "How it was run",
             "Limits"]  # fmt: skip
    places = [text.find(part) for part in parts]
    assert -1 not in places and places == sorted(places), dict(zip(parts, places, strict=True))
    assert "Failed trials" not in text
    assert "no label of the test set had a part in the choice" in text
    assert "rounds 5, tau_distance 0, method contrast" in text, "the arm with the largest true effect"


def test_one_file_that_loads_nothing(complete: Path) -> None:
    markup = write_sweep_report(complete).read_text(encoding="utf-8")
    parsed = Page(markup)
    assert parsed.open == [], "every element is closed"
    assert all(address.startswith("#") for address in parsed.addresses)
    assert {"link", "iframe", "object", "img"}.isdisjoint(parsed.tags) and parsed.tags.count("script") == 1
    assert "http" not in markup and "@import" not in markup and "mathdefault" not in markup
    assert len(parsed.ids) == len(set(parsed.ids)), "ids of inlined plots must not clash"
    assert set(re.findall(r"url\(([^)]*)\)", markup)) <= {f"#{name}" for name in parsed.ids}
    # Per dataset two rows of arms, three main effects and three interactions; purity and contamination once.
    assert parsed.tags.count("svg") == 2 * (2 + 3 + 3) + 2


def test_same_directory_same_bytes(complete: Path) -> None:
    first = write_sweep_report(complete).read_bytes()
    assert write_sweep_report(complete).read_bytes() == first
    assert sorted(path.name for path in complete.iterdir()) == ["sweep.html", "sweep.yaml", "trials.csv",
                                                                "trials.parquet"]  # fmt: skip


def figures_by_arm(rows: Sequence[Mapping[str, Any]], dataset: str, column: str) -> dict[tuple[Any, ...], list[float]]:
    """Independent of the code under test: a list over seeds for each combination."""
    found: dict[tuple[Any, ...], list[float]] = {}
    for row in sorted(rows, key=lambda row: row["random_seed"]):
        if row["dataset"] == dataset:
            found.setdefault(tuple(row[name] for name in GRID), []).append(row[column])
    return found


@pytest.mark.parametrize("dataset", ["pneumonia", "covid"])
def test_ranking_and_tests_agree_with_scipy_and_statsmodels(complete: Path, dataset: str) -> None:
    sweep, rows = read_sweep(complete), grid_rows()
    results = next(r for r in sweep.results if r.dataset == dataset)
    number = {arm.values: arm.number for arm in sweep.arms}
    of_arm = {key: number[tuple(canonical(value) for value in key)] for key in itertools.product(*GRID.values())}
    pool, test, before = (figures_by_arm(rows, dataset, column) for column in (POOL, TEST, SEED_ONLY))

    ranked = ranking(sweep, results)
    assert [r.arm for r in ranked] == [of_arm[key] for key in sorted(pool, key=lambda key: -np.mean(pool[key]))]
    assert all(r.seeds == 5 and r.metric is not None for r in ranked)

    reference = (3, 0.0, "contrast")  # the base config's values
    assert sweep.reference == (of_arm[reference], True)
    others = [key for key in test if key != reference]
    p = [stats.ttest_rel(test[key], test[reference]).pvalue for key in others]
    corrected = dict(zip(others, multipletests(p, method="holm")[1], strict=True))
    found = {c.arm: c for c in against_reference(sweep, results, [r.arm for r in ranked])}
    assert len(found) == 11
    for key in others:
        assert found[of_arm[key]].corrected == pytest.approx(corrected[key])
        mean = np.mean(np.subtract(test[key], test[reference]))
        assert found[of_arm[key]].test.difference.mean == pytest.approx(mean)

    p = [stats.ttest_rel(test[key], before[key]).pvalue for key in test]
    expected = dict(zip(test, multipletests(p, method="holm")[1], strict=True))
    for comparison in against_seed_only(results, list(of_arm.values())):
        key = next(key for key, arm in of_arm.items() if arm == comparison.arm)
        assert comparison.corrected == pytest.approx(expected[key])


def test_main_effects_are_means_over_everything_else(complete: Path) -> None:
    sweep, rows = read_sweep(complete), grid_rows()
    found = effects(sweep, sweep.results[0])
    assert [effect.field.name for effect in found] == ["method", "rounds", "gate.tau_distance"], "largest first"
    for effect in found:
        for value, mean in zip(effect.field.values, effect.means[TEST], strict=True):
            here = [r for r in rows if r["dataset"] == "pneumonia" and canonical(r[effect.field.name]) == value]
            by_seed = [np.mean([r[TEST] for r in here if r["random_seed"] == seed]) for seed in range(5)]
            low, high = stats.t.interval(0.95, 4, loc=np.mean(by_seed), scale=stats.sem(by_seed))
            assert mean is not None and (mean.mean, mean.low, mean.high) == pytest.approx((np.mean(by_seed), low, high))
    assert {(pair.along.name, pair.lines.name) for pair in interactions(sweep, sweep.results[0])[:1]} == {
        ("rounds", "method")
    }, "rounds help with `contrast` only"


def test_an_effect_is_not_what_is_missing(tmp_path: Path) -> None:
    """Without the best combination its values would look worse, were they averaged over fewer settings."""
    rows = [
        r for r in grid_rows(datasets=ONE) if (r["rounds"], r["method"], r["gate.tau_distance"]) != (5, "contrast", 0)
    ]
    sweep = read_sweep(write_sweep(tmp_path, rows, planned=60))
    gate = next(e for e in effects(sweep, sweep.results[0]) if e.field.name == "gate.tau_distance")
    low, high = gate.means[POOL]
    assert low is not None and high is not None and 0.002 < high.mean - low.mean < 0.006, "0.004 by design"
    assert gate.matched == 50
    assert "Over the 50 of 55 trials that match." in page(tmp_path).text


def test_a_missing_choice_on_the_pool_is_not_made_on_the_test_set(undrawn: None, tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k not in (POOL, "totals.purity")} for row in grid_rows(datasets=ONE)]
    parsed = page_of(tmp_path, rows)
    assert "no arm is ranked" in parsed.text and "They are not ranked by the test set instead" in parsed.text
    assert "Best configs" not in parsed.text and "ranks first" not in parsed.text and "--set" not in parsed.text
    assert "Main effects" in parsed.text and "Paired tests" in parsed.text


@pytest.mark.parametrize("metric", [TEST, "last_round.roc_auc", "delta_vs_seed_only.roc_auc", "unheard.of"])
def test_a_choice_on_test_labels_is_a_warning(undrawn: None, tmp_path: Path, metric: str) -> None:
    rows = [{**row, "last_round.roc_auc": row[TEST], "unheard.of": 0.5} for row in grid_rows(seeds=3, datasets=ONE)]
    text = page_of(tmp_path, rows, metric=metric).text
    assert "the choice was made on test labels, and the best arm's figures are too good" in text
    assert "had a part in the choice" not in text


def test_what_is_measured_on_the_pool_is_no_test_figure() -> None:
    for column in (POOL, "totals.purity", "contamination.true", "timing.total",
                   "incremental.conformal.rate_pool_normals"):  # fmt: skip
        assert not on_test(column)


def test_a_metric_to_be_small(undrawn: None, tmp_path: Path) -> None:
    rows = [{**row, "timing.total": row["seconds"]} for row in grid_rows(seeds=3, datasets=ONE)]
    text = page_of(tmp_path, rows, metric="timing.total", mode="min").text
    assert "lowest first" in text and re.search(r"On pneumonia, rounds 1, .* ranks first", text)


def test_a_base_that_was_not_tried(undrawn: None, tmp_path: Path) -> None:
    text = page_of(tmp_path, grid_rows(seeds=3, datasets=ONE), base={"rounds": 4}).text
    assert "No arm has the base config's values in every field: the reference is the arm rounds 1, " in text


@pytest.mark.parametrize("algorithm", ["random", "optuna"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_drawn_fields(tmp_path: Path, algorithm: str, seeds: int) -> None:
    parsed = page_of(tmp_path, random_rows(60, seeds), search=RANDOM, algorithm=algorithm)
    assert "with a 95 % t-interval over arms" in parsed.text
    assert ("no fair samples" in parsed.text) == (algorithm == "optuna")
    sweep = read_sweep(tmp_path)
    rate = next(e for e in effects(sweep, sweep.results[0]) if e.field.name == "head.learning_rate")
    means = [mean.mean for mean in rate.means[POOL] if mean is not None]
    assert len(means) == 5 and np.argmax(means) in (2, 3), "best about 1e-2"


def test_csv_holds_every_trial_and_column(undrawn: None, tmp_path: Path) -> None:
    rows = grid_rows(seeds=1)
    rows[3] = failed(rows[3], 'InputError: "a", b\nsecond line')
    page_of(tmp_path, rows)
    with open(tmp_path / "trials.csv", newline="", encoding="utf-8") as stream:
        found = list(csv.DictReader(stream))
    columns = pq.read_schema(tmp_path / "trials.parquet").names
    assert list(found[0]) == columns and len(found) == len(rows)
    assert found[3]["error"] == 'InputError: "a", b\nsecond line' and found[3][TEST] == ""
    assert [float(row[TEST]) for row in found[:3]] == [row[TEST] for row in rows[:3]]


@pytest.mark.parametrize(
    "value, text",
    [(1, "1"), (1.0, "1"), ("1", "1"), (0.1, "0.1"), ("0.1", "0.1"), (True, "true"), ("true", "true"), (None, "null"),
     ([1, 2], "[1, 2]"), ("[1, 2]", "[1, 2]"), ("contrast", "contrast"), (1e-7, "1e-07")],
)  # fmt: skip
def test_one_text_per_value(value: object, text: str) -> None:
    assert canonical(value) == text


@pytest.mark.parametrize(
    "text, read", [("-0.5", "\N{MINUS SIGN}0.5"), ("256", "256"), ("0.123456", "0.1235"),
                   ("1e-07", "1e\N{MINUS SIGN}07"),
                   ("a\x00b", "a b"), ("x" * 40, "x" * 27 + "\N{HORIZONTAL ELLIPSIS}")],
)  # fmt: skip
def test_values_as_read(text: str, read: str) -> None:
    assert display(text) == read
