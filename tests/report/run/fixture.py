"""A small but complete run directory, as an experiment on chest X-rays would leave it, from a generator."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from swag_ray.record.files import write_csv
from swag_ray.report.run import paper_figures
from swag_ray.report.run.page import write_report
from swag_ray.report.run.paper_figures import TestSet
from tests.support.html import Page

SEEDS, NORMALS, ANOMALIES, TEST_NORMALS, TEST_ANOMALIES, ROUNDS, BUDGET = 120, 280, 700, 117, 195, 5, 50
STRENGTH = {
    "incremental": 2.6, "seed_only": 1.6, "full_train": 1.8, "no_admission": 2.4, "random_admission": 1.2,
    "oracle_gate": 2.7, "supervised": 2.8,
}  # fmt: skip


def write_run(folder: Path, *, labels: bool = True, overlays: int = 12, **config: Any) -> Path:
    """Write the run directory.

    Args:
        folder: created.
        labels: False: no label is known, as for a user's own images.
        overlays: images in overlays.npz, 0 for no such file.
        config: keys of `report` in config.yaml (`images`, `published`).

    Returns:
        The folder.
    """
    generator = np.random.default_rng(7)
    (folder / "plots").mkdir(parents=True)
    rounds = _pool(folder / "rounds.parquet", generator, labels)
    metrics = _scores(folder / "scores.parquet", generator, labels, overlays, folder / "plots" / "overlays.npz")
    _seeds(folder / "seeds.parquet", overlays, folder / "plots" / "overlays.npz")
    metrics["rounds"] = rounds
    admitted, wrong = sum(r["admitted"] for r in rounds), sum(r.get("admitted_anomalies", 0) for r in rounds)
    metrics["totals"] = {"admitted": admitted - 1, "ever_admitted": admitted, "evicted": 1, "exhausted": False,
                         "labels_used": 0}  # fmt: skip
    metrics["warnings"] = ["fold 3 holds 19 seeds, fewer than 20: its calibration is coarse"]
    metrics["timing"] = {"features": 81.2, "fits": 118.4, "evaluate": 41.7, "total": 245.0}
    if labels:
        metrics["totals"] |= {
            "admitted_anomalies": wrong,
            "ever_admitted_anomalies": wrong,
            "purity": 1 - wrong / admitted,
        }
        metrics["contamination"] = {
            "true": ANOMALIES / (NORMALS + ANOMALIES),
            "estimate": 0.69,
            "low": 0.64,
            "high": 0.74,
        }
        metrics["localisation"] = {"pixel_roc_auc": 0.923, "pro": 0.715, "images": 40}
        metrics["roc_auc_by_kind"] = {"bacterial": 0.981, "viral": 0.913}
        metrics["shortcuts"] = {"thumbnail_1nn": 0.657, "grey": 0.612, "border": 0.583, "image_size": 0.5,
                                "file_bytes": 0.731}  # fmt: skip
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "manifest.json", _manifest())
    settings = {
        "name": "pneumonia", "random_seed": 0, "method": "contrast",
        "dataset": {"kind": "folder", "root": "data/chest_xray", "normal": "NORMAL", "anomaly": "PNEUMONIA",
                    "contamination": None},
        "gate": {"tau_distance": 0.0, "tau_uncertainty": 1.0, "tau_relaxed": None, "budget": BUDGET},
        "rounds": ROUNDS, "calibration": {"false_positive_rate": 0.05},
        "report": {"images": True, "published": "pneumonia", **config},
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return folder


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def change_metrics(folder: Path, **changes: Any) -> None:
    """Set keys of metrics.json; the value `...` removes one."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8")) | changes
    write_json(folder / "metrics.json", {key: value for key, value in metrics.items() if value is not ...})


def _manifest() -> dict[str, Any]:
    stages = {f"fit {n}": f"{n * 7919:08x}c0ffee"[:12] for n in range(1, ROUNDS + 2)}
    return {
        "versions": {"swag_ray": "0.1.0", "python": "3.11.7", "torch": "2.14.0", "ray": "2.60.0", "faiss": "1.15.0"},
        "random_seed": 0,
        "stage_keys": {"features": "a41f09be77d2", "split": "0c9d41aa9e10", "seed bank": "9be1c77702d4", **stages},
        "machine": {"system": "Linux", "cpus": 2, "gpus": 0, "memory_gib": 7.8},
        "durations": {"features": 81.2, "fit 1": 19.7},
    }


