"""A sweep's directory with known effects, from a generator, and its page as read."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from swag_ray.report.sweep.page import write_sweep_report
from tests.support.html import Page

BASE = {"name": "pneumonia", "rounds": 3, "split": {"seed_fraction": 0.3}, "gate": {"tau_distance": 0.0},
        "method": "contrast"}  # fmt: skip
GRID: dict[str, Any] = {"rounds": [1, 3, 5], "gate.tau_distance": [-0.5, 0.0], "method": ["published", "contrast"]}
RANDOM: dict[str, Any] = {
    "head.learning_rate": {"loguniform": [1e-4, 1e-1]},
    "gate.tau_distance": {"uniform": [-1.0, 1.0]},
    "rounds": [1, 3, 5],
}
DATASETS = ("pneumonia", "covid")
ONE = ("pneumonia",)
POOL = "last_round.pool_roc_auc"


def grid_rows(
    search: Mapping[str, Sequence[object]] = GRID, seeds: int = 5, datasets: Sequence[str] = DATASETS
) -> list[dict[str, Any]]:
    """One done trial per dataset, combination and seed."""
    combinations = [dict(zip(search, values, strict=True)) for values in itertools.product(*search.values())]
    cells = itertools.product(datasets, combinations, range(seeds))
    return [trial(number, dataset, seed, fields) for number, (dataset, fields, seed) in enumerate(cells)]


def random_rows(count: int, seeds: int = 1, datasets: Sequence[str] = ("pneumonia",)) -> list[dict[str, Any]]:
    """`count` trials at drawn values of `RANDOM`."""
    generator = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    while len(rows) < count:
        fields = {"head.learning_rate": float(10 ** generator.uniform(-4, -1)),
                  "gate.tau_distance": float(generator.uniform(-1, 1)),
                  "rounds": int(generator.choice([1, 3, 5]))}  # fmt: skip
        for dataset, seed in itertools.product(datasets, range(seeds)):
            rows.append(trial(len(rows), dataset, seed, fields))
    return rows[:count]


def trial(number: int, dataset: str, seed: int, fields: Mapping[str, object]) -> dict[str, Any]:
    """A trial that is done. More rounds help, most with `contrast`; the gate's place does a little; seeds shift all."""
    generator = np.random.default_rng([number, 99])
    shift = np.random.default_rng([seed, len(dataset)]).normal(0, 0.006)
    rounds, tau = float(str(fields.get("rounds", 3))), float(str(fields.get("gate.tau_distance", 0)))
    contrast = fields.get("method", "contrast") == "contrast"
    rate = float(str(fields.get("head.learning_rate", 1e-2)))
    gain = 0.012 * rounds * contrast + 0.004 * (tau >= 0) - 0.02 * (np.log10(rate) + 2) ** 2
    start = 0.87 if dataset == "pneumonia" else 0.90
    pool = start + 0.02 + gain + shift + generator.normal(0, 0.002)
    test = start + gain + shift + generator.normal(0, 0.004)
    admitted = int(200 * rounds + 50 * generator.random())
    purity = 0.99 - 0.02 * (tau >= 0) + generator.normal(0, 0.003)
    return {
        "trial": number, "name": f"sweep-{number}", "status": "done", "error": None,
        "seconds": 40 + 20 * rounds + float(generator.random()), "dataset": dataset, "random_seed": seed,
        **{key: json.dumps(value) if isinstance(value, list) or value is None else value
           for key, value in fields.items()},
        "incremental.roc_auc": float(test), "incremental.pr_auc": float(min(test + 0.02, 1)),
        "incremental.conformal.rate_test_normals": float(generator.uniform(0.03, 0.2)),
        "baselines.seed_only.roc_auc": float(start + shift + generator.normal(0, 0.002)),
        "delta_vs_seed_only.roc_auc": float(gain), "totals.purity": float(min(purity, 1)), "totals.admitted": admitted,
        "contamination.true": [0.05, 0.3][seed % 2] if dataset == "covid" else 0.8,
        "last_round.pool_roc_auc": float(min(pool, 1)), "last_round.admitted": admitted // 4,
    }  # fmt: skip


def failed(row: Mapping[str, Any], error: str = "InputError: no such folder") -> dict[str, Any]:
    """The same trial as one that broke off: no figures."""
    kept = {key: value for key, value in row.items() if not key.startswith(FIGURES)}
    return {**kept, "status": "failed", "error": error, "seconds": 1.5}


FIGURES = ("incremental.", "baselines.", "delta_vs_seed_only.", "totals.", "contamination.", "last_round.")


def write_sweep(folder: Path, rows: Sequence[Mapping[str, Any]], **settings: Any) -> Path:
    """Write sweep.yaml and trials.parquet; `settings` are keys of sweep.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    resolved = {
        "name": "gates", "base": BASE, "datasets": {name: {"root": f"data/{name}"} for name in DATASETS},
        "search": GRID, "random_seeds": [0, 1, 2, 3, 4], "algorithm": "grid", "metric": "last_round.pool_roc_auc",
        "mode": "max", "planned": len(rows), **settings,
    }  # fmt: skip
    (folder / "sweep.yaml").write_text(yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True), encoding="utf-8")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = pa.table({key: pa.array([row.get(key) for row in rows]) for key in columns})
    pq.write_table(table, folder / "trials.parquet")
    return folder


def page(folder: Path) -> Page:
    return Page(write_sweep_report(folder).read_text(encoding="utf-8"))


def page_of(folder: Path, rows: Sequence[Mapping[str, Any]], **settings: Any) -> Page:
    """The page of these trials, closed and without a stand-in for what is not known."""
    parsed = page(write_sweep(folder, rows, **settings))
    assert parsed.open == []
    assert not re.search(r"\b(None|NaN|nan|inf|NaT|undefined)\b", parsed.text)
    return parsed
