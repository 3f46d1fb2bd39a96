"""Scale on paper: the page is what the script makes of the record, and the model does what one reckons by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.scaling import model as m
from tests.benchmarks.scaling import prices
from tests.benchmarks.scaling.model import Bench, Costs, Line
from tests.benchmarks.scaling.page import page
from tests.cluster_files.files import CLUSTERS, ROOT

# Round figures: 10 images/s a core; scoring 1 ms by the bank, 2 ms by the head; fits 5 s and 10 s.
COSTS = Costs(
    extract=0.1, listing=Line(0, 1e-4), prepare=Line(0, 1e-4), driver=Line(0, 3e-6), bank=Line(0, 1e-3),
    head=Line(0, 2e-3), fit_bank=5.0, fit_head=10.0, read=0.0, listing_memory=Line(0, 1e-3),
    driver_memory=Line(100, 2e-3), actor_memory=500.0, stored=60_000.0, coreset=(1e-9, 2.0), search=Line(1e-6, 1e-9),
)  # fmt: skip


@pytest.fixture
def record() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(__file__).with_name("bench.json").read_text(encoding="utf-8"))
    return found


def test_the_page_is_what_the_script_writes(record: dict[str, Any]) -> None:
    text = (CLUSTERS / "SCALING.md").read_text(encoding="utf-8")
    assert text == page(Bench(record)), "run `python -m tests.benchmarks.scaling`"
    assert len(text.splitlines()) <= 155 and "nan" not in text


def test_missing_rows_are_all_named(record: dict[str, Any]) -> None:
    gone = {("pool size", "listing, 20,000 small files"), ("extraction", "pipeline, start-up apart")}
    rows = [row for row in record["rows"] if (row["family"], row["name"]) not in gone]
    with pytest.raises(m.MissingRows, match=r"python -m tests\.benchmarks") as refusal:
        page(Bench(record | {"rows": rows}))
    assert all(f"{family}: {name}" in str(refusal.value) for family, name in gone)


def test_the_models_constants_are_the_projects() -> None:
    from swag_ray.config import load_config
    from swag_ray.features.index import LARGE_SHARD

    config = load_config(ROOT / "configs" / "pneumonia.yaml")
    assert (config.split.folds, config.backbone.grid**2, config.rounds) == (m.FOLDS, m.PATCHES, prices.ROUNDS)
    assert set(config.backbone.strides) == set(m.CHANNELS) and config.head.grid**2 == 16
    assert sum(m.CHANNELS[stride] for stride in config.memory.strides) == m.BANK_CHANNELS
    assert (config.memory.coreset_ratio, config.split.seed_fraction) == (m.CORESET_RATIO, m.SEED_FRACTION)
    assert (config.outliers.maximum, LARGE_SHARD) == (m.MOST_REJECTS, m.SHARD_IMAGES)


def test_a_line_goes_through_its_points() -> None:
    line = Line.through(10, 5.0, 30, 9.0)
    assert (line.base, line.slope, line.at(100)) == (3.0, 0.2, 23.0)


def test_a_loop_by_hand() -> None:
    """1,000 images: 1 s by the bank, 2 s by each of two heads."""
    part = m.loop_parts(COSTS, 1_000, cores=1, rounds=1)
    assert part == pytest.approx({"fits": 5 + 2 * 10, "actors": 5.0, "driver": 3e-3})
    assert m.loop_parts(COSTS, 1_000, cores=2, rounds=1)["fits"] == pytest.approx(25 * 3 / 5)  # 5 folds: 2, 2, 1
    assert m.loop_parts(COSTS, 1_000, cores=64, rounds=1)["fits"] == pytest.approx(25 / 5)
    assert m.loop_seconds(COSTS, 1_000, 4, 1) == pytest.approx(25 * 2 / 5 + 5 / 4)


def test_a_fit_reads_whole_shards() -> None:
    """3,520 images are learnt from: all of a small pool's shards hold one, and of very many shards each another."""
    assert m.fit_reads(51_200) == pytest.approx(51_200)
    assert m.fit_reads(1e12) == pytest.approx(3_520 * 512, rel=1e-3)


