"""Who reads what a run leaves, and what it says of the images: a name is planted in the files and sought everywhere."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from swag_ray.config import Config, load_config, parse_config
from swag_ray.config.sweep import SweepConfig
from swag_ray.errors import InputError
from swag_ray.report.run.page import write_report
from swag_ray.run.run import Run, run_experiment
from swag_ray.sweep.sweep import run_sweep
from tests.support.command_line import figures
from tests.support.images import write

pytestmark = pytest.mark.ray
NAME = "Planted"  # of a patient, in every file name
MISSING = f"{NAME} other"  # class that test lacks
ANONYMOUS = ("report.anonymous=true", "report.images=false")


def planted(root: Path) -> Path:
    """A set in which something is to be said of many files: unreadable, twice, under both labels, of other classes."""
    seed = 0
    for split, count in (("train", 40), ("test", 12)):
        for label in ("NORMAL", "SICK"):
            for number in range(count if label == "NORMAL" else count // 2):
                seed += 1
                write(root / split / label / f"{NAME} Patient{seed // 4}-{number}.png", seed)
    train = root / "train" / "NORMAL"
    (train / f"{NAME} torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    shutil.copy(train / f"{NAME} Patient0-0.png", root / "train" / "SICK" / f"{NAME} both.png")
    write(train / "sub" / f"{NAME} below.png", 901)
    write(root / "train" / f"{NAME} class" / "x.png", 902)
    write(root / "train" / MISSING / "y.png", 905)
    write(root / f"{NAME} folder" / "x.png", 903)
    write(train / f"{NAME} blank.png", 904, side=8)
    return root


def config_of(root: Path, store: Path, *overrides: str) -> Config:
    raw = {
        "name": "privacy", "dataset": {"root": str(root), "anomaly": ["SICK", MISSING]},
        "split": {"seed_fraction": 0.5, "folds": 2}, "backbone": {"image_size": 64, "strides": [8, 16], "grid": 4},
        "head": {"warmup_epochs": 2, "swag_epochs": 2}, "swag": {"samples": 2},
        "gate": {"budget": 5}, "rounds": 1, "controls": ["seed_only"], "store": str(store),
    }  # fmt: skip
    return parse_config(raw, overrides)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("privacy")


@pytest.fixture(scope="module")
def named(place: Path, local_ray: None) -> Iterator[Run]:
    """A run as the config's defaults have it, under the most open umask."""
    before = os.umask(0)
    yield run_experiment(config_of(planted(place / "images"), place / "store"), place / "run")
    os.umask(before)


@pytest.fixture(scope="module")
def anonymous(place: Path, named: Run) -> Run:
    """The same in another folder, its features and fits from the store."""
    return run_experiment(config_of(place / "images", place / "store", *ANONYMOUS), place / "anonymous")


def text_of(path: Path) -> str:
    """All that a file says, unpacked."""
    raw = path.read_bytes().decode("latin-1")
    if path.suffix == ".parquet":
        return raw + json.dumps(pq.read_table(path).to_pylist(), default=str)
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return raw + "".join(
                f"{name} {arrays[name].tolist()}" for name in arrays.files if arrays[name].dtype.kind == "U"
            )
    return raw


