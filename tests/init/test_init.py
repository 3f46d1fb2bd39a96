"""`swag-ray init` on the layouts that people have: what it writes loads, lists and splits, without a file moved."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from swag_ray.config import Config, load_config
from swag_ray.doctor.dataset import describe_dataset
from swag_ray.errors import InputError
from swag_ray.experiment.datasets import list_images
from swag_ray.images.listing import Listing
from swag_ray.images.split import Split, make_split
from swag_ray.init.plan import NORMAL, POOL, SEED, sounds
from swag_ray.init.write import Started, write_config
from swag_ray.store.store import Store
from tests.support.command_line import Command
from tests.support.dicom import film, saved
from tests.support.images import PATIENT, blocks, write
from tests.support.own_images import (
    NORMALS,
    Films,
    classes_without_split,
    csv_table,
    data_json,
    dicom_tree,
    films_of,
    folder_a_patient,
    normals_and_unknowns,
    training_and_testing,
)


@pytest.fixture
def films(xray_root: Path) -> Films:
    return films_of(xray_root)


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
def test_training_and_testing(films: Films, tmp_path: Path) -> None:
    config, listing, split, done = started(tmp_path, *training_and_testing(films, tmp_path))
    assert (config.name, config.dataset.kind, config.dataset.normal) == ("brain", "folder", "notumor")
    assert set(config.dataset.anomaly) == {"glioma", "pituitary"} and config.dataset.test_fraction is None
    assert listing.table.num_rows == 60 and split.counts["test"] == 18
    assert config.split.group == PATIENT and split.counts["seed"] >= 12
    assert done.next == f"swag-ray run {tmp_path / 'made.yaml'}"


@pytest.mark.data
def test_classes_without_a_split(films: Films, tmp_path: Path) -> None:
    config, listing, split, done = started(tmp_path, *classes_without_split(films, tmp_path))
    assert (config.dataset.test_fraction, config.dataset.normal, config.dataset.anomaly) == (0.2, "Healthy", ("sick",))
    assert listing.table.num_rows == 60 and split.counts["test"] >= 10
    assert any("empty is empty" in note for note in done.notes)


@pytest.mark.data
@pytest.mark.parametrize("swapped", [False, True])
def test_normals_and_unknowns(films: Films, tmp_path: Path, swapped: bool) -> None:
    seeds, pool = normals_and_unknowns(films, tmp_path)
    config, listing, split, _ = started(tmp_path, *((pool, seeds) if swapped else (seeds, pool)))
    assert (config.dataset.seed_root, config.dataset.pool_root) == (str(seeds), str(pool))
    assert config.name == "clinic" and (split.counts["seed"], split.counts["pool"]) == (24, 36)
    assert set(listing.table["label"].to_pylist()) == {False, None}
    (tmp_path / "made.yaml").unlink()
    assert started(tmp_path, seeds.parent)[0].dataset == config.dataset, "the folder above says the same"


@pytest.mark.data
def test_a_folder_a_patient(films: Films, tmp_path: Path) -> None:
    seeds, pool = folder_a_patient(films, tmp_path)
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
def test_a_csv(films: Films, tmp_path: Path) -> None:
    config, listing, split, done = started(tmp_path, *csv_table(films, tmp_path))
    d = config.dataset
    assert (d.kind, d.normal, d.anomaly, d.test_fraction) == ("manifest", "Healthy", ("Pneumonia",), 0.2)
    assert config.split.group == "column" and listing.table.num_rows == 60 and split.counts["test"] >= 10
    assert "columns that come out again in every table: age" in done.notes


@pytest.mark.data
def test_a_tree_of_dicom(films: Films, tmp_path: Path, command: Command) -> None:
    paths = dicom_tree(films, tmp_path)
    config, listing, split, done = started(tmp_path, *paths)
    assert config.split.group == "patient_id" and listing.table.num_rows == 60
    assert (split.counts["seed"], split.counts["pool"], split.counts["seed_groups"]) == (36, 24, 18)
    (reason,) = [guess.reason for guess in done.guesses if guess.field == "split.group"]
    assert "30 patients, 2 images at most of one, in 60 DICOMs looked into" in reason
    assert any("left out: 2 DICOMDIR files" in note or "DICOMDIR files (2)" in note for note in done.notes)
    shown = command("init", *paths, "--out", tmp_path / "again.yaml")
    text = (tmp_path / "again.yaml").read_text() + shown.out + shown.err + str(done)
    assert shown.code == 0 and "Planted" not in text, "no PatientID is shown or written"
    classes = tmp_path / "classes"
    for path, name in zip(paths, ("good", "bad"), strict=True):
        shutil.copytree(path, classes / name)
    (tmp_path / "made.yaml").unlink()
    config, listing, *_ = started(tmp_path, classes)
    assert (config.dataset.kind, config.split.group, listing.table.num_rows) == ("folder", "patient_id", 60)


@pytest.mark.data
@pytest.mark.parametrize("patient", ["anonymous", ""])
def test_a_patient_id_that_tells_none_apart_is_not_taken(films: Films, tmp_path: Path, patient: str) -> None:
    config, _, _, done = started(tmp_path, *dicom_tree(films, tmp_path, lambda number: patient))
    assert config.split.group != "patient_id"
    (reason,) = [guess.reason for guess in done.guesses if guess.field == "split.group"]
    assert f"({1 if patient else 0} PatientID{'' if patient else 's'} in 60 DICOMs looked into: it tells none" in reason


@pytest.mark.data
def test_dicom_in_a_table_is_of_whom_it_says(films: Films, tmp_path: Path) -> None:
    seeds, pool = dicom_tree(films, tmp_path)
    rows = [f"{path},{role}" for root, role in ((seeds, "seed"), (pool, "pool")) for path in root.rglob("IM*")]
    (tmp_path / "films.csv").write_text("\n".join(["path,role", *rows]))
    config, _, split, _ = started(tmp_path, tmp_path / "films.csv")
    assert config.split.group == "patient_id" and split.counts["seed_groups"] == 18


@pytest.mark.data
def test_data_json_of_a_public_benchmark(films: Films, tmp_path: Path) -> None:
    (root,) = data_json(films, tmp_path)
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


def test_dicom_that_the_defaults_would_refuse_get_settings_that_read_them(tmp_path: Path) -> None:
    """Several frames, and CT without a window, in every plan; a CT with one and a single frame get neither."""
    stored = np.asarray(blocks(1, 48)).astype(np.int16) * 4
    window, voi = Dataset(), Dataset()
    voi.WindowCenter, voi.WindowWidth = 500, 1000
    window.FrameVOILUTSequence = [voi]
    shared = {"SharedFunctionalGroupsSequence": [window]}
    kinds: dict[str, dict[str, Any]] = {
        "bare": {}, "windowed": {"WindowCenter": 500, "WindowWidth": 1000}, "enhanced": shared, "loop": {},
    }  # fmt: skip
    for kind, tags in kinds.items():
        for part, first in (("normal", 0), ("unknown", 6)):
            for number in range(first, first + 6):
                samples = np.roll(stored, number, 0)
                frames = np.stack([samples, samples[::-1]]) if kind in ("loop", "enhanced") else samples
                modality = "US" if kind == "loop" else "CT"
                file = tmp_path / kind / part / f"IM{number}.dcm"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(saved(film(frames, 16, Modality=modality, PatientName="Planted", **tags)))
    expected = {
        "bare": ("percentile", "refuse"), "windowed": ("bits", "refuse"), "enhanced": ("bits", "middle"),
        "loop": ("bits", "middle"),
    }  # fmt: skip
    for kind, (grey_range, frames) in expected.items():
        root = tmp_path / kind
        rows = [f"{file},{'seed' if file.parent.name == 'normal' else 'pool'}" for file in root.rglob("*.dcm")]
        (tmp_path / f"{kind}.csv").write_text("\n".join(["path,role", *rows]))
        for paths in ([root / "normal", root / "unknown"], [tmp_path / f"{kind}.csv"], [root]):
            done = write_config([str(path) for path in paths], str(tmp_path / "made.yaml"), overwrite=True)
            config = load_config(done.config)
            assert (config.dataset.range, config.dataset.frames) == (grey_range, frames), (kind, paths)
            text = (tmp_path / "made.yaml").read_text()
            assert "Planted" not in text and ("all instead of middle makes an image of each" in text) == (
                frames == "middle"
            )
            assert ("12 of 12 DICOMs looked into are CT without a window" in text) == (grey_range == "percentile")
            assert describe_dataset(config).unreadable == {}
