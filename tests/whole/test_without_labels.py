"""A run that is told nothing of its pool, against the labelled one on the same images; and what it cannot say.

All but Ray is a run's own: the work of the actors is done in this process.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from swag_ray.config import Config
from swag_ray.detector.bundle import digest_of
from swag_ray.experiment.datasets import list_images
from swag_ray.experiment.pipeline import run_pipeline
from swag_ray.experiment.source import check_source, split_table
from swag_ray.images.split import POOL, SEED, TEST
from swag_ray.progress import Progress
from swag_ray.record.files import ARRAYS_FILE, CARD_FILE, DETECTOR_FOLDER
from swag_ray.record.run_metrics import Timing
from swag_ray.report.card.files import read_card
from swag_ray.report.run.page import write_report
from swag_ray.run.finished import Run, load_run
from swag_ray.run.manifest import write_records
from swag_ray.run.results import write_results
from swag_ray.store.store import Store
from tests.conftest import tiny_config
from tests.experiment.test_prepare import Extracting
from tests.support.html import Page

pytestmark = pytest.mark.usefixtures("one_thread")
GROUP = r"^(set\d+)"
# Figures that no one can know without a label of the pool, or of the test images.
OF_THE_POOL = ("admitted_anomalies", "rejects_purity", "purity_without_second_gate", "ks_seed_vs_pool_normals",
               "pool_roc_auc", "ever_admitted_anomalies", "purity", "true", "rate_pool_normals")  # fmt: skip
OF_THE_TEST = ("roc_auc", "pr_auc", "youden", "operating_points", "recall", "precision", "f1", "accuracy", "tn", "fp",
               "fn", "tp", "rate_test_normals", "rate_interval", "shortcuts", "roc_auc_by_kind")  # fmt: skip


class Told(Progress):
    """Keeps what a run says that it is at."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    @contextmanager
    def phase(self, name: str, text: str) -> Iterator[None]:
        self.texts.append(text)
        with super().phase(name, text):
            yield


def run_experiment(config: Config, directory: Path, progress: Progress | None = None) -> Run:
    """What `run.run_experiment` does, its folder's claim and Ray aside."""
    directory.mkdir(parents=True)
    result = run_pipeline(check_source(config, Progress()), Extracting(), progress or Progress())
    result.metrics.timing = Timing()
    write_results(directory, result)
    write_records(directory, result, None)
    card = (directory / "model_card.json").read_bytes()
    write_report(directory)
    assert (directory / "model_card.json").read_bytes() == card, "the report writes the same again"
    return Run(directory, json.loads((directory / "metrics.json").read_text()), str(directory))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory, session_store: Path) -> tuple[Config, Run]:
    config = tiny_config(session_store)
    return config, run_experiment(config, tmp_path_factory.mktemp("labelled") / "run")


