"""The model behind SCALING.md: unit costs read from a record of `python -m tests.benchmarks`, and what follows.

A unit cost comes from the pools of 5,000 and 20,000 images alone, so that the pool of 100,000 can check the model.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SMALL, MEDIUM, LARGE = 5_000, 20_000, 100_000  # pools of the family `pool size`; the last one checks
MEASURED_ROUNDS, SEEDS = 1, 400  # of those loops

# Of the code and its defaults (configs/pneumonia.yaml); tests/benchmarks/scaling/test_page.py holds them to it.
FOLDS, PATCHES, SHARD_IMAGES = 5, 64, 512
CHANNELS = {8: 40, 16: 112, 32: 320}  # tf_efficientnet_lite0
BANK_CHANNELS = CHANNELS[8] + CHANNELS[16]  # memory.strides
FEATURE_BYTES = 2 * PATCHES * sum(CHANNELS.values())  # an image, float16
HEAD_NUMBERS = 16 * sum(CHANNELS.values())  # pooled to 4 x 4
CACHED = 512 * 2**20 // (4 * HEAD_NUMBERS)  # images whose pooled features an actor keeps
CORESET_RATIO, SEED_FRACTION, MOST_REJECTS = 0.1, 0.3, 4_000
ROUND_BYTES = 48  # an image and further round, kept by the driver: s, u; eight flags, streak, u, z_u
TABLE_BYTES = 80  # an image and row of rounds.parquet: id, five float64, flags, while the table is made
GETS_A_SHARD = 3  # footer and columns; not measured


class MissingRows(ValueError):
    """bench.json lacks rows that the model reads."""


@dataclass(frozen=True)
class Line:
    """base + slope n."""

    base: float
    slope: float

    @classmethod
    def through(cls, n1: float, v1: float, n2: float, v2: float) -> Line:
        slope = (v2 - v1) / (n2 - n1)
        return cls(v1 - slope * n1, slope)

    def mean(self, other: Line) -> Line:
        return Line((self.base + other.base) / 2, (self.slope + other.slope) / 2)

    def at(self, n: float) -> float:
        return self.base + self.slope * n


class Bench:
    """bench.json by family and name of a row; notes which rows were asked for in vain."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.record = record
        self.rows = {(row["family"], row["name"]): row for row in record["rows"]}
        self.missing: list[str] = []

    def value(self, family: str, name: str, side: str = "ours") -> float:
        """Median of a row; NaN, and a note, where there is none."""
        found = self.rows.get((family, name), {}).get(side)
        if not found:
            self.missing.append(f"{family}: {name}")
            return math.nan
        return float(statistics.median(found))

    def has(self, family: str, name: str) -> bool:
        return (family, name) in self.rows

    def require(self) -> None:
        """Refuse, once all rows have been asked for, a record that lacks some.

        Raises:
            MissingRows: naming them all.
        """
        if self.missing:
            raise MissingRows(
                "bench.json lacks rows that the model reads; `python -m tests.benchmarks --out "
                "tests/benchmarks/scaling/bench.json` measures them: " + "; ".join(dict.fromkeys(self.missing))
            )

    def pool(self, name: str, size: int) -> float:
        """A row of `pool size`; of those that are compared, the small pool is the others' reference."""
        if size == SMALL and not self.has("pool size", f"{name}, pool of {SMALL:,}"):
            return self.value("pool size", f"{name}, pool of {MEDIUM:,}", "reference")
        return self.value("pool size", f"{name}, pool of {size:,}")

    def line(self, name: str) -> Line:
        return Line.through(SMALL, self.pool(name, SMALL), MEDIUM, self.pool(name, MEDIUM))

    def share(self, name: str) -> Line:
        """In proportion to the medium pool, for what the small one, which has smaller shards, does in another way."""
        return Line(0.0, self.pool(name, MEDIUM) / MEDIUM)

    def files(self, name: str) -> Line:
        """A line through the listings, which count files and not pools."""
        small, medium = (self.value("pool size", name.format(n=n)) for n in (SMALL, MEDIUM))
        return Line.through(SMALL, small, MEDIUM, medium)


LISTING, LISTING_MEMORY = "listing, {n:,} small files", "driver's memory for listing, {n:,} files"
DRIVER_MEMORY, ACTOR_MEMORY = "driver's peak memory", "largest actor's peak memory"
LOOP, STORED = "row 0, one round, last fit", "store on disk"
PREPARE, DRIVER = "driver before the loop: split, index, cohort", "driver's processor time in the loop"
FIT_BANK, SCORE_BANK = "actors at work in row 0, fit_bank", "actors at work in row 0, score_bank"
FIT_HEAD, SCORE_HEAD = "actors at work in round 1, fit_head", "actors at work in round 1, score_head"
FIT_AGAIN, SCORE_AGAIN = "actors at work in the last fit, fit_head", "actors at work in the last fit, score_head"