def saying(folder: Path, *words: str) -> set[str]:
    """The files of a folder that hold one of the words, by their path in it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)) for path in files if any(word in text_of(path) for word in words)}


def names_in(folder: Path) -> set[str]:
    """The files that hold a name, but for the class folders in the configs, which must be read to go on."""
    found = saying(folder, NAME, "Patient")
    configs = {name for name in found if Path(name).name in ("config.yaml", "sweep.yaml")}
    texts = [(folder / name).read_text().replace(MISSING, "") for name in configs]
    return (found - configs) | {text for text in texts if NAME in text or "Patient" in text}


def test_all_that_a_run_leaves_is_its_owners_alone(named: Run, place: Path) -> None:
    for folder in (named.directory, place / "store"):
        found = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
        assert len(found) > 10
        wrong = {str(path): oct(mode) for path, mode in found.items() if mode != (0o700 if path.is_dir() else 0o600)}
        assert wrong == {}


def test_the_store_knows_no_name_and_a_run_says_them_where_the_readme_tells(named: Run, place: Path) -> None:
    assert saying(place / "store", NAME) == set()
    cards = {f"{folder}model_card.{kind}" for folder in ("", "detector/") for kind in ("md", "json")}
    assert saying(named.directory, NAME) == cards | {
        "config.yaml", "detector/trusted.npz", "metrics.json", "plots/overlays.npz", "pool.csv", "report.html",
        "rounds.parquet", "scores.parquet", "seeds.parquet",
    }  # fmt: skip


def test_an_anonymous_run_says_no_name_anywhere(named: Run, anonymous: Run, place: Path) -> None:
    assert MISSING in "".join(named.metrics["warnings"])
    assert names_in(anonymous.directory) == saying(place / "store", NAME) == set()
    folders = (str(place / "images"), str(place / "store"))
    assert saying(anonymous.directory, *folders) == {"config.yaml"}, "which must be read to go on"
    assert saying(named.directory, str(place / "images")) > {"config.yaml", "detector/trusted.npz"}
    with np.load(anonymous.directory / "detector" / "trusted.npz") as trusted:
        assert "path" not in trusted and not trusted["pictures"] and len(set(trusted["id"])) == len(trusted["id"]) > 15


def test_its_figures_are_the_same_and_its_ids_belong_together(named: Run, anonymous: Run) -> None:
    def plain(metrics: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in figures(metrics).items() if k not in ("warnings", "dataset")}

    assert plain(named.metrics) == plain(anonymous.metrics)
    assert len(named.metrics["warnings"]) == len(anonymous.metrics["warnings"]) > 1
    for table in ("rounds.parquet", "scores.parquet", "seeds.parquet"):
        before, after = (pq.read_table(run.directory / table) for run in (named, anonymous))
        ids = [(a, b) for a, b in zip(before["id"].to_pylist(), after["id"].to_pylist(), strict=True)]
        assert len(set(ids)) == len({a for a, _ in ids}) == len({b for _, b in ids})
        rest = [name for name in before.column_names if name not in ("id", "path")]
        assert before.select(rest).equals(after.select(rest))
        assert "path" not in after.column_names or after["path"].null_count == len(after) > 0
    assert "path" in after.column_names


def test_images_of_the_run_before_go(named: Run, anonymous: Run, place: Path, tmp_path: Path) -> None:
    assert "data:image" in (named.directory / "report.html").read_text()
    again = shutil.copytree(named.directory, tmp_path / "run")
    run_experiment(config_of(place / "images", place / "store", *ANONYMOUS), again)
    for folder in (again, anonymous.directory):
        assert not (folder / "plots" / "overlays.npz").exists()
        assert "data:image" not in (folder / "report.html").read_text() and names_in(folder) == set()


def test_the_report_alone_removes_them_too(named: Run, tmp_path: Path) -> None:
    again = shutil.copytree(named.directory, tmp_path / "run")
    config = yaml.safe_load((again / "config.yaml").read_text())
    config["report"]["images"] = False
    (again / "config.yaml").write_text(yaml.safe_dump(config))
    write_report(again)
    assert not (again / "plots" / "overlays.npz").exists()
    assert "data:image" not in (again / "report.html").read_text()
    config["report"]["anonymous"] = True
    (again / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match=r"holds names of files, from before report.anonymous; run it again"):
        write_report(again)


@pytest.mark.cluster
def test_an_anonymous_sweep_says_no_name_anywhere(anonymous: Run, place: Path, tmp_path: Path) -> None:
    base = yaml.safe_load((anonymous.directory / "config.yaml").read_text())
    assert load_config(anonymous.directory / "config.yaml").report.anonymous
    search = {"gate.budget": [5, 6], "score.neighbours": [3]}
    done = run_sweep(SweepConfig.model_validate({"name": "s", "base": base, "search": search}), tmp_path / "sweep")
    assert done.count("done") == 2
    assert names_in(done.directory) == set()
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in (done.directory, *done.directory.rglob("*"))}
    opened = {str(path): oct(mode) for path, mode in found.items() if mode & 0o077 and not path.is_symlink()}
    assert opened == {}