@pytest.fixture(scope="module")
def parts(labelled: tuple[Config, Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The labelled run's images in three folders, by its split; test images in class folders."""
    config, _ = labelled
    root = tmp_path_factory.mktemp("parts")
    listing = list_images(config, Store(config.store))
    split = split_table(config, listing.table)
    names = {SEED: "trusted", POOL: "unknown", TEST: "test"}
    for row, role in zip(listing.table.to_pylist(), split.role_N.tolist(), strict=True):
        if role not in names:
            continue
        folder = root / names[role] / (row["class_name"] if role == TEST else "some")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(listing.root / row["path"], folder)
    return root


def hidden(config: Config, parts: Path, **dataset: Any) -> Config:
    """The same config on the parts, without a label."""
    raw = {"kind": "unlabelled", "seed_root": str(parts / "trusted"), "pool_root": str(parts / "unknown")} | dataset
    split = {"folds": config.split.folds, "group": GROUP}
    return tiny_config(Path(config.store), dataset=raw, split=split)


@pytest.fixture(scope="module")
def unlabelled(labelled: tuple[Config, Run], parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    told = Told()
    run = run_experiment(hidden(labelled[0], parts), tmp_path_factory.mktemp("unlabelled") / "run", told)
    assert not [text for text in told.texts if "true" in text], "no control is announced that cannot be had"
    assert "control: random admission" in told.texts
    return run


def folder(run: Run) -> Path:
    assert run.directory is not None
    return run.directory


def named(figures: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """(name, value) of every figure, however deep."""
    if isinstance(figures, dict):
        for key, value in figures.items():
            yield from named(value, key)
            if isinstance(value, dict) and value:
                yield key, value
    elif isinstance(figures, list):
        for value in figures:
            yield from named(value, at)
    else:
        yield at, figures


def test_it_admits_and_scores_as_the_labelled_run_does(labelled: tuple[Config, Run], unlabelled: Run) -> None:
    first, second = (pq.read_table(folder(run) / "rounds.parquet") for run in (labelled[1], unlabelled))
    assert first.num_rows > 100 and sum(first["admitted"].to_pylist()) > 0
    assert second.drop(["label"]).equals(first.drop(["label"])), "every score, gate and admission to the last bit"
    assert second["label"].null_count == second.num_rows and not first["label"].null_count
    assert (
        pq.read_table(folder(unlabelled) / "seeds.parquet")
        .drop(["path"])
        .equals(pq.read_table(folder(labelled[1]) / "seeds.parquet").drop(["path"]))
    )
    stages = [json.loads((folder(run) / "manifest.json").read_text())["stages"] for run in (labelled[1], unlabelled)]
    kept = [{name: key for name, key in found.items() if not name.startswith(("control", "features", "test"))}
            for found in stages]  # fmt: skip
    assert kept[0] == kept[1], "no key of the method holds a label"


def test_what_needs_a_label_is_absent_and_not_zero(unlabelled: Run) -> None:
    found = dict(named(unlabelled.metrics))
    assert not [name for name in (*OF_THE_POOL, *OF_THE_TEST) if name in found]
    assert set(unlabelled.metrics["baselines"]) == {"seed_only", "no_admission", "random_admission"}
    assert {"estimate", "low"} <= set(unlabelled.metrics["contamination"])
    split = unlabelled.metrics["dataset"]["split"]
    assert split["test"] == 0 and "pool_anomalies" not in split and "contamination" not in unlabelled.metrics["dataset"]
    assert pq.read_table(folder(unlabelled) / "scores.parquet").num_rows == 0


def test_the_card_knows_no_more_and_is_that_of_the_bundle(labelled: tuple[Config, Run], unlabelled: Run) -> None:
    for run in (labelled[1], unlabelled):
        bundle = folder(run) / DETECTOR_FOLDER
        card, plain = read_card(bundle)
        assert plain == read_card(folder(run))[1]
        digest = digest_of(bundle)
        arrays = hashlib.sha256((bundle / ARRAYS_FILE).read_bytes()).hexdigest()
        assert card.digests.detector == digest and card.digests.files[ARRAYS_FILE] == arrays
        assert card.backbone.licence == "Apache Software License 2.0"
        assert card.trained_on.counts.items() >= run.metrics["dataset"]["split"].items()
        (bundle / CARD_FILE).rename(folder(run) / "aside.json")
        assert digest_of(bundle) == digest, "the card is no part of what the detector is"
        (folder(run) / "aside.json").rename(bundle / CARD_FILE)
    found = dict(named(read_card(folder(unlabelled))[1]))
    assert not [name for name in (*OF_THE_POOL, *OF_THE_TEST, "evaluation") if name in found]
    assert found["estimate"] == unlabelled.metrics["contamination"]["estimate"]
    assert dict(named(read_card(folder(labelled[1]))[1]))["roc_auc_by_kind"]


def test_a_run_is_read_in_python(labelled: tuple[Config, Run], unlabelled: Run) -> None:
    run = load_run(folder(unlabelled))
    assert run.config.dataset.kind == "unlabelled" and run.metrics == unlabelled.metrics and len(run.scores) == 0
    assert run.pool["path"].tolist() == unlabelled.pool["path"].tolist() and run.rounds["label"].isna().all()
    known = load_run(folder(labelled[1]))
    wrong = known.rounds.query("admitted & label & round > 0")
    assert len(wrong) == known.metrics["totals"]["ever_admitted_anomalies"] and known.plot_roc().axes


def test_the_report_says_nothing_of_labels_that_there_are_none_of(unlabelled: Run) -> None:
    text = Page((folder(unlabelled) / "report.html").read_text(encoding="utf-8")).text
    parts = ["pool images look abnormal", "though no number of them is certain",
             "how many of them anomalies is not known",
             "The most suspicious of the pool", "Head of the ranking", "unknown/some/", "What was admitted",
             "Trusted images least like the others", "Calibration", "Warnings", "What to do next",
             "The least suspicious of the pool", "No label is known."]  # fmt: skip
    places = [text.find(part) for part in parts]
    assert -1 not in places and places == sorted(places), dict(zip(parts, places, strict=True))
    with (folder(unlabelled) / "pool.csv").open(newline="") as file:
        worst = [row["id"] for row in csv.DictReader(file)][:12]
    with np.load(folder(unlabelled) / "plots" / "overlays.npz") as held:
        assert held["pool.id"].tolist() == worst and {"pool.distance", "pool.evidence"} <= set(held.files)
    for word in ("ROC-AUC", "Summary", "purity", "Confusion", "Shortcuts", "Anomalies found", "recall", " nan", "None"):
        assert word not in text, word


def test_pool_csv_ranks_the_pool_by_suspicion(labelled: tuple[Config, Run], unlabelled: Run) -> None:
    with (folder(unlabelled) / "pool.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "id", "score", "p", "rejected", "admitted", "round"]
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True) and len(rows) == unlabelled.metrics["dataset"]["split"]["pool"]
    assert sum(row["admitted"] == "true" for row in rows) == unlabelled.metrics["totals"]["admitted"] > 0
    assert all(row["round"] for row in rows if row["admitted"] == "true")
    assert all(row["path"].startswith("unknown/some/") for row in rows)
    with (folder(labelled[1]) / "pool.csv").open(newline="") as file:
        assert [{**row, "path": ""} for row in csv.DictReader(file)] == [{**row, "path": ""} for row in rows]
    worst = [row["path"] for row in rows[:20]]
    assert sum("normal" not in path for path in worst) >= 15, "the drawing's own word for what is first"


def test_a_test_folder_of_one_class_gives_the_rates_it_can(
    labelled: tuple[Config, Run], parts: Path, tmp_path: Path, unlabelled: Run
) -> None:
    for name, wanted in (("NORMAL", {"threshold", "tn", "fp", "rate_nominal", "rate_test_normals", "rate_interval"}),
                         ("ANOMALY", {"threshold", "recall", "fn", "tp", "rate_nominal"})):  # fmt: skip
        one = tmp_path / name / "test"
        shutil.copytree(parts / "test" / name, one / name)
        extra = {"anomaly": ["ANOMALY"]} if name == "ANOMALY" else {}
        run = run_experiment(hidden(labelled[0], parts, test_root=str(one), **extra), tmp_path / name / "run")
        at = run.metrics["incremental"]["conformal"]
        whole = labelled[1].metrics["incremental"]["conformal"]
        assert {key for key, value in at.items() if value != {}} == wanted
        assert {key: at[key] for key in wanted} == {key: whole[key] for key in wanted}, "as with the other class beside"
        assert "roc_auc" not in run.metrics["incremental"]
        assert "ROC-AUC" not in Page((folder(run) / "report.html").read_text(encoding="utf-8")).text


def test_labels_of_the_test_images_alone_suffice_to_evaluate(
    labelled: tuple[Config, Run], parts: Path, tmp_path: Path
) -> None:
    dataset = {"test_root": str(parts / "test"), "anomaly": ["ANOMALY"]}
    run = run_experiment(hidden(labelled[0], parts, **dataset), tmp_path / "run")
    known = labelled[1].metrics
    assert run.metrics["incremental"]["roc_auc"] == known["incremental"]["roc_auc"]
    assert run.metrics["delta_vs_seed_only"] == known["delta_vs_seed_only"]
    assert run.metrics["shortcuts"] == known["shortcuts"]
    assert not [name for name in OF_THE_POOL if name in dict(named(run.metrics))]


def test_a_manifests_columns_come_out_in_every_table(
    labelled: tuple[Config, Run], parts: Path, tmp_path: Path, tiny: Callable[..., Config]
) -> None:
    lines = ["path,role,label,group,age,score"]
    for place in sorted(parts.rglob("*.png")):
        role = {"trusted": "seed", "unknown": "pool", "test": "test"}[place.relative_to(parts).parts[0]]
        label = place.parent.name.lower() if role == "test" else ""
        group = place.name.split("-")[0] if role != "test" else ""
        lines.append(f"{place.relative_to(parts)},{role},{label},{group},{len(place.name)},s{len(lines)}")
    (parts / "all.csv").write_text("\n".join(lines) + "\n")
    dataset = {"kind": "manifest", "manifest": str(parts / "all.csv"), "anomaly": ["ANOMALY"]}
    config = tiny(dataset=dataset, split={"folds": labelled[0].split.folds, "group": "column"})
    run = run_experiment(config, tmp_path / "run")
    first, second = (pq.read_table(folder(made) / "rounds.parquet") for made in (labelled[1], run))
    assert second.select(first.drop(["label"]).column_names).equals(first.drop(["label"]))
    assert second.column_names[-2:] == ["age", "score"]
    ages = dict(zip(second["id"].to_pylist(), second["age"].to_pylist(), strict=True))
    assert all(age == str(len(f"{name[:-9]}.png")) for name, age in ages.items()), "each image has its own"
    assert pq.read_table(folder(run) / "scores.parquet").column_names[-2:] == ["age", "score"]
    assert pq.read_table(folder(run) / "seeds.parquet").column_names[-2:] == ["age", "score"]
    with (folder(run) / "pool.csv").open(newline="") as file:
        assert next(csv.reader(file))[-3:] == ["round", "age", "manifest_score"]
    assert run.metrics["incremental"]["roc_auc"] == labelled[1].metrics["incremental"]["roc_auc"]
    secret = run_experiment(tiny("report.anonymous=true", dataset=dataset, split=config.split.model_dump()
                                 | {"seed_fraction": 0.3}), tmp_path / "secret")  # fmt: skip
    assert "age" not in pq.read_table(folder(secret) / "rounds.parquet").column_names
    assert "age" not in (folder(secret) / "pool.csv").read_text().splitlines()[0]