@dataclass(frozen=True)
class Costs:
    """Unit costs. Seconds are of one core of the bench machine; a Line is over images.

    Attributes:
        extract: seconds to decode and embed an image.
        listing, prepare, driver: the driver's seconds: listing files; split, index and cohort; its part of a loop.
        bank, head: actors' seconds to score a pool by the bank; by the head, the mean of two passes.
        fit_bank, fit_head: seconds of all folds' fits, with as many rejects as a head takes, features at hand.
        read: seconds to read and pool the features of an image that are not.
        listing_memory, driver_memory: MB of the driver; actor_memory: of the largest actor seen.
        stored: bytes an image in the feature store.
        coreset: seconds = a x patches ^ b, as (a, b).
        search: seconds of a query against so many rows.
    """

    extract: float
    listing: Line
    prepare: Line
    driver: Line
    bank: Line
    head: Line
    fit_bank: float
    fit_head: float
    read: float
    listing_memory: Line
    driver_memory: Line
    actor_memory: float
    stored: float
    coreset: tuple[float, float]
    search: Line

    @property
    def driver_pass(self) -> float:
        """Seconds of the driver an image and pass: row 0, a round, the last fit are a pass each."""
        return self.driver.slope / (MEASURED_ROUNDS + 2)


def costs(bench: Bench) -> Costs:
    """The unit costs.

    Raises:
        MissingRows: naming all rows that are not there.
    """
    queries = 16_384
    rows = [bench.value("knn", f"16,384 queries, {m} rows x {BANK_CHANNELS}, k = 3") for m in ("2,048", "8,192")]
    patches = [bench.value("coreset", f"{n:,} x {BANK_CHANNELS}, {n // 10:,} picks") for n in (20_000, 100_000)]
    power = math.log(patches[1] / patches[0]) / math.log(5)
    found = Costs(
        extract=bench.record["machine"]["cores"] / bench.value("extraction", "pipeline, start-up apart"),
        listing=bench.files(LISTING), prepare=bench.share(PREPARE), driver=bench.share(DRIVER),
        bank=bench.line(SCORE_BANK), head=bench.line(SCORE_HEAD).mean(bench.line(SCORE_AGAIN)),
        fit_bank=bench.pool(FIT_BANK, MEDIUM),
        fit_head=bench.pool(FIT_AGAIN, MEDIUM),
        # In the first round every actor reads what the folds' heads learn from; later it has most of that.
        read=(bench.pool(FIT_HEAD, MEDIUM) - bench.pool(FIT_AGAIN, MEDIUM)) / MEDIUM / bench.record["machine"]["cores"],
        listing_memory=bench.files(LISTING_MEMORY), driver_memory=bench.line(DRIVER_MEMORY),
        actor_memory=max(bench.pool(ACTOR_MEMORY, SMALL), bench.pool(ACTOR_MEMORY, MEDIUM)),
        stored=bench.pool(STORED, SMALL), coreset=(patches[0] / 20_000**power, power),
        search=Line.through(2_048, rows[0] / queries, 8_192, rows[1] / queries),
    )  # fmt: skip
    bench.require()
    return found


def fit_reads(images: float, seeds: float = SEEDS) -> float:
    """Images that one fold's head has to read: whole shards, wherever the seeds and rejects that it learns from lie."""
    learnt, count = (1 - 1 / FOLDS) * (seeds + MOST_REJECTS), shards(images)
    touched = count * (1.0 - math.pow(1 - 1 / count, learnt))
    return min(images, SHARD_IMAGES * touched)


def loop_parts(c: Costs, images: float, cores: int, rounds: int) -> dict[str, float]:
    """Seconds of row 0, so many rounds and the last fit: `fits`, in which no more cores than folds have work; `actors`,
    scoring shared by all cores; `driver`, serial.
    """
    heads = rounds + 1
    waves = math.ceil(FOLDS / min(cores, FOLDS)) / FOLDS
    again = max(0.0, 1 - CACHED / images) * c.read  # seconds an image that is read anew each time
    scoring = c.bank.at(images) + heads * (c.head.at(images) + images * again)
    learning = c.fit_head + FOLDS * fit_reads(images) * again
    return {
        "fits": waves * (c.fit_bank + heads * learning) + min(images, CACHED) * c.read,
        "actors": scoring / cores,
        "driver": c.driver.at(images) * (heads + 1) / (MEASURED_ROUNDS + 2),
    }


def loop_seconds(c: Costs, images: float, cores: int, rounds: int, *, shared: bool = False) -> float:
    """Seconds of the loop. The driver hands out tasks while actors score: the slower of the two counts, and where the
    driver has no core of its own (`shared`), their sum over the cores.
    """
    part = loop_parts(c, images, cores, rounds)
    both = part["actors"] + part["driver"] / cores if shared else part["actors"]
    return part["fits"] + max(both, part["driver"])


def core_seconds(c: Costs, images: float, rounds: int) -> float:
    """Seconds of work in a loop, whoever does it."""
    part = loop_parts(c, images, 1, rounds)
    return part["fits"] + part["actors"] + part["driver"]


def read_bytes(images: float, rounds: int) -> dict[str, float]:
    """Bytes that a loop reads from the store: scoring, row 0 the bank's strides and each head pass all; fits."""
    scoring = images * (2 * PATCHES * BANK_CHANNELS + (rounds + 1) * FEATURE_BYTES)
    return {"scoring": scoring, "fits": (rounds + 1) * FOLDS * fit_reads(images) * FEATURE_BYTES}


