"""How many steps and snapshots a fit has: enough for a Gaussian, in batches no larger than asked, or refused."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swag_ray.core.schedule import AdapterSettings, Schedule, schedule
from swag_ray.errors import InputError

patch_counts = st.integers(1, 200_000)
epoch_counts = st.integers(1, 30)
batch_sizes = st.integers(1, 4096)


def test_the_defaults_are_the_method_s() -> None:
    a = AdapterSettings()
    assert (a.warmup_epochs, a.warmup_learning_rate, a.round_epochs, a.learning_rate) == (3, 1e-4, 2, 3e-5)
    assert (a.prototypes, a.batch_size, a.max_columns, a.collect_every, a.collapse_below) == (128, 1024, 20, None, 0.5)


def test_schedule_counts_set_and_unset() -> None:
    for n in (1, 5, 19):
        settings = AdapterSettings(round_epochs=1)
        if n < 2:
            with pytest.raises(InputError, match=r"swag\.collect_every"):
                schedule(n, settings)
        else:
            assert schedule(n, settings).snapshots == n
    for n, epochs in ((64, 1), (1000, 3), (20_000, 2), (100_000, 5)):
        plan = schedule(n, AdapterSettings(round_epochs=epochs))
        assert plan.steps_per_epoch * epochs >= 20 and plan.snapshots >= 20
        assert plan.collect_every == plan.steps_per_epoch * epochs // 20
    kept = schedule(10_000, AdapterSettings(round_epochs=2, collect_every=7, batch_size=1024))
    assert (kept.steps_per_epoch, kept.collect_every, kept.snapshots) == (10, 7, 2)


@pytest.mark.parametrize(
    ("steps", "every", "snapshots"), [(2, 1, 2), (19, 1, 19), (20, 1, 20), (39, 1, 39), (40, 2, 20), (41, 2, 20)]
)
def test_snapshots_at_the_turning_points(steps: int, every: int, snapshots: int) -> None:
    """Batches of one patch in one epoch: as many steps as patches."""
    assert schedule(steps, AdapterSettings(round_epochs=1, batch_size=1)) == Schedule(steps, every, snapshots)


@given(patch_counts, epoch_counts, batch_sizes)
def test_unset_batches_shrink_for_20_steps_and_no_further(patches: int, epochs: int, batch_size: int) -> None:
    settings = AdapterSettings(round_epochs=epochs, batch_size=batch_size)
    if patches * epochs < 2:
        with pytest.raises(InputError):
            schedule(patches, settings)
        return
    plan = schedule(patches, settings)
    steps, asked = plan.steps_per_epoch * epochs, math.ceil(patches / batch_size)
    assert asked <= plan.steps_per_epoch <= patches, "no batch above its size, none empty"
    assert steps >= min(20, patches * epochs)
    assert plan.steps_per_epoch == asked or (plan.steps_per_epoch - 1) * epochs < 20, "no more steps than it takes"
    assert min(20, steps) <= plan.snapshots < 40
    assert plan.snapshots * plan.collect_every <= steps < (plan.snapshots + 1) * plan.collect_every


@given(patch_counts, epoch_counts, batch_sizes, st.integers(1, 500))
def test_a_set_value_leaves_the_batches_alone(patches: int, epochs: int, batch_size: int, every: int) -> None:
    """Where it is too large, the line names the largest that is not."""
    settings = AdapterSettings(round_epochs=epochs, batch_size=batch_size, collect_every=every)
    steps = math.ceil(patches / batch_size) * epochs
    if steps // every >= 2:
        assert schedule(patches, settings) == Schedule(steps // epochs, every, steps // every)
        return
    with pytest.raises(InputError, match=r"^swag\.collect_every: ") as caught:
        schedule(patches, settings)
    if steps == 1:
        assert str(caught.value).endswith("a fit of 1 step gives no 2 snapshots; raise adapter.round_epochs")
        return
    advised = re.search(r"set it to (\d+) or less, or to null$", str(caught.value))
    assert advised is not None, str(caught.value)
    largest = int(advised[1])
    assert schedule(patches, dataclasses.replace(settings, collect_every=largest)).snapshots >= 2
    assert schedule(patches, dataclasses.replace(settings, collect_every=None)).snapshots >= 2
    with pytest.raises(InputError):
        schedule(patches, dataclasses.replace(settings, collect_every=largest + 1))


def test_one_step_becomes_enough_with_more_epochs() -> None:
    with pytest.raises(InputError, match=r"raise adapter\.round_epochs$"):
        schedule(1, AdapterSettings(round_epochs=1))
    assert schedule(1, AdapterSettings(round_epochs=2)) == Schedule(1, 1, 2)


@pytest.mark.parametrize(
    ("patches", "wrong"),
    [
        (0, {}),
        (-1, {}),
        (9, {"round_epochs": 0}),
        (9, {"batch_size": 0}),
        (9, {"collect_every": -1}),
        (9, {"collect_every": 0}),
    ],
)
def test_counts_below_one_are_a_mistake_of_the_caller(patches: int, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"patches, round_epochs, batch_size and collect_every are \(.*at least 1$"):
        schedule(patches, AdapterSettings(**wrong))
