"""Scale on paper: what millions of images and a thousand trials cost, from the figures in bench.json.

`model` holds the model, `prices` machines and prices; this file words what they say.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from swag_ray.wording import size
from tests.benchmarks.scaling import model as m
from tests.benchmarks.scaling import prices
from tests.benchmarks.scaling.model import Bench, Costs
from tests.benchmarks.scaling.prices import DRIVER, IMAGES, ROUNDS, TRIALS, WORKER

NODES = (1, 4, 16)
WIDTH = 140


def page(bench: Bench) -> str:
    """SCALING.md.

    Raises:
        MissingRows: bench.json does not hold what the model needs.
    """
    c = m.costs(bench)
    sections = [
        introduction(bench), unit_costs(c), check(bench, c), one_run(c), memory(c), storage(c), trials(bench, c),
        bottlenecks(c), first_limit(c), assumed(),
    ]  # fmt: skip
    bench.require()
    return "\n\n".join(part for section in sections for part in section) + "\n"


def introduction(bench: Bench) -> list[str]:
    machine, note = bench.record["machine"], bench.record.get("note", "")
    note = f"**{note}** " if note else ""
    return [
        "# Scale on paper",
        prose(f"""
            What {number(IMAGES)} images and {TRIALS:,} trials cost, by a model with measured unit costs:
            `python -m tests.benchmarks` on {machine["cores"]} cores ({machine["processor"]}, {machine["memory_gb"]:g}
            GB), {bench.record["date"][:10]}, recorded in `tests/benchmarks/scaling/bench.json`. {note}
            Nothing of this size was run. `python -m tests.benchmarks.scaling` wrote this page from that record; no
            figure is typed by hand.
        """),
        prose(f"""
            The case: `configs/pneumonia.yaml` (tf_efficientnet_lite0 at 256 px, {m.FOLDS} folds, {ROUNDS} rounds), 400
            seeds unless said, as measured. Machines: {WORKER.name} workers ({WORKER.cores} vCPU, {WORKER.gib} GiB,
            ${WORKER.hour}/h) and one {DRIVER.name} for the driver ({DRIVER.gib} GiB, ${DRIVER.hour}/h), store
            on S3. One vCPU is taken for one core of the bench machine.
        """),
    ]


def unit_costs(c: Costs) -> list[str]:
    before = [1e3 * line.slope for line in (c.listing, c.prepare)]
    listing, loop = (line.slope * 2**20 for line in (c.listing_memory, c.driver_memory))
    rows = [
        ["decode, resize, embed", f"{1 / c.extract:.1f} images/s", "a core"],
        ["score by the bank (row 0)", f"{1e3 * c.bank.slope:.3f} ms/image", "a core"],
        ["score by the head, 8 samples", f"{1e3 * c.head.slope:.3f} ms/image", "a core, a pass"],
        [f"read and pool features, beyond {m.CACHED:,} images", f"{1e3 * c.read:.3f} ms/image", "a core, each time"],
        ["all folds' banks; all folds' heads", f"{c.fit_bank:.2f} s; {c.fit_head:.2f} s", f"{m.FOLDS} cores at most"],
        ["driver in the loop", f"{1e3 * c.driver_pass:.4f} ms/image", "a pass, serial"],
        ["driver: listing small files; split, index, cohort", f"{before[0]:.3f}; {before[1]:.3f} ms/image", "serial"],
        ["driver's memory: listing; a loop of one round", f"{listing:,.0f}; {loop:,.0f} bytes/image", ""],
        ["largest actor's memory", f"{c.actor_memory:.0f} MB", f"{m.MEDIUM:,} images"],
        ["features on disk", f"{c.stored:,.0f} bytes/image", "float16"],
        ["k-center coreset", f"time grows as patches ^ {c.coreset[1]:.2f}", "a fold, a core"],
    ]
    return ["## Unit costs", table(["what", "cost", "of"], rows)]


def check(bench: Bench, c: Costs) -> list[str]:
    found = m.checks(bench, c)
    rows = [[x.what, f"{x.predicted:.4g} {x.unit}", f"{x.measured:.4g} {x.unit}", f"{x.error:+.0%}"] for x in found]
    lacking = "" if m.has_large(bench) else (
        f" **The record lacks a pool of {m.LARGE:,} images that fitted heads: loop and memory are not checked.**"
    )  # fmt: skip
    worst = max(found, key=lambda x: abs(x.error))
    return [
        "## Is the model right?",
        prose(f"""
            Unit costs are lines through the pools of {m.SMALL:,} and {m.MEDIUM:,} images, and a power through coresets
            of 20,000 and 100,000 patches; checked on sums and sizes that they do not come from: {m.LARGE:,} images,
            400,000 patches.{lacking} (A first form of the model, without the reading of what an actor's cache cannot
            hold, was 41 % too fast there; this one was made with that in view.) The largest error is {worst.error:+.0%}
            ({worst.what}). What follows goes a factor of
            {IMAGES // m.LARGE} beyond the largest pool that was run: orders of magnitude, not quotes.
        """),
        table(["what", "predicted", "measured", "error"], rows),
    ]


def one_run(c: Costs) -> list[str]:
    runs = [prices.phases(c, IMAGES, nodes, ROUNDS, prices.IMAGE_BYTES) for nodes in NODES]
    rows = [[same[0].name, *(f"{duration(x.seconds)} ({x.bound})" for x in same)] for same in zip(*runs, strict=True)]
    for name, left_out in (("**cold, in all**", ()), ("**features there**", ("extraction", "index of the shards"))):
        total = [sum(x.seconds for x in run if x.name not in left_out) for run in runs]
        paid = [prices.money(seconds, nodes) for seconds, nodes in zip(total, NODES, strict=True)]
        rows.append([name, *(f"**{duration(s)}, ${usd:.2f}**" for s, usd in zip(total, paid, strict=True))])
    gpus = (prices.PRICES[name] for name in prices.GPUS)
    even = " and ".join(f"{gpu.name} (${gpu.hour}/h) {prices.break_even(c, gpu):,.0f} images/s" for gpu in gpus)
    large = IMAGES * prices.LARGE_IMAGE
    return [
        f"## One run over {number(IMAGES)} images",
        table([f"{ROUNDS} rounds", *(f"{n} worker{'s' * (n > 1)}" for n in NODES)], rows),
        prose(f"""
            In brackets what a phase waits for; images of {size(prices.IMAGE_BYTES)}, the measured 224 x 224 JPEGs. No
            GPU was measured; a GPU node extracts cheaper than {WORKER.name} from this speed on: {even}. Hospital
            files are larger: at {size(prices.LARGE_IMAGE)} each the driver reads {size(large)} to hash them,
            {duration(large / prices.DISK_RATE)} at {prices.DISK_RATE / 1e6:.0f} MB/s, in every run; every node needs a
            copy; and decoding costs more than was measured.
        """),
    ]


def memory(c: Costs) -> list[str]:
    found = m.driver_megabytes(c, IMAGES, ROUNDS)
    words = {"listing": "listing files", "loop": f"loop, {ROUNDS} rounds", "tables": "writing rounds.parquet"}
    rows = []
    for moment, word in words.items():
        at = (number(m.images_for(gib * 1024, c, ROUNDS, moment)) for gib in (WORKER.gib, DRIVER.gib))
        rows.append([word, size(found[moment] * 2**20), *at])
    seeds = []
    for count in (400, 4_000, 40_000, 400_000):
        s = m.seeded(c, count)
        held = (size(megabytes * 2**20) for megabytes in (s.coreset_megabytes, s.head_megabytes))
        seeds.append([f"{count:,}", number(s.rows), duration(s.coreset), f"{1e3 * s.score:.3g} ms", *held])
    return [
        "## Memory",
        table(
            ["driver", f"{number(IMAGES)} images", *(f"{gib} GiB at images" for gib in (WORKER.gib, DRIVER.gib))], rows
        ),
        prose(f"""
            Rounds beyond the first, and the tables, are reckoned from the arrays in the code ({m.ROUND_BYTES} and
            {m.TABLE_BYTES} bytes an image and round), not measured. An actor's memory grows until its
            cache is full and the rejects reach their cap: {c.actor_memory:.0f} MB with {m.MEDIUM:,} images, of
            {WORKER.gib_a_core:g} GiB a core that {WORKER.name} has. What lets it grow further is the number of
            **seeds**, for bank and head of a fold learn from all of them (rejects are capped at {m.MOST_REJECTS:,},
            admitted images add {size(4 * m.HEAD_NUMBERS)} each to the head's rows). A fold and a core each:
        """),
        table(["seeds", "bank rows", "coreset", "search, an image", "coreset's rows", "head's rows"], seeds),
    ]


def storage(c: Costs) -> list[str]:
    features, puts = IMAGES * c.stored, m.shards(IMAGES)
    gets, stages = m.gets(IMAGES, ROUNDS), (ROUNDS + 2) * m.ROUND_BYTES * IMAGES
    read = m.read_bytes(IMAGES, ROUNDS)
    return [
        "## Storage and transfer",
        "\n".join(
            [
                prose(f"""- Features: {size(features)} in {puts:,} shards,
                    ${features / 1e9 * prices.S3_MONTH:.2f} a month on S3; ${puts * prices.S3_PUT:.2f} for the
                        requests that write them."""),
                prose(f"""- A run reads {size(read["scoring"])} to score, for each pass goes through all features, and
                    {size(read["fits"])} to fit: a fold's head reads the whole shards of its {m.MOST_REJECTS:,} rejects,
                    {number(m.fit_reads(IMAGES))} images for {m.MOST_REJECTS:,}. {number(gets)} requests,
                    ${gets * prices.S3_GET:.2f}; transfer within the region is free."""),
                prose(f"""- Scores and decisions of a run: {size(stages)}, not compressed; {TRIALS:,} trials that share
                    none of it, {size(TRIALS * stages)}, ${TRIALS * stages / 1e9 * prices.S3_MONTH:.0f} a month."""),
            ]
        ),
    ]


def trials(bench: Bench, c: Costs) -> list[str]:
    cores, s = bench.record["machine"]["cores"], prices.sharing(bench)
    each = [TRIALS * seconds * cores / WORKER.cores for seconds in (s.alone, s.trial)]
    apart, shared = (f"{duration(x)} (${x / 3600 * WORKER.hour:.2f})" for x in each)
    held = m.driver_megabytes(c, IMAGES, ROUNDS)["loop"] + c.actor_memory
    rows = []
    for machine in (WORKER, DRIVER):
        ways = [prices.together(c, IMAGES, ROUNDS, machine, NODES[-1], share) for share in (1, s.stages)]
        cells = [f"{duration(x.seconds)}, ${x.usd:,.0f} ({x.bound})" if x else "does not fit" for x in ways]
        rows.append(
            [f"{NODES[-1]} x {machine.name}", f"{ways[0].at_a_time if ways[0] else 0} of {machine.cores}", *cells]
        )
    how = "" if s.measured else " (counted from the grid: the family `sweep` is not in this record)"
    written = "which was not measured" if s.table is None else (
        f"{s.table:.2g} s at {TRIALS:,} rows: {duration(s.table * TRIALS / 2)} in all, a hundred times that for "
        f"{10 * TRIALS:,} trials"
    )  # fmt: skip
    return [
        f"## {TRIALS:,} trials",
        prose(f"""
            On {cores} cores a run of `configs/ablation_small.yaml` takes {s.alone:.3g} s with features there,
            its share of the sweep {s.trial:.3g} s, and the sweep computes {s.stages:.0%} of the runs'
            stages{how}. {TRIALS:,} such trials on one {WORKER.name}: {apart} as runs, {shared} as one sweep.
            How much is shared is the grid's doing: trials that differ in `rounds`, `gate` or `calibration`
            alone share what comes before, others the features.
        """),
        prose(f"""
            Over {number(IMAGES)} images a trial holds {size(held * 2**20)}, cohort and scores of its own, so
            that memory says how many run side by side:
        """),
        table([f"{TRIALS:,} trials, {ROUNDS} rounds", "cores at work a node", "as runs", "sharing as above"], rows),
        prose(f"""
            The process that drives a sweep makes `trials.parquet` anew whenever a trial ends, {written}. One actor
            grants all leases: two calls a stage, five a second from a trial that waits, one in two seconds from each;
            that grows with the trials at a time, not with all. What Tune and Ray's control service take was not
            measured.
        """),
    ]


def bottlenecks(c: Costs) -> list[str]:
    rates = prices.rates(c)
    rows = [[name, number(rate)] for name, rate in rates.items() if name not in prices.BEFORE_LOOP]
    rows.append(["; ".join(prices.BEFORE_LOOP), "; ".join(number(rates[name]) for name in prices.BEFORE_LOOP)])
    slower = min(("network", "cores"), key=lambda name: rates[f"head pass, a worker's {name}"])
    pace = rates[f"head pass, a worker's {slower}"]
    ratio = rates["driver in a pass"] / pace
    serial = 1 / sum(1 / rates[name] for name in prices.BEFORE_LOOP)
    scoring = c.bank.slope + (ROUNDS + 1) * (c.head.slope + c.read)
    return [
        "## Where the bottleneck moves",
        table(["at most", "images/s"], rows),
        "\n".join(
            [
                prose(f"""1. **Cold, few workers: extraction**, {c.extract / scoring:.0f} times the actors' work in all
                    {ROUNDS + 2} passes. It divides by the cores."""),
                prose(f"""2. **Features there: a worker's {slower}** in the head passes. At {ratio:.1f} workers they
                    score as fast as the one driver hands out tasks and gathers scores; more gain nothing."""),
                prose(f"""3. **Many workers: the driver before the loop.** Listing, hashing, index and cohort go at
                    {number(serial)} images/s one after the other, as fast as {serial * c.extract / WORKER.cores:.1f}
                    workers extract; with more, most of a cold run waits for the driver."""),
            ]
        ),
    ]


def first_limit(c: Costs) -> list[str]:
    found = prices.limits(c, ROUNDS)
    rows = [[x.what, number(x.images), x.remedy] for x in found]
    designed = next(x for x in found if x.design)
    return [
        "## Which limit comes first",
        table(["what ends", "at images", "what then"], rows),
        prose(f"""
            The first is {"of the design itself" if found[0].design else "a setting or a disk"}; of the design itself it
            is, at {number(designed.images)} images, that {designed.what}: one process lists, hashes and indexes
            all images, and keeps what is known of each.
        """),
    ]


def assumed() -> list[str]:
    machines = "; ".join(
        f"{x.name} ${x.hour}/h ({x.cores} vCPU, {x.gib} GiB, {x.gbit:g} Gbit/s)" for x in prices.PRICES.values()
    )
    return [
        "## Assumed, not measured",
        prose(f"""
            List prices as of 2025, on demand, Linux, us-west-2, from memory of the price lists, for the author had no
            network: {machines}; S3 ${prices.S3_MONTH} a GB and month, ${1000 * prices.S3_PUT:.3f} a thousand PUTs,
            ${1000 * prices.S3_GET:.4f} a thousand GETs, {prices.S3_GETS_A_SECOND:,} GETs a second and prefix. Network
            rates are those that last, as remembered. Change them in `tests/benchmarks/scaling/prices.py` and write
            this page again.
            Also assumed: {m.GETS_A_SHARD} requests a shard, {1e3 * prices.S3_LATENCY:.0f} ms each where one waits for
            the other (the index); disks of {prices.DISK_RATE / 1e6:.0f} MB/s and {size(prices.DISK_BYTES)}, as in
            `aws.yaml`; that scoring from S3 costs the cores what it costs from a local disk. Left out: volumes,
            addresses, the start of nodes, spot prices, tax.
        """),
    ]


def prose(text: str) -> str:
    """A paragraph or an item of a list, filled."""
    words = " ".join(text.split())
    indent = next((" " * len(mark) for mark in ("- ", "1. ", "2. ", "3. ") if words.startswith(mark)), "")
    return textwrap.fill(words, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 100 else f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.3g} h" if seconds < 1e6 else f"{number(seconds / 3600)} h"


def number(count: float) -> str:
    """Rounded to two digits, in words from a million on."""
    rounded = float(f"{count:.2g}")
    return f"{rounded / 1e6:,.3g} million" if rounded >= 1e6 else f"{rounded:,.0f}"