def test_what_the_cache_holds_is_read_once() -> None:
    slow = replace(COSTS, read=1e-3)
    small, large = (m.loop_parts(slow, n, cores=1, rounds=1) for n in (1_000, 2 * m.CACHED))
    assert small["fits"] == pytest.approx(25 + 1) and small["actors"] == pytest.approx(5.0)
    assert large["actors"] == pytest.approx(2 * m.CACHED * (1 + 2 * (2 + 0.5)) / 1e3), "every second image again"
    again = 5 * m.fit_reads(2 * m.CACHED) * 0.5e-3
    assert large["fits"] == pytest.approx(5 + 2 * (10 + again) + m.CACHED * 1e-3)


def test_a_slow_driver_holds_up_any_number_of_cores() -> None:
    slow = replace(COSTS, driver=Line(0, 3e-3))
    fits = m.loop_parts(slow, 1e6, 10_000, 1)["fits"]
    assert m.loop_seconds(slow, 1e6, 10_000, 1) == pytest.approx(fits + 3_000)
    assert m.loop_seconds(slow, 1_000, 2, 1, shared=True) == pytest.approx(15 + max(2.5 + 3 / 2, 3))


def test_memory_and_bytes_by_hand() -> None:
    million = m.driver_megabytes(COSTS, 1e6, rounds=2)
    assert million["listing"] == 100 + 1_000
    assert million["loop"] == pytest.approx(100 + 2_000 + 48e6 / 2**20)
    assert million["tables"] == pytest.approx(million["loop"] + 3 * 80e6 / 2**20)
    assert m.images_for(million["loop"], COSTS, 2, "loop") == pytest.approx(1e6)
    read = m.read_bytes(10, rounds=1)  # ten images are one shard, which each of five folds reads twice
    assert read == {"scoring": 10 * 128 * (152 + 2 * 472), "fits": 2 * 5 * 10 * 128 * 472}
    assert m.gets(10, rounds=1) == pytest.approx(m.GETS_A_SHARD * (3 + 2 * 5 * 10 / 512))
    assert m.shards(513) == 2


def test_seeds_by_hand() -> None:
    s = m.seeded(COSTS, 1_000)
    assert (s.patches, s.rows, s.coreset) == pytest.approx((51_200, 5_120, 1e-9 * 51_200**2))
    assert s.score == pytest.approx(64 * (1e-6 + 5_120e-9))
    assert s.head_megabytes == pytest.approx(4_800 * 7_552 * 4 / 2**20)
    more = s.head_megabytes - m.seeded(COSTS, m.SEEDS).head_megabytes
    assert m.seeds_for(more) == pytest.approx(1_000)


def test_a_cold_run_by_hand() -> None:
    """A million images at 10 a second on 16 cores; hashing 1 GB takes 8 s, listing 100 s."""
    found = {x.name: x for x in prices.phases(COSTS, 1e6, nodes=1, rounds=1, image_bytes=1_000)}
    assert (found["listing and hashing"].seconds, found["listing and hashing"].bound) == (100, "driver")
    assert found["extraction"].seconds == pytest.approx(1e6 / 160)
    index = math.ceil(1e6 / 512) * m.GETS_A_SHARD * prices.S3_LATENCY
    assert found["index of the shards"].seconds == pytest.approx(index) and found["split, cohort"].seconds == 100
    assert prices.money(3_600, 2) == pytest.approx(2 * prices.WORKER.hour + prices.DRIVER.hour)
    gpu = prices.Instance("gpu", 2 * prices.WORKER.hour, 4, 16, 10)
    assert prices.break_even(COSTS, gpu) == pytest.approx(2 * 160)


def test_trials_wait_for_memory_and_limits_come_in_order() -> None:
    found = prices.together(COSTS, 1e6, 1, prices.WORKER, 1, 0.5)
    assert found is not None and found.at_a_time == 32 * 1024 // (100 + 2_000 + 500)
    half, whole = (prices.together(COSTS, 1e6, 1, prices.WORKER, 1, share) for share in (0.5, 1.0))
    assert half and whole and half.seconds == pytest.approx(whole.seconds / 2)
    assert prices.together(COSTS, 1e9, 1, prices.WORKER, 1, 1.0) is None
    limits = prices.limits(COSTS, 5)
    assert [x.images for x in limits] == sorted(x.images for x in limits) and any(x.design for x in limits)