def _p_values(seed: NDArray[np.float64], score: NDArray[np.float64]) -> NDArray[np.float64]:
    return (1 + (seed[None, :] >= score[:, None]).sum(axis=1)) / (len(seed) + 1)


def _pool(path: Path, generator: np.random.Generator, labels: bool) -> list[dict[str, Any]]:
    count = NORMALS + ANOMALIES
    label = np.arange(count) >= NORMALS
    ids = np.array([f"img{i:05d}-{i * 2654435761 % 2**32:08x}" for i in range(count)])
    base = generator.normal(size=count) + np.where(label, generator.gamma(3.0, 1.0, count), 0)
    ever = np.zeros(count, dtype=bool)
    tables, metrics = [], []
    for number in range(ROUNDS + 1):
        z = base + number * 0.9 * label * np.abs(generator.normal(1, 0.4, count)) + 0.3 * generator.normal(size=count)
        p = _p_values(generator.normal(size=SEEDS) * 1.05, z)
        passed = (z <= 0) & ~ever
        order = (
            np.argsort(np.where(passed, z, np.inf))[: min(BUDGET, int(passed.sum()))] if number else np.array([], int)
        )
        admitted = np.zeros(count, dtype=bool)
        admitted[order] = True
        if number == 2:  # one anomaly slips through
            admitted[NORMALS + int(np.argmin(z[NORMALS:]))] = True
        ever |= admitted
        rejected = p <= 0.02
        tables.append(pa.table({
            "round": np.full(count, number), "id": ids, "fold": np.arange(count) % 5, "s": z,
            "u": pa.nulls(count, pa.float64()), "z_s": z, "z_u": pa.nulls(count, pa.float64()), "p": p,
            "rejected": rejected, "candidate": passed,
            "admitted": admitted, "label": label if labels else pa.nulls(count, pa.bool_()),
        }))  # fmt: skip
        row = {"round": number, "head_on": number > 0, "head_weight": 0.9 * (number > 0),
               "rejects": int(rejected.sum()), "candidates": int(passed.sum()),
               "passed_distance": int(passed.sum()), "passed_both": int(passed.sum()), "admitted": int(admitted.sum()),
               "evicted": int(number == 4), "seconds": 21.3 + number}  # fmt: skip
        if labels:
            row |= {"rejects_purity": float(label[rejected].mean()),
                    "admitted_anomalies": int((admitted & label).sum()),
                    "purity_without_second_gate": 0.985, "ks_seed_vs_pool_normals": 0.61 / (number + 1),
                    "roc_auc": 0.878 + 0.017 * min(number, 4.2),
                    "pool_roc_auc": float(roc_auc_score(label, z))}  # fmt: skip
        metrics.append(row)
    pq.write_table(pa.concat_tables(tables), path)
    return metrics


def _figures(label: NDArray[np.bool_], score: NDArray[np.float64], p: NDArray[np.float64]) -> dict[str, Any]:
    def at(flagged: NDArray[np.bool_]) -> dict[str, float]:
        tp, fp = int((flagged & label).sum()), int((flagged & ~label).sum())
        fn, tn = int(label.sum()) - tp, int((~label).sum()) - fp
        precision, recall = tp / max(tp + fp, 1), tp / (tp + fn)
        return {"accuracy": (tp + tn) / len(label), "precision": precision, "recall": recall,
                "f1": 2 * precision * recall / max(precision + recall, 1e-9),
                "tn": tn, "fp": fp, "fn": fn, "tp": tp}  # fmt: skip

    cuts = np.unique(score)
    best = max(cuts, key=lambda cut: float(np.mean(score[label] >= cut) - np.mean(score[~label] >= cut)))
    conformal = at(p <= 0.05) | {
        "threshold": 0.05, "rate_nominal": 0.05, "rate_test_normals": float(np.mean(p[~label] <= 0.05)),
        "rate_pool_normals": 0.043, "rate_interval": [0.017, 0.089],
    }  # fmt: skip
    return {"roc_auc": float(roc_auc_score(label, score)), "pr_auc": float(average_precision_score(label, score)),
            "youden": at(score >= best) | {"threshold": float(best)}, "conformal": conformal,
            "operating_points": _operating_points(label, score)}  # fmt: skip


