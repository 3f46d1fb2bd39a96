"""From listed images to an experiment, in this process: the variants that it has are those of its own seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from swag_ray.cluster.extraction import ShardExtractor, WorkItems
from swag_ray.config import Config, parse_config
from swag_ray.experiment.prepare import Prepared, feature_reader, planned_variants, prepare
from swag_ray.experiment.source import check_source, split_table
from swag_ray.features.extract import decode, embed
from swag_ray.features.recipe import Recipe
from swag_ray.features.spec import FeatureSpec
from swag_ray.progress import Progress
from swag_ray.store.store import Store
from tests.support.images import small_set, write
from tests.support.made_up_experiment import InProcessWorkers

pytestmark = pytest.mark.usefixtures("one_thread")
STRIDES = (8, 16)


class Extracting(InProcessWorkers):
    """Also extracts in this process."""

    def extract(
        self, store: Store, spec: FeatureSpec, images: Any, missing: Sequence[Recipe], size: int
    ) -> Iterator[tuple[int, int, float]]:
        (item,) = WorkItems(missing, len(missing))
        done = ShardExtractor(store.root, spec)({name: [value] for name, value in item.items()})
        assert not done["problem"][0], done["problem"][0]
        yield 0, int(done["count"][0]), 0.0


def settings(root: Path, *overrides: str) -> Config:
    raw = {
        "name": "prepared", "dataset": {"root": str(root / "images"), "anomaly": "PNEUMONIA"},
        "split": {"seed_fraction": 0.5, "folds": 2}, "store": str(root / "store"), "score": {"neighbours": 1},
        "backbone": {"image_size": 32, "strides": list(STRIDES), "grid": 4},
    }  # fmt: skip
    return parse_config(raw, overrides)


def prepared(config: Config) -> Prepared:
    return prepare(check_source(config, Progress()), Extracting(), Progress())


@pytest.mark.parametrize("kinds", ["[opacities]", "[foreign_patch, opacities]"])
@pytest.mark.parametrize("torn", [(), (0,), (2,), (5,), (1, 7)])
def test_every_variant_has_the_features_of_its_own_host(tmp_path: Path, kinds: str, torn: tuple[int, ...]) -> None:
    """Also where an image cannot be read, which nobody knows before it is decoded: the others are planned anew."""
    train = small_set(tmp_path / "images", normals=20, anomalies=6) / "train" / "NORMAL"
    config = settings(tmp_path, f"auxiliary.kind={kinds}", "auxiliary.per_seed=2")
    listing = check_source(config, Progress()).listing
    split = split_table(config, listing.table)
    seeds = [path for path, role in zip(listing.table["path"].to_pylist(), split.role_N, strict=True) if role == 0]
    for number in torn:
        path = tmp_path / "images" / seeds[number % len(seeds)]
        path.write_bytes(path.read_bytes()[:-9])
    assert train.is_dir()

    found = prepared(config)
    cohort, variants = found.experiment.cohort, found.experiment.cohort.variants
    assert variants is not None and len(found.facts.skipped) == len(torn)
    of_a_seed = 2 * (1 + kinds.count(","))
    assert sorted(variants.host_V.tolist()) == sorted(cohort.seeds.tolist() * of_a_seed)
    backbone = ShardExtractor(found.experiment.store.root, found.spec).backbone
    reader = feature_reader(found)
    patches, ids = reader.patches(variants.rows_V, STRIDES), cohort.id_N.take(pa.array(variants.host_V)).to_pylist()
    plan = planned_variants(config, found.root, *_kept(config, found))
    assert variants.kind_V.tolist() == [recipe.kind for recipe in plan.recipes]
    for i, recipe in enumerate(plan.recipes):
        data = tuple(Path(path).read_bytes() for path in (recipe.path, recipe.donor) if path)
        (row,) = embed(backbone, [decode(partial(recipe.decode, data, 32, found.spec.reading))])
        assert all(np.array_equal(row["features"][s], patches[s][i]) for s in STRIDES), recipe
        assert ids[i].startswith(Path(recipe.path).stem)


def _kept(config: Config, found: Prepared) -> tuple[pa.Table, Any]:
    """The readable images, and their split."""
    table = check_source(config, Progress()).listing.table
    bad = {line.split(": ")[0] for line in found.facts.skipped}
    kept = table.filter(pa.array([not any(line.endswith(path) for line in bad) for path in table["path"].to_pylist()]))
    return kept, split_table(config, kept)


@pytest.mark.parametrize("kind", ["folder", "unlabelled", "manifest"])
def test_with_more_images_in_the_pool_only_those_are_extracted(tmp_path: Path, kind: str) -> None:
    train = small_set(tmp_path / "images", normals=20, anomalies=6) / "train"
    places: dict[str, list[str]] = {
        "folder": [],
        "unlabelled": [f"seed_root={train / 'NORMAL'}", f"pool_root={train / 'PNEUMONIA'}"],
        "manifest": [f"manifest={tmp_path / 'films.csv'}"],
    }
    raw = settings(tmp_path).model_dump(mode="json", exclude_unset=True)
    if kind != "folder":
        raw["dataset"] = {"kind": kind} | dict(text.split("=") for text in places[kind])
        raw["split"] = {"folds": 2}
    config = parse_config(raw)

    def extracted() -> tuple[int, int]:
        """Images and variants that had to be, and how large the pool is."""
        lines = [f"{path},{'seed' if path.parent.name == 'NORMAL' else 'pool'}" for path in sorted(train.glob("*/*"))]
        (tmp_path / "films.csv").write_text("\n".join(["path,role", *lines]) + "\n")
        found = prepared(config)
        return found.features.extracted, len(found.experiment.cohort.pool)

    first, pool = extracted()
    assert first > 26 and extracted() == (0, pool)
    for number in range(3):
        write(train / "PNEUMONIA" / f"late{number}.png", 900 + number)
    assert extracted() == (3, pool + 3), "and no variant of the seeds, who are the same"


@pytest.mark.parametrize("override", ["auxiliary.kind=[]", "method=published"])
def test_nobody_asks_for_variants_that_nobody_reads(tmp_path: Path, override: str) -> None:
    small_set(tmp_path / "images", normals=20, anomalies=6)
    found = prepared(settings(tmp_path, override))
    assert found.experiment.cohort.variants is None and found.features.extracted == 2 * 26
    with_them = prepared(settings(tmp_path))
    assert with_them.features.extracted == 2 * len(with_them.experiment.cohort.seeds), "the images are there"
    assert with_them.experiment.cohort.key == found.experiment.cohort.key
