"""Which auxiliary anomalies are made of the seeds, what names them, and that no pixel crosses a fold."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from swag_ray.core.auxiliary import KINDS, variant
from swag_ray.core.seeding import numpy_generator
from swag_ray.features.cohort import build_cohort, with_variants
from swag_ray.features.reader import Rows
from swag_ray.features.recipe import Recipe
from swag_ray.features.variants import VariantPlan, plan_variants
from swag_ray.images.decode import AS_STORED, read_grey
from swag_ray.images.image_error import ImageError
from swag_ray.images.split import POOL, SEED, TEST, Split
from tests.features.inputs import image

FOLDS = np.random.default_rng(0).integers(0, 3, 40).astype(np.int8)
SEEDS = [(f"/images/{i}.png", f"sha{i * 7 % 40:02d}") for i in range(40)]
FOREIGN = [name for name, kind in KINDS.items() if kind.foreign]
OWN = [name for name, kind in KINDS.items() if not kind.foreign]


def plan(kinds: list[str], *, per_seed: int = 2, random_seed: int = 0) -> VariantPlan:
    return plan_variants(SEEDS, FOLDS, kinds, per_seed=per_seed, random_seed=random_seed)


def test_every_seed_has_its_variants_of_every_kind() -> None:
    made = plan(["foreign_patch", "opacities"], per_seed=3)
    assert len(made.recipes) == len(made.host_V) == len(made.donor_V) == 2 * 3 * 40
    counted = Counter((recipe.kind, host) for recipe, host in zip(made.recipes, made.host_V.tolist(), strict=True))
    assert len(counted) == 80 and set(counted.values()) == {3}
    assert len({recipe.key for recipe in made.recipes}) == len(made.recipes), "no two are the same"
    for recipe, host, donor in zip(made.recipes, made.host_V, made.donor_V, strict=True):
        assert (recipe.path, recipe.sha256) == SEEDS[host]
        lends = SEEDS[donor] if recipe.kind in FOREIGN else ("", "")
        assert (recipe.donor, recipe.donor_sha256) == lends


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_donor_is_of_its_hosts_fold_and_lends_once_a_draw(kind: str) -> None:
    """Fold k's head learns from variants of the other folds: were a donor of fold k, it would have seen fold k."""
    made = plan([kind])
    assert (FOLDS[made.host_V] == FOLDS[made.donor_V]).all() and (made.host_V != made.donor_V).all()
    for draw in (0, 1):
        of_draw = np.array([recipe.draw == draw for recipe in made.recipes])
        assert sorted(made.donor_V[of_draw]) == sorted(made.host_V[of_draw]) == list(range(40))
    first, second = made.donor_V.reshape(2, 40)
    assert (first != second).any(), "drawn anew"


@pytest.mark.parametrize("kind", OWN)
def test_own_kinds_know_no_split(kind: str) -> None:
    """Whatever the folds and the random seed, the features are the same: other splits of a sweep share them."""
    made = plan([kind])
    elsewhere = plan_variants(SEEDS, (FOLDS + 1) % 2, [kind], per_seed=2, random_seed=5)
    assert made.recipes == elsewhere.recipes and (made.host_V == made.donor_V).all()


def test_donors_follow_the_content_and_the_seed_not_the_order_of_the_table() -> None:
    order = np.random.default_rng(1).permutation(40)
    mixed = plan_variants([SEEDS[i] for i in order], FOLDS[order], ["foreign_patch"], per_seed=2, random_seed=0)
    assert {r.key for r in mixed.recipes} == {r.key for r in plan(["foreign_patch"]).recipes}
    other = plan(["foreign_patch"], random_seed=1)
    assert {r.key for r in other.recipes} != {r.key for r in plan(["foreign_patch"]).recipes}
    with_more = plan(["foreign_patch", "foreign_gradients", "opacities"])
    assert with_more.recipes[:80] == plan(["foreign_patch"]).recipes, "another kind moves no donor"


def test_a_key_is_what_the_pixels_depend_on() -> None:
    plain = Recipe("/a/host.png", "host", "foreign_patch", "/a/donor.png", "donor", 1)
    moved = dataclasses.replace(plain, path="/b/host.png", donor="/b/donor.png")
    assert moved.key == plain.key
    others = [
        dataclasses.replace(plain, **{field: value})  # type: ignore[arg-type]
        for field, value in (
            ("sha256", "other"), ("kind", "foreign_gradients"), ("donor_sha256", "other"), ("draw", 2),
        )
    ]  # fmt: skip
    assert len({plain.key, "host", *(other.key for other in others)}) == 6
    assert Recipe("/a/host.png", "host").key == "host", "a file is named by its bytes alone"


def test_a_recipe_makes_its_variant_of_the_decoded_squares() -> None:
    files = (image(1), image(2))
    asked: list[tuple[str, str]] = []

    def read(path: str, sha256: str) -> bytes:
        asked.append((path, sha256))
        return files[("host", "donor").index(path)]

    recipe = Recipe("host", "1", "foreign_patch", "donor", "2")
    assert recipe.files(read) == files and asked == [("host", "1"), ("donor", "2")]
    host, donor = (read_grey(file, 64, AS_STORED) for file in files)
    greys = [np.asarray(grey.image_1HW[0]) for grey in (host, donor)]
    decoded = recipe.decode(files, 64, AS_STORED)
    expected = variant("foreign_patch", *greys, numpy_generator(recipe.key))
    assert np.array_equal(decoded.image_1HW[0], expected) and not np.array_equal(expected, greys[0])
    assert (decoded.width, decoded.height, decoded.top) == (host.width, host.height, host.top)
    plain = Recipe("host", "1")
    assert plain.files(read) == files[:1] and np.array_equal(
        plain.decode(files[:1], 64, AS_STORED).image_1HW, host.image_1HW
    )
    for broken in ((b"no image", files[1]), (files[0], b"no image")):
        with pytest.raises(ImageError):
            recipe.decode(broken, 64, AS_STORED)


def test_the_cohort_says_whose_variants_they_are() -> None:
    """Hosts are train rows: images of the test set do not count. What has no features is left out."""
    table = pa.table({"id": list("abcdef"), "sha256": list("ABCDEF"), "group": list("ABCDEF")})
    role_N, fold_N = np.array([POOL, SEED, TEST, SEED, POOL, SEED], np.int8), np.array([0, 0, -1, 1, 1, 1], np.int8)
    split = Split(role_N, fold_N, (), {}, (1, 2), 0.0, 0.0)
    rows = Rows(np.zeros(6, np.int32), np.arange(6, dtype=np.int32))
    cohort = build_cohort(table, split, rows, 2, "f")
    made = plan_variants(
        [("b", "B"), ("d", "D"), ("f", "F")], np.array([0, 1, 1]), ["own_patch"], per_seed=1, random_seed=0
    )
    where = Rows(np.array([1, 1, 1], np.int32), np.array([5, 6, 7], np.int32))
    variants = with_variants(cohort, made, where).variants
    assert variants is not None
    assert cohort.id_N.take(pa.array(variants.host_V)).to_pylist() == ["b", "d", "f"]
    assert variants.rows_V.row_N.tolist() == [5, 6, 7] and set(variants.kind_V) == {"own_patch"}
    lost = Rows(np.array([1, -1, 1], np.int32), np.array([5, 6, 7], np.int32))
    fewer = with_variants(cohort, made, lost).variants
    assert fewer is not None and fewer.key != variants.key
    assert fewer.rows_V.row_N.tolist() == [5, 7] and fewer.host_V.tolist() == variants.host_V[[0, 2]].tolist()