def _operating_points(label: NDArray[np.bool_], score: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    figures = {
        f"sensitivity_at_specificity_{share}": np.mean(score[label] > np.quantile(score[~label], share / 100))
        for share in (90, 95)
    }
    figures |= {
        f"normals_set_aside_at_sensitivity_{share}": np.mean(score[~label] < np.quantile(score[label], 1 - share / 100))
        for share in (95, 99)
    }
    return {
        name: {"value": float(x), "low": max(float(x) - 0.06, 0.0), "high": min(float(x) + 0.05, 1.0)}
        for name, x in figures.items()
    }


def _scores(path: Path, generator: np.random.Generator, labels: bool, overlays: int, maps: Path) -> dict[str, Any]:
    count = TEST_NORMALS + TEST_ANOMALIES
    label = np.arange(count) >= TEST_NORMALS
    ids = np.array([f"test{i:04d}-{i * 40503 % 2**32:08x}" for i in range(count)])
    hard = generator.normal(size=count)
    columns, figures = {}, {}
    for name, strength in STRENGTH.items():
        score = 0.7 * hard + 0.7 * generator.normal(size=count) + strength * label + 0.6
        p = _p_values(generator.normal(size=SEEDS), score)
        columns[name], figures[name] = score, _figures(label, score, p)
        if name == "incremental":
            own_p = p
    kind = np.where(label, np.where(np.arange(count) % 3 == 0, "viral", "bacterial"), None)
    pq.write_table(pa.table({
        "id": ids, "path": [f"test/{name}.jpeg" for name in ids],
        "label": label if labels else pa.nulls(count, pa.bool_()),
        "kind": pa.array(kind.tolist() if labels else [None] * count, pa.string()), **columns, "p": own_p,
    }), path)  # fmt: skip
    if overlays:
        order = np.argsort(-columns["incremental"])
        chosen = np.concatenate([order[: overlays // 2], order[-(overlays // 2) :]])
        np.savez(maps, id=ids[chosen], score=columns["incremental"][chosen], p=own_p[chosen],
                 **({"label": label[chosen]} if labels else {}), **_maps(generator, label[chosen]))  # fmt: skip
    if not labels:
        return {}
    own = figures.pop("incremental")
    gain = own["roc_auc"] - figures["seed_only"]["roc_auc"]
    return {
        "baselines": figures, "incremental": own | {"score_used": "fused"},
        "delta_vs_seed_only": {"roc_auc": gain, "low": gain - 0.021, "high": gain + 0.022},
        "delta_vs_no_admission": {"roc_auc": 0.012, "low": 0.003, "high": 0.021, "same_scores": False},
        "arms": {
            "bank": {"roc_auc": 0.893, "weight": 0.071},
            "auxiliary": {"roc_auc": 0.861, "weight": 0.043, "reason": "held-out variants rank above seeds with chance "
                          "0.71 by the bank, 0.98 by the head"},
            "head": {"roc_auc": 0.957, "weight": 0.9, "reason": "likely anomalies of held-out folds lie 3.06 sd above "
                     "the seeds (placebo 0.48), and amount to 324.9 certain ones"},
            "fused": {"roc_auc": own["roc_auc"]},
        },
    }  # fmt: skip


def _seeds(path: Path, pictures: int, npz: Path) -> None:
    """seeds.parquet, and the pictures of the highest of them and of variants of others. The last seed is odd."""
    generator = np.random.default_rng(11)
    z = generator.normal(size=SEEDS)
    z[-1] = 4.5
    ids = np.array([f"seed{i:04d}-{i * 69069 % 2**32:08x}" for i in range(SEEDS)])
    pq.write_table(pa.table({
        "id": ids, "path": [f"train/NORMAL/{name}.jpeg" for name in ids], "fold": np.arange(SEEDS) % 5, "s": z, "z": z,
        "p": (1 + (z[None] >= z[:, None]).sum(axis=1)) / (SEEDS + 1),
    }), path)  # fmt: skip
    if not pictures:
        return
    odd = np.argsort(-z)[:8]
    arrays = {"seed.id": ids[odd]}
    found = _maps(generator, np.arange(8) == 0)
    arrays |= {f"seed.{name}": found[name] for name in ("image", "distance", "evidence")}
    host = _maps(generator, np.zeros(2, bool))["image"]
    variant = host.copy()
    variant[:, 30:50, 30:50] += 40
    arrays |= {
        "variant.id": np.tile(ids[:2], 2), "variant.kind": np.repeat(["foreign_patch", "opacities"], 2),
        "variant.host": np.tile(host, (2, 1, 1)), "variant.image": np.tile(variant, (2, 1, 1)),
    }  # fmt: skip
    with np.load(npz) as held:
        arrays |= {name: held[name] for name in held.files}
    np.savez(npz, **arrays)


def _maps(generator: np.random.Generator, label: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Soft blobs that recall a chest film, distances and evidence with a spot where the image is an anomaly."""
    count, side = len(label), 96
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    lungs = sum(np.exp(-((((x - c) / 0.28) ** 2 + ((y + 0.05) / 0.55) ** 2) ** 2)) for c in (-0.42, 0.42))
    body = 190 * np.exp(-((x / 0.95) ** 6)) - 120 * lungs
    image = np.empty((count, side, side), np.uint8)
    distance = generator.gamma(9, 0.05, (count, 8, 8)).astype(np.float32)
    evidence = generator.normal(-0.02, 0.05, (count, 4, 4)).astype(np.float32)
    for index in range(count):
        spot = 0.0
        if label[index]:
            row, column = generator.integers(2, 6), generator.choice([2, 5])
            spot = 90 * np.exp(-(((x - column / 4 + 0.9) / 0.2) ** 2 + ((y - row / 4 + 0.9) / 0.25) ** 2))
            distance[index, row, column] += 0.5
            evidence[index, row // 2, column // 2] += 0.4
        image[index] = np.clip(body + spot + generator.normal(0, 5, (side, side)), 0, 255)
    seeds = generator.gamma(9, 0.05, 10_000)
    scale = np.array([seeds.mean(), seeds.std(), np.percentile(seeds, 99)])
    return {"image": image, "distance": distance, "evidence": evidence, "seed_patches": scale}


def rank_pool(folder: Path) -> list[str]:
    """Writes what a run leaves of a pool that nothing is known of, pool.csv and pictures; returns its ids, ranked."""
    rounds = pq.read_table(folder / "rounds.parquet").to_pandas()
    rank = rounds[rounds["round"] == ROUNDS].sort_values("s", ascending=False)
    ever = rounds[rounds["admitted"]].groupby("id")["round"].max()
    admitted = [int(ever[name]) if name in ever.index else None for name in rank["id"]]
    ids = [str(name) for name in rank["id"]]
    write_csv(folder / "pool.csv", pa.table({
        "path": [f"unknown/{name}.jpeg" for name in ids], "id": ids, "score": rank["s"].to_numpy(),
        "p": rank["p"].to_numpy(), "rejected": rank["rejected"].to_numpy(),
        "admitted": [number is not None for number in admitted], "round": pa.array(admitted, pa.int32()),
    }))  # fmt: skip
    maps = _maps(np.random.default_rng(5), np.ones(12, bool))
    del maps["seed_patches"]
    facts = {"id": np.array(ids[:12]), "score": rank["s"].to_numpy()[:12], "p": rank["p"].to_numpy()[:12]}
    with np.load(folder / "plots" / "overlays.npz") as held:
        arrays = {name: held[name] for name in held.files}
    np.savez(folder / "plots" / "overlays.npz", **arrays, **{f"pool.{name}": x for name, x in (facts | maps).items()})
    return ids


def page(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def metrics(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return result


def configure(folder: Path, **report: Any) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    config["report"] |= report
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def as_published(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, **changed: Any) -> None:
    """Makes the run's test images those of a published set, but for what is changed."""
    scores = pq.read_table(folder / "scores.parquet")
    own = TestSet.of(scores["path"].to_pylist(), [int(label) for label in scores["label"].to_pylist()])
    monkeypatch.setitem(paper_figures.TEST_SETS, name, replace(own, **changed))