def shards(images: float) -> int:
    return math.ceil(images / SHARD_IMAGES)


def gets(images: float, rounds: int) -> float:
    """Requests of a loop to the store."""
    return GETS_A_SHARD * ((rounds + 2) * shards(images) + (rounds + 1) * FOLDS * fit_reads(images) / SHARD_IMAGES)


MOMENTS = ("listing", "loop", "tables")


def driver_megabytes(c: Costs, images: float, rounds: int) -> dict[str, float]:
    """The driver's memory in its three heaviest moments: listing, the loop, writing a run's tables after it."""
    loop = c.driver_memory.at(images) + (rounds - MEASURED_ROUNDS) * ROUND_BYTES * images / 2**20
    tables = loop + (rounds + 1) * TABLE_BYTES * images / 2**20
    listing = c.driver_memory.base + c.listing_memory.at(images)
    return dict(zip(MOMENTS, (listing, loop, tables), strict=True))


def images_for(megabytes: float, c: Costs, rounds: int, moment: str) -> float:
    """Images at which a moment of the driver takes so much memory."""
    zero, one = (driver_megabytes(c, n, rounds)[moment] for n in (0, 1e6))
    return (megabytes - zero) / (one - zero) * 1e6


def coreset_seconds(c: Costs, patches: float) -> float:
    return float(c.coreset[0] * patches ** c.coreset[1])


@dataclass(frozen=True)
class Seeded:
    """What so many seeds cost: patches and bank rows of a fold, seconds of its coreset, seconds an image to score
    against it, MB of the rows of a fold's coreset and of its head.
    """

    patches: float
    rows: float
    coreset: float
    score: float
    coreset_megabytes: float
    head_megabytes: float


def seeded(c: Costs, seeds: float) -> Seeded:
    images = seeds * (1 - 1 / FOLDS)
    patches = images * PATCHES
    rows = CORESET_RATIO * patches
    return Seeded(
        patches, rows, coreset_seconds(c, patches), PATCHES * c.search.at(rows),
        patches * BANK_CHANNELS * 4 / 2**20, (images + MOST_REJECTS) * HEAD_NUMBERS * 4 / 2**20,
    )  # fmt: skip


def seeds_for(megabytes: float) -> float:
    """Seeds at which a fold's head has so much more to hold than it was measured with."""
    return SEEDS + megabytes * 2**20 / (HEAD_NUMBERS * 4) / (1 - 1 / FOLDS)


@dataclass(frozen=True)
class Check:
    """A quantity of a size that the unit costs do not come from."""

    what: str
    unit: str
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1


def has_large(bench: Bench) -> bool:
    """Whether the large pool's loop was run, and fitted heads, as those of the unit costs did."""
    return bench.has("pool size", f"{SCORE_HEAD}, pool of {LARGE:,}")


def checks(bench: Bench, c: Costs) -> list[Check]:
    """The model against the pool of 100,000, and the coreset's against 400,000 patches."""
    n, cores = LARGE, bench.record["machine"]["cores"]
    loops = {n: loop_seconds(c, n, cores, MEASURED_ROUNDS, shared=True) for n in (MEDIUM, LARGE)}
    parts = {
        (SCORE_BANK, "s"): c.bank.at(n), (DRIVER, "s"): c.driver.at(n),
        (PREPARE, "s"): c.prepare.at(n),
        (DRIVER_MEMORY, "MB"): c.driver_memory.at(n), (ACTOR_MEMORY, "MB"): c.actor_memory,
    }  # fmt: skip
    found = []
    if has_large(bench):
        for size, loop in loops.items():
            what = f"the loop on {cores} cores, {size:,} images"
            found.append(Check(what, "s", loop, bench.pool(LOOP, size) * size / 1e3))
        passes = (bench.pool(name, n) for name in (SCORE_HEAD, SCORE_AGAIN))
        one = loop_parts(c, n, 1, MEASURED_ROUNDS)["actors"] - c.bank.at(n)
        found.append(Check("actors at work in a pass of score_head", "s", one / 2, sum(passes) / 2))
        fits = (bench.pool(name, n) for name in (FIT_HEAD, FIT_AGAIN))
        again = FOLDS * fit_reads(n) * max(0.0, 1 - CACHED / n) * c.read
        found.append(Check("actors at work in all folds' fit_head", "s", c.fit_head + again, sum(fits) / 2))
        found += [Check(what, unit, v, bench.pool(what, n)) for (what, unit), v in parts.items()]
    for name, line, unit in ((LISTING, c.listing, "s"), (LISTING_MEMORY, c.listing_memory, "MB")):
        if bench.has("pool size", name.format(n=n)):
            found.append(Check(name.format(n=n), unit, line.at(n), bench.value("pool size", name.format(n=n))))
    name = f"400,000 x {BANK_CHANNELS}, 40,000 picks"
    if bench.has("coreset", name):
        found.append(Check(f"coreset of {name}", "s", coreset_seconds(c, 400_000), bench.value("coreset", name)))
    return found
