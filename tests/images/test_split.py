from __future__ import annotations

import subprocess
import sys
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swag_ray.errors import InputError
from swag_ray.images.folders import list_folder
from swag_ray.images.split import (
    POOL,
    SEED,
    TEST,
    UNUSED,
    Split,
    flagging_warnings,
    make_split,
    seeds_needed,
    smallest_rate,
    unreachable,
)
from tests.support.images import PATIENT, real_set

Row = tuple[str, str, bool | None, str]  # id, split, label, group


def table(rows: list[Row]) -> pa.Table:
    rows = sorted(rows)
    return pa.table(
        {name: [row[place] for row in rows] for place, name in enumerate(("id", "split", "label", "group"))}
    )


def people(normals: int = 200, anomalies: int = 100, tests: int = 40, size: int = 2) -> list[Row]:
    """Patients of `size` images; every tenth patient with anomalies has normals too."""
    rows: list[Row] = [(f"n{i:04d}", "train", False, f"p{i // size}") for i in range(normals)]
    rows += [(f"a{i:04d}", "train", True, f"p{i}" if i % 10 == 0 else f"q{i // size}") for i in range(anomalies)]
    return rows + [(f"t{i:04d}", "test", i % 2 == 0, f"p{i}") for i in range(tests)]


def split(rows: list[Row], **options: object) -> dict[str, tuple[int, int]]:
    """id -> (role, fold); test rows may repeat a train id and are left out."""
    result = make(rows, **options)
    marked = zip(sorted(rows), result.role_N.tolist(), result.fold_N.tolist(), strict=True)
    return {row[0]: (role, fold) for row, role, fold in marked if row[1] == "train"}


def make(rows: list[Row], **options: object) -> Split:
    chosen = {"seed_fraction": 0.3, "folds": 5, "contamination": None, "random_seed": 0} | options
    return make_split(table(rows), **chosen)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(1, 7),
    fraction=st.floats(0.2, 0.8),
    folds=st.integers(2, 6),
    random_seed=st.integers(0, 2**40),
    contamination=st.sampled_from([None, 0.0, 0.1, 0.25]),
)
def test_rules(size: int, fraction: float, folds: int, random_seed: int, contamination: float | None) -> None:
    rows = people(size=size)
    result = make(rows, seed_fraction=fraction, folds=folds, random_seed=random_seed, contamination=contamination)
    roles, deals = defaultdict(set), defaultdict(set)
    for (_, where, label, group), role, fold in zip(sorted(rows), result.role_N, result.fold_N, strict=True):
        assert (role == TEST) == (where == "test")
        assert (fold == -1) == (role in (TEST, UNUSED))
        assert role != SEED or label is False
        assert role != UNUSED or label is True
        if where == "train" and label is False:
            roles[group].add(role)
        if role in (SEED, POOL):
            deals[group].add(fold)
            assert 0 <= fold < folds
    assert all(len(found) == 1 for found in roles.values())
    assert all(len(found) == 1 for found in deals.values())
    assert abs((result.role_N == SEED).sum() - fraction * 200) <= size / 2 + 1
    seeds = np.bincount(result.fold_N[result.role_N == SEED], minlength=folds)
    assert tuple(seeds) == result.fold_seeds
    assert seeds.max() - seeds.min() <= size
    counts = result.counts
    assert counts["seed"] + counts["pool"] + counts["unused"] + counts["test"] == len(rows)
    if contamination is not None:
        assert result.contamination == pytest.approx(contamination, abs=0.01)


def test_same_seed_same_split_other_seed_other_split() -> None:
    assert split(people()) == split(people())
    assert split(people()) != split(people(), random_seed=1)


def test_another_process_gives_the_same_split() -> None:
    # Python's own hash of a string differs from process to process.
    code = "from tests.images.test_split import *; print(sorted(split(people()).items()))"
    outputs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert outputs == {str(sorted(split(people()).items())) + "\n"}


def test_test_rows_do_not_matter() -> None:
    train = [row for row in people() if row[1] == "train"]
    copies: list[Row] = [(row[0], "test", not row[2], "p1") for row in train[:50]]
    unlabelled: list[Row] = [("x", "test", None, "p0")]
    assert split(train) == split(people()) == split(train + copies + unlabelled)


def test_contamination_is_nested_and_apart_from_other_settings() -> None:
    def kept(**options: object) -> set[str]:
        return {name for name, (role, _) in split(people(), **options).items() if role == POOL and name[0] == "a"}

    assert kept(contamination=0.0) == set()
    assert kept(contamination=0.05) < kept(contamination=0.1) < kept(contamination=0.3) < kept()
    few, many = kept(contamination=0.1, seed_fraction=0.6), kept(contamination=0.1)
    assert few < many
    assert kept(contamination=0.1, folds=3) == many
    assert kept(contamination=0.1, random_seed=5) != many


def test_contamination_moves_nobody_else() -> None:
    whole = split(people())
    for name, place in split(people(), contamination=0.1).items():
        assert place in (whole[name], (UNUSED, -1))


def test_new_pool_images_move_nobody() -> None:
    before = split(people())
    after = split(people() + [(f"z{i}", "train", True, f"new{i}") for i in range(50)])
    assert {name: after[name] for name in before} == before


