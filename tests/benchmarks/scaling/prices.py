"""Machines with their prices, and how long a run takes on them by the model: what SCALING.md shows.

Change PRICES or a figure assumed here and run `python -m tests.benchmarks.scaling` again.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.benchmarks.scaling import model as m
from tests.benchmarks.scaling.model import Bench, Costs

IMAGES, TRIALS, ROUNDS = 10_000_000, 1_000, 5


@dataclass(frozen=True)
class Instance:
    """A machine to rent: USD an hour, vCPUs, GiB, Gbit/s that it keeps up."""

    name: str
    hour: float
    cores: int
    gib: int
    gbit: float

    @property
    def gib_a_core(self) -> float:
        return self.gib / self.cores


# List prices as of 2025: on demand, Linux, us-west-2, from memory of the price lists; nobody looked them up again.
PRICES = {
    "c7i.4xlarge": Instance("c7i.4xlarge", 0.714, 16, 32, 6.25),
    "r7i.2xlarge": Instance("r7i.2xlarge", 0.5292, 8, 64, 3.125),
    "g5.xlarge": Instance("g5.xlarge", 1.006, 4, 16, 2.5),
    "g4dn.xlarge": Instance("g4dn.xlarge", 0.526, 4, 16, 5.0),
}
WORKER, DRIVER, GPUS = PRICES["c7i.4xlarge"], PRICES["r7i.2xlarge"], ("g5.xlarge", "g4dn.xlarge")
S3_MONTH, S3_PUT, S3_GET = 0.023, 0.005 / 1000, 0.0004 / 1000  # USD a GB and month, a request
# Assumed, not measured.
IMAGE_BYTES = 5_784  # of the measured set, 224 x 224 JPEG; hospital files are 100 to 1,000 times as large
LARGE_IMAGE = 1_000_000
DISK_BYTES, DISK_RATE = 200e9, 125e6  # clusters/aws.yaml: a gp3 volume as it comes
S3_LATENCY = 0.05  # seconds a request; the index is read one shard after the other
S3_GETS_A_SECOND = 5_500  # a prefix, as AWS documents it
NORMALS = 1_341 / 5_216  # of the train images, in chest_xray


@dataclass(frozen=True)
class Phase:
    """A part of a run: seconds, and what holds it up."""

    name: str
    seconds: float
    bound: str


def phases(c: Costs, images: float, nodes: int, rounds: int, image_bytes: float) -> list[Phase]:
    """A cold run on so many workers and a driver beside them, in order."""
    cores = nodes * WORKER.cores
    hashing, listing = images * image_bytes / DISK_RATE, c.listing.at(images)
    extract, arriving = images * c.extract / cores, images * image_bytes / (nodes * DISK_RATE)
    parts = m.loop_parts(c, images, cores, rounds)
    seconds_a_byte = 8 / (WORKER.gbit * 1e9)
    read = m.read_bytes(images, rounds)
    network = read["scoring"] / nodes * seconds_a_byte
    fits = {"cores": parts["fits"], "network": read["fits"] / min(nodes, m.FOLDS) * seconds_a_byte}
    longest = max(fits, key=fits.__getitem__)
    requests = (rounds + 2) * m.shards(images) * m.GETS_A_SHARD / S3_GETS_A_SECOND
    score = {"actors": parts["actors"], "driver": parts["driver"], "network": network, "S3 requests": requests}
    slowest = max(score, key=score.__getitem__)
    return [
        Phase("listing and hashing", max(listing, hashing), "driver" if listing > hashing else "driver's disk"),
        Phase("extraction", max(extract, arriving), "actors" if extract > arriving else "disk"),
        Phase("index of the shards", m.shards(images) * m.GETS_A_SHARD * S3_LATENCY, "driver on S3"),
        Phase("split, cohort", c.prepare.at(images), "driver"),
        Phase(f"{rounds + 1} fits of the head", fits[longest], longest),
        Phase(f"scoring, {rounds + 2} passes", score[slowest], slowest),
    ]


def money(seconds: float, nodes: int) -> float:
    """USD for so many workers and one driver."""
    return seconds / 3600 * (nodes * WORKER.hour + DRIVER.hour)


def break_even(c: Costs, gpu: Instance) -> float:
    """Images a second above which a GPU node extracts cheaper than WORKER does."""
    return gpu.hour / WORKER.hour * WORKER.cores / c.extract


@dataclass(frozen=True)
class Sharing:
    """What trials of a sweep share: seconds a run alone and a trial, on the bench machine; share of a run's stages that
    a trial computes; seconds to make trials.parquet of 1,000 trials. `measured` is False where the sweep was counted
    and not run.
    """

    alone: float
    trial: float
    stages: float
    table: float | None
    measured: bool


def sharing(bench: Bench) -> Sharing:
    """From the family `sweep`, or, without it, from single runs and the fits that the same grid shares."""
    if not bench.has("sweep", "a trial on average"):
        alone = bench.value("whole run", "pneumonia, warm")
        fits = (1 + 4) / (1 + 2 + 1 + 4)  # row 0 and the fits of 3 rounds, of which 1 round's are a part
        return Sharing(alone, alone * fits, fits, None, False)
    alone, trial = (bench.value("sweep", "a trial on average", side) for side in ("reference", "ours"))
    computed = bench.value("sweep", "stages computed, 24 trials")
    by_runs = bench.value("sweep", "stages computed by the runs, 24 trials")
    written = bench.value("sweep", "trials.parquet of 1,000 trials, made once")
    return Sharing(alone, trial, computed / by_runs, written, True)


@dataclass(frozen=True)
class Limit:
    """Images at which something ends, what to do, and whether it is of the design and not of a setting or a disk."""

    images: float
    what: str
    remedy: str
    design: bool = False


def limits(c: Costs, rounds: int) -> list[Limit]:
    """The first one first. Seeds are taken as the default share of the normals, whose share is that of chest_xray."""
    seeds_an_image = m.SEED_FRACTION * NORMALS
    room = WORKER.gib_a_core * 1024 - c.actor_memory
    day_patches = (86_400 / c.coreset[0]) ** (1 / c.coreset[1])
    day_seeds = day_patches / m.PATCHES / (1 - 1 / m.FOLDS)
    small, large = f"{IMAGE_BYTES / 1e3:.1f} KB", f"{LARGE_IMAGE / 1e6:g} MB"
    found = [
        Limit(m.seeds_for(room) / seeds_an_image, f"seeds, {m.SEED_FRACTION:.0%} of the normals: a fold's head leaves "
              f"the {WORKER.gib_a_core:g} GiB of a core", "lower `split.seed_fraction`"),
        Limit(day_seeds / seeds_an_image, "the same: a fold's coreset takes a day", "the same, or `memory.max_rows`"),
        Limit(DISK_BYTES / LARGE_IMAGE, f"every node's disk: all images, {large} each", "larger or shared disks"),
        Limit(DISK_BYTES / IMAGE_BYTES, f"every node's disk: all images, {small} each", "larger or shared disks"),
        Limit(86_400 * DISK_RATE / LARGE_IMAGE, f"hashing images of {large} takes the driver a day, in every run",
              "a faster disk", True),
    ]  # fmt: skip
    for machine in (WORKER, DRIVER):
        full = min(m.images_for(machine.gib * 1024, c, rounds, moment) for moment in m.MOMENTS)
        found.append(Limit(full, f"the driver's memory, at {machine.gib} GiB", "a larger driver", True))
    return sorted(found, key=lambda limit: limit.images)


BEFORE_LOOP = ("driver listing", "hashing from its disk", "indexing shards on S3", "split and cohort")


def rates(c: Costs) -> dict[str, float]:
    """Images a second, by what may be slowest."""
    return {
        "extraction, a worker": WORKER.cores / c.extract,
        "head pass, a worker's cores": WORKER.cores / (c.head.slope + c.read),
        "head pass, a worker's network": WORKER.gbit * 1e9 / 8 / m.FEATURE_BYTES,
        "head passes, S3 requests of a prefix": S3_GETS_A_SECOND / m.GETS_A_SHARD * m.SHARD_IMAGES,
        "driver in a pass": 1 / c.driver_pass,
        "driver listing": 1 / c.listing.slope,
        "hashing from its disk": DISK_RATE / IMAGE_BYTES,
        "indexing shards on S3": m.SHARD_IMAGES / m.GETS_A_SHARD / S3_LATENCY,
        "split and cohort": 1 / c.prepare.slope,
    }


@dataclass(frozen=True)
class Together:
    """Trials on some nodes: how many at a time a node has cores and memory for; seconds, USD; what they wait for."""

    at_a_time: int
    seconds: float
    usd: float
    bound: str


def together(c: Costs, images: float, rounds: int, machine: Instance, nodes: int, share: float) -> Together | None:
    """TRIALS trials that compute a share of their stages each, and read as much less; None where not one fits."""
    held = m.driver_megabytes(c, images, rounds)["loop"] + c.actor_memory
    at_a_time = min(machine.cores, int(machine.gib * 1024 // held))
    if not at_a_time:
        return None
    whole = TRIALS * share / nodes
    cores = whole * m.core_seconds(c, images, rounds) / at_a_time
    network = whole * sum(m.read_bytes(images, rounds).values()) * 8 / (machine.gbit * 1e9)
    gets = TRIALS * share * m.gets(images, rounds)
    seconds = max(cores, network)
    usd = seconds / 3600 * (nodes * machine.hour + DRIVER.hour) + gets * S3_GET
    return Together(at_a_time, seconds, usd, "cores" if cores > network else "network")
