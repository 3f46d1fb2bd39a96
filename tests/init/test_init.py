"""`swag-ray init` on the layouts that people have: what it writes loads, lists and splits, without a file moved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from swag_ray.config import Config, load_config
from swag_ray.errors import InputError
from swag_ray.experiment.datasets import list_images
from swag_ray.images.listing import Listing
from swag_ray.images.split import Split, make_split
from swag_ray.init.plan import NORMAL, POOL, SEED, sounds
from swag_ray.init.write import Started, write_config
from swag_ray.store.store import Store
from tests.support.command_line import Command
from tests.support.images import PATIENT, write

NORMALS, ANOMALIES = 36, 24


@pytest.fixture
def films(xray_root: Path) -> tuple[list[Path], list[Path]]:
    """Real films: normal ones and those of pneumonia, with the names that they were published by."""
    train = xray_root / "train"
    return sorted((train / "NORMAL").iterdir())[:NORMALS], sorted((train / "PNEUMONIA").iterdir())[:ANOMALIES]


def put(films: Sequence[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for film in films:
        shutil.copy(film, folder / film.name)


def started(tmp_path: Path, *paths: Path, normal: str | None = None) -> tuple[Config, Listing, Split, Started]:
    """What `init` writes, and what a run would make of it."""
    done = write_config([str(path) for path in paths], str(tmp_path / "made.yaml"), normal=normal)
    config = load_config(done.config)
    listing = list_images(config, Store(str(tmp_path / "store")))
    split = make_split(
        listing.table, seed_fraction=config.split.seed_fraction, folds=config.split.folds,
        contamination=config.dataset.contamination, random_seed=0,
    )  # fmt: skip
    return config, listing, split, done


def refused(tmp_path: Path, *paths: Path) -> str:
    with pytest.raises(InputError) as caught:
        write_config([str(path) for path in paths], str(tmp_path / "made.yaml"))
    assert not (tmp_path / "made.yaml").exists() and not list(tmp_path.glob(".made*")), "nothing is left"
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.data
def test_training_and_testing(films: tuple[list[Path], list[Path]], tmp_path: Path) -> None:
    normals, anomalies = films
    root = tmp_path / "brain"
    put(normals[:26], root / "Training" / "notumor")
    put(anomalies[:12], root / "Training" / "glioma")
    put(anomalies[12:16], root / "Training" / "pituitary")
    put(normals[26:], root / "Testing" / "notumor")
    put(anomalies[16:], root / "Testing" / "glioma")
    (root / "readme.txt").write_text("of no matter")
    config, listing, split, done = started(tmp_path, root)
    assert (config.name, config.dataset.kind, config.dataset.normal) == ("brain", "folder", "notumor")
    assert set(config.dataset.anomaly) == {"glioma", "pituitary"} and config.dataset.test_fraction is None
    assert listing.table.num_rows == 60 and split.counts["test"] == 18
    assert config.split.group == PATIENT and split.counts["seed"] >= 12
    assert done.next == f"swag-ray run {tmp_path / 'made.yaml'}"


@pytest.mark.data
def test_classes_without_a_split(films: tuple[list[Path], list[Path]], tmp_path: Path) -> None:
    root = tmp_path / "set"
    put(films[0], root / "data" / "Healthy")
    put(films[1], root / "data" / "sick")
    put(films[1][:0], root / "data" / "empty")
    config, listing, split, done = started(tmp_path, root)
    assert (config.dataset.test_fraction, config.dataset.normal, config.dataset.anomaly) == (0.2, "Healthy", ("sick",))
    assert listing.table.num_rows == 60 and split.counts["test"] >= 10
    assert any("empty is empty" in note for note in done.notes)


@pytest.mark.data
@pytest.mark.parametrize("swapped", [False, True])
def test_normals_and_unknowns(films: tuple[list[Path], list[Path]], tmp_path: Path, swapped: bool) -> None:
    seeds, pool = tmp_path / "clinic" / "normals", tmp_path / "clinic" / "unknown"
    put(films[0][:24], seeds)
    put([*films[0][24:], *films[1]], pool)
    config, listing, split, _ = started(tmp_path, *((pool, seeds) if swapped else (seeds, pool)))
    assert (config.dataset.seed_root, config.dataset.pool_root) == (str(seeds), str(pool))
    assert config.name == "clinic" and (split.counts["seed"], split.counts["pool"]) == (24, 36)
    assert set(listing.table["label"].to_pylist()) == {False, None}
    (tmp_path / "made.yaml").unlink()
    assert started(tmp_path, seeds.parent)[0].dataset == config.dataset, "the folder above says the same"


@pytest.mark.data
def test_a_folder_a_patient(films: tuple[list[Path], list[Path]], tmp_path: Path) -> None:
    seeds, pool = tmp_path / "trusted", tmp_path / "pool"
    for part, images in ((seeds, films[0]), (pool, films[1])):
        for number, film in enumerate(images):
            put([film], part / f"P{number // 2:03}" / f"study{number % 2}")
    config, _, split, done = started(tmp_path, seeds, pool)
    assert config.split.group == "folder" and split.counts["seed_groups"] == NORMALS // 2
    assert any("a folder a patient" in guess.reason for guess in done.guesses)
    root = tmp_path / "classes"
    seeds.rename(tmp_path / "n")
    for part, name in ((tmp_path / "n", "good"), (pool, "bad")):
        shutil.copytree(part, root / name)
    (tmp_path / "made.yaml").unlink()
    config, listing, _, _ = started(tmp_path, root)
    assert (config.dataset.kind, config.split.group) == ("folder", "folder") and listing.table.num_rows == 60


@pytest.mark.data
def test_a_csv(films: tuple[list[Path], list[Path]], tmp_path: Path) -> None:
    put([*films[0], *films[1]], tmp_path / "films")
    lines = ["path,label,group,age"]
    lines += [f"films/{film.name},Healthy,n{number // 2},{number}" for number, film in enumerate(films[0])]
    lines += [f"films/{film.name},Pneumonia,a{number // 2},{number}" for number, film in enumerate(films[1])]
    (tmp_path / "films.csv").write_text("\n".join(lines))
    config, listing, split, done = started(tmp_path, tmp_path / "films.csv")
    d = config.dataset
    assert (d.kind, d.normal, d.anomaly, d.test_fraction) == ("manifest", "Healthy", ("Pneumonia",), 0.2)
    assert config.split.group == "column" and listing.table.num_rows == 60 and split.counts["test"] >= 10
    assert "columns that come out again in every table: age" in done.notes


@pytest.mark.data
def test_data_json_of_a_public_benchmark(films: tuple[list[Path], list[Path]], tmp_path: Path) -> None:
    root = tmp_path / "RSNA"
    put([*films[0], *films[1]], root / "images")
    normals, anomalies = ([film.name for film in part] for part in films)
    lists = {
        "train": {"0": normals[:20], "unlabeled": {"0": normals[20:26], "1": anomalies[:10]}},
        "test": {"0": normals[26:], "1": anomalies[10:]},
    }
    (root / "data.json").write_text(json.dumps(lists))
    config, _, split, _ = started(tmp_path, root)
    assert (config.name, config.dataset.kind, config.dataset.manifest) == ("RSNA", "manifest", str(root / "data.json"))
    assert (split.counts["seed"], split.counts["pool"], split.counts["test"]) == (20, 16, 24)


@pytest.mark.data
def test_the_published_sets_are_known_by_name(xray_root: Path, covid_root: Path, tmp_path: Path) -> None:
    for root, anomaly in ((xray_root, "PNEUMONIA"), (covid_root, "COVID19")):
        done = write_config([str(root)], str(tmp_path / f"{root.name}.yaml"))
        config = load_config(done.config)
        assert (config.dataset.normal, config.dataset.anomaly, config.split.group) == ("NORMAL", (anomaly,), PATIENT)
        assert config.split == config.split.model_copy(update={"folds": 5, "seed_fraction": 0.3})


def small(root: Path, **classes: int) -> Path:
    for number, (name, count) in enumerate(classes.items()):
        for image in range(count):
            write(root / name / f"{name}-x{image}.png", 1000 * number + image)
    return root


def test_what_cannot_be_guessed_is_one_line_with_the_choices(tmp_path: Path) -> None:
    told = refused(tmp_path, small(tmp_path / "a", cat=5, dog=5))
    assert "no folder of" in told and "choose: --normal cat, --normal dog, `swag-ray init TRUSTED UNKNOWN`" in told
    told = refused(tmp_path, small(tmp_path / "b", normal=5, healthy=5, sick=5))
    assert "may be the normal class; choose: --normal healthy or --normal normal" in told
    told = refused(tmp_path, small(tmp_path / "c" / "d", normal=9).parent)
    assert "and none beside them; choose: `swag-ray init TRUSTED UNKNOWN` with two folders or a CSV" in told
    write(tmp_path / "flat" / "x.png", 1)
    assert "nothing says which of the 1 images" in refused(tmp_path, tmp_path / "flat")
    assert "too few; at least 10" in refused(tmp_path, small(tmp_path / "e", normal=6, sick=9))
    (tmp_path / "f").mkdir()
    assert "holds no image" in refused(tmp_path, tmp_path / "f")
    (tmp_path / "t.csv").write_text("path,age\nx.png,3\n")
    assert "choose: a column role (seed, pool, test) or columns split" in refused(tmp_path, tmp_path / "t.csv")
    assert "lies in" in refused(tmp_path, tmp_path / "b", tmp_path / "b" / "sick")
    batches = small(tmp_path / "g" / "normal", one=12, two=12).parent
    small(batches, sick=9)
    assert "sub-folders, which look like no patients" in refused(tmp_path, batches)


def test_the_normal_class_can_be_named(tmp_path: Path) -> None:
    config, *_ = started(tmp_path, small(tmp_path / "a", cat=40, dog=20), normal="cat")
    assert (config.dataset.normal, config.dataset.anomaly) == ("cat", ("dog",))


@pytest.mark.parametrize(("normals", "rate"), [(12, None), (20, None), (60, 0.05), (500, 0.05)])
def test_few_images_get_a_split_that_holds(tmp_path: Path, normals: int, rate: float | None) -> None:
    config, _, split, _ = started(tmp_path, small(tmp_path / "few", normal=normals, sick=9))
    assert min(split.fold_seeds) >= 3 and split.counts["pool_normals"] >= 2
    assert 1 / (split.counts["seed"] + 1) <= config.calibration.false_positive_rate, "something can be flagged"
    assert rate is None or config.calibration.false_positive_rate == rate
    assert (config.split.seed_fraction, config.split.folds) == (0.3, 5) or normals < 500


def test_words_are_known_in_any_spelling() -> None:
    assert all(sounds(name, NORMAL) for name in ("NORMAL", "no_tumor", "No Tumor", "Normals", "0", "Good"))
    assert not any(sounds(name, NORMAL) for name in ("abnormal", "10", "nodule", "not_normal", "COVID-0"))
    assert sounds("Seeds", SEED) and sounds("unlabeled", POOL) and not sounds("pooled", POOL)


def test_the_command_writes_a_commented_config_and_replaces_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    small(tmp_path / "mine", normal=40, **{"no: 'tumour' # é": 20})
    done = command("init", "mine")
    assert done.code == 0 and done.out.endswith("next:    swag-ray run mine.yaml\n"), done.err
    text = (tmp_path / "mine.yaml").read_text(encoding="utf-8")
    assert "  # its name sounds normal; 40 images to train on\n  normal: normal\n" in text
    assert load_config("mine").dataset.anomaly == ("no: 'tumour' # é",)
    (tmp_path / "mine.yaml").write_text("mine")
    assert "--out: mine.yaml exists; name another with --out" in command("init", "mine").complaint
    assert (tmp_path / "mine.yaml").read_text() == "mine"
    assert command("init", "mine", "--overwrite", "--json").code == 0 and load_config("mine").name == "mine"
    assert "is a folder" in command("init", "mine", "--out", tmp_path).complaint
    assert "does not exist" in command("init", "nowhere").complaint