def test_highest_share_is_named_and_accepted() -> None:
    with pytest.raises(
        InputError, match=r"^dataset\.contamination: 0\.9 .*highest possible share, 0\.416 \(100 [^\n]*$"
    ):
        make(people(), contamination=0.9)
    assert make(people(), contamination=0.416).counts["pool_anomalies"] == 100
    assert make(people()).highest_contamination == pytest.approx(100 / 240)


def test_refusals_name_the_field() -> None:
    for options, match in (
        ({"seed_fraction": 0.999}, r"^split\.seed_fraction: .*leaves the pool no normal"),
        ({"seed_fraction": 0.0}, r"^split\.seed_fraction: "),
        ({"seed_fraction": 0.05, "folds": 5}, r"^split\.folds: .*under 3"),
        ({"folds": 1}, r"^split\.folds: "),
        ({"contamination": 1.0}, r"^dataset\.contamination: "),
    ):
        with pytest.raises(InputError, match=match):
            make(people(), **options)
    with pytest.raises(InputError, match=r"^split\.folds: .*in 4 groups"):
        make(people(normals=120, size=10), seed_fraction=0.35)
    with pytest.raises(ValueError, match="no label"):
        make([("u", "train", None, "u"), *people()])


@pytest.mark.parametrize("fraction", [0.3, 0.6])
def test_a_group_too_large_is_named_and_not_the_fraction(fraction: float) -> None:
    """Where all normals are one group, no other fraction would do."""
    others: list[Row] = [(f"a{i}", "train", True, f"q{i}") for i in range(20)]
    one: list[Row] = [(f"n{i:02d}", "train", False, "cat") for i in range(60)]
    wanted = r"^split\.group: the group 'cat' \(images of one patient\) holds 60 of 60 .*; set split\.group to"
    with pytest.raises(InputError, match=wanted):
        make([*one, *others], seed_fraction=fraction)
    copies: list[Row] = [(f"n{i:02d}", "train", False, "bytes:12ab") for i in range(60)]
    wanted = r"^split\.group: the group 'bytes:12ab' \(copies of one image\) holds 60 of 65 .*; remove the copies$"
    with pytest.raises(InputError, match=wanted):
        make([*copies, *[(f"m{i}", "train", False, f"m{i}") for i in range(5)], *others], seed_fraction=fraction)


def test_few_seeds_a_fold_are_a_warning() -> None:
    assert make(people()).fold_seeds == (12, 12, 12, 12, 12)
    assert len(make(people()).warnings) == 1
    assert make(people(normals=400)).warnings == ()


def test_a_large_patient_does_not_stop_the_draw() -> None:
    rows = people(normals=100, size=1) + [(f"big{i}", "train", False, "big") for i in range(90)]
    for random_seed in range(10):
        # The patient of 90 is taken only where that comes nearer to 57 than passing them over.
        assert abs(make(rows, random_seed=random_seed).counts["seed"] - 57) <= 45


def test_no_anomalies_at_all() -> None:
    result = make([row for row in people() if not row[2]])
    assert result.contamination == result.highest_contamination == 0.0
    assert result.counts["pool_anomalies"] == 0


@pytest.mark.data
def test_real_chest_xray_by_patient() -> None:
    listing = list_folder(real_set("chest_xray"), normal="NORMAL", anomaly=["PNEUMONIA"], group=PATIENT)
    result = make_split(listing.table, seed_fraction=0.3, folds=5, contamination=0.1, random_seed=0)
    assert result.counts["seed"] == 402
    assert result.counts["pool_normals"] == 939
    assert max(result.fold_seeds) - min(result.fold_seeds) <= 1
    groups = np.array(listing.table["group"].to_pylist())
    normals = np.array(listing.table["label"].to_pylist()) == 0
    seed, pool = (set(groups[(result.role_N == role) & normals]) for role in (SEED, POOL))
    assert not seed & pool


@given(st.integers(1, 5000), st.floats(1e-4, 0.5))
def test_the_rate_and_the_seeds_that_are_advised_are_enough(seeds: int, rate: float) -> None:
    """Both compared as p-values are: 1 / (n + 1) <= rate, to the last bit."""
    assert 1 / (seeds + 1) <= smallest_rate(seeds) <= 1.1 / (seeds + 1)
    needed = seeds_needed(rate)
    assert 1 / (needed + 1) <= rate and (needed == 1 or 1 / needed > rate)
    assert bool(flagging_warnings({"seed": seeds, "pool_normals": 40}, rate)) == (seeds < needed)


def test_seeds_that_can_flag_nothing_are_told_with_both_cures() -> None:
    (said,) = flagging_warnings({"seed": 18, "pool_normals": 42}, 0.05)
    assert said == (
        "calibration.false_positive_rate: with 18 seeds no p-value is below 1/19 = 0.0526, so at 0.05 no image can be "
        "flagged, whatever it shows: recall and false positives are 0 in every row; set it to 0.053 or more, or bring "
        "the seeds to 19 (split.seed_fraction: about 0.32)"
    )
    assert not flagging_warnings({"seed": 19, "pool_normals": 41}, 0.05)
    (said,) = unreachable(
        {"seed": 18, "pool_normals": 2}, "calibration.false_positive_rate", 0.02, "no image is flagged"
    )
    assert said.endswith("set it to 0.053 or more, or bring the seeds to 49 (there are 20 train normals in all)")
