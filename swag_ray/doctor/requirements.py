"""What a config needs, and what of it is not there: the second half of `swag-ray doctor`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq

from swag_ray.cluster.capacity import (
    OWN_MEMORY,
    SHARED_MEMORY,
    ActorNeeds,
    Node,
    actor_needs,
    amount_text,
    check_capacity,
    count_fitting,
)
from swag_ray.cluster.visibility import sample_paths
from swag_ray.config import Config
from swag_ray.doctor.finding import Finding, refused
from swag_ray.doctor.machine import Machine, disk
from swag_ray.errors import InputError, reason_of
from swag_ray.experiment.datasets import list_images
from swag_ray.experiment.prepare import planned_variants
from swag_ray.experiment.source import feature_spec, split_table, stored_white
from swag_ray.features.index import shard_files
from swag_ray.features.spec import FeatureSpec
from swag_ray.features.variants import NO_VARIANTS, VariantPlan
from swag_ray.images.frames import file_of
from swag_ray.images.listing import Listing
from swag_ray.images.split import Split
from swag_ray.store.store import Store
from swag_ray.wording import plural, size, unequal_sizes

# Channels of the maps by stride, of the backbones whose weights come as packages (a test compares them with timm's):
# features of others are measured once there are some.
CHANNELS = {
    "tf_efficientnet_lite0": {2: 16, 4: 24, 8: 40, 16: 112, 32: 320},
    "tf_efficientnet_lite1": {2: 16, 4: 24, 8: 40, 16: 112, 32: 320},
    "tf_efficientnet_lite2": {2: 16, 4: 24, 8: 48, 16: 120, 32: 352},
}
RECORD = 1_200  # bytes an image in a shard besides its features: thumbnail, digest, figures
NEED_LABELS = ("full_train", "oracle_gate", "supervised")
HEAD_ROWS = 4_000  # of a head where OWN_MEMORY was measured: rejects at their default maximum


@dataclass(frozen=True)
class HeadRows:
    """What a fold's auxiliary head learns from: how many seeds and variants, and the bytes that they take an actor."""

    rows: int = 0
    memory: float = 0.0

    @property
    def beyond(self) -> float:
        """Bytes above those that an actor was measured with."""
        return self.memory * max(0.0, 1 - HEAD_ROWS / self.rows) if self.rows else 0.0


def needs(
    config: Config,
    nodes: Sequence[Node],
    machine: Machine,
    *,
    local: bool,
    gpus: int = 0,
    see: Callable[[str, list[str]], Finding] | None = None,
) -> Iterator[Finding]:
    """What the config asks for against what is there.

    Args:
        nodes: of the cluster, or this machine as a local Ray would count it; empty when no cluster could be joined.
        local: whether Ray would be started here.
        gpus: that torch sees here.
        see: finds out whether every node sees a store and some images; None where there is one node.
    """
    yield Finding("config", "ok", f"{config.name}: {config.method}, {config.dataset.kind}, {config.backbone.name}")
    spec = None
    try:
        spec = feature_spec(config)
        yield Finding("weights", "ok", f"{config.backbone.name}, {config.backbone.weights}: can be had")
    except InputError as error:
        yield refused("weights", error)
    listing, plan, head = None, NO_VARIANTS, HeadRows()
    try:
        store = Store(config.store)
        listing = list_images(config, store)
        split = yield from dataset_findings(config, listing)
        if split is not None:
            plan = planned_variants(config, listing.root, listing.table, split)
            head = head_rows(config, split, plan)
        yield from control_findings(config, listing)
    except InputError as error:
        yield refused("dataset", error)
    yield from _cluster(config, nodes, machine, local, gpus, head)
    if listing is not None and spec is not None:
        yield from feature_findings(store, replace(spec, white=stored_white(listing, store)), listing, plan)
    if listing is not None and see is not None:
        some = [str(listing.root / path) for path in sample_paths(listing.table.column("path"))]
        yield see(store.root, [file_of(image, config.dataset.frames) for image in some])


def dataset_findings(config: Config, listing: Listing) -> Generator[Finding, None, Split | None]:
    """What was listed and how it splits. Returns the split, None where it is refused."""
    splits = listing.table["split"].to_pylist()
    train, groups = splits.count("train"), len(set(zip(splits, listing.table["group"].to_pylist(), strict=True)))
    yield Finding(
        "dataset", "ok",
        f"{len(splits)} images at '{listing.root}': {train} train, {len(splits) - train} test, {groups} groups",
    )  # fmt: skip
    for warning in listing.warnings:
        yield Finding("dataset", "note", warning)
    try:
        split = split_table(config, listing.table)
    except InputError as error:
        yield refused("split", error)
        return None
    seeds, pool, test = (split.counts[role] for role in ("seed", "pool", "test"))
    text = f"{seeds} seeds in {config.split.folds} folds, a pool of {pool}, {test} test images"
    yield Finding("split", "ok", text)
    for warning in split.warnings:
        yield Finding("split", "note", warning)
    return split


def head_rows(config: Config, split: Split, plan: VariantPlan) -> HeadRows:
    """What the auxiliary head of the largest fold learns from; nothing where there is none, or where the backbone's
    channels are not known here.
    """
    channels = CHANNELS.get(config.backbone.name, {})
    if not plan.recipes or not set(config.backbone.strides) <= set(channels):
        return HeadRows()
    seeds = split.counts["seed"]
    rows = (seeds - min(split.fold_seeds)) * (1 + len(plan.recipes) // seeds)
    numbers = sum(channels[stride] for stride in config.backbone.strides) * config.head.grid**2
    return HeadRows(rows, rows * numbers * 4 * 2.0)  # float32, as read and standardised


def control_findings(config: Config, listing: Listing) -> Iterator[Finding]:
    """Controls that a run leaves out for want of labels."""
    splits, labels = (listing.table[name].to_pylist() for name in ("split", "label"))
    unknown = sum(label is None for label, split in zip(labels, splits, strict=True) if split == "train")
    asking = [control for control in config.controls if control in NEED_LABELS]
    if unknown and asking:
        text = f"{', '.join(asking)} need labels, and {unknown} train images have none: they are left out"
        yield Finding("controls", "note", text)


def feature_findings(
    store: Store, spec: FeatureSpec, listing: Listing, plan: VariantPlan = NO_VARIANTS
) -> Iterator[Finding]:
    """How many images and variants have features in the store, and the disk that the others will need."""
    images = set(listing.table["sha256"].to_pylist())
    variants = {recipe.key for recipe in plan.recipes}
    try:
        present, each = stored_features(store, spec)
        free = disk(store.base).free if store.local else None
    except InputError as error:
        yield refused("features", error)
        return
    except OSError as error:
        text = f"store: '{store.root}' cannot be read ({reason_of(error)})"
        yield Finding("features", "problem", text, "mend that")
        return
    missing = len(images - present) + len(variants - present)
    text = f"{len(images & present)} of {len(images)} images"
    if variants:
        text += f" and {len(variants & present)} of {plural(len(variants), 'variant')} of the seeds"
    text += " have theirs in the store"
    if not missing:
        yield Finding("features", "ok", text)
        return
    each = each or image_bytes(spec)
    if each is None:
        yield Finding("features", "ok", f"{text}; how much disk the others take is not known for {spec.backbone}")
        return
    asked = missing * each
    takes, there = unequal_sizes(asked, free) if free is not None else (size(asked), "")
    text += f"; the others take {takes} of disk ({size(each)} an image)"
    if free is not None and asked > free:
        advice = "free space there or set another `store`"
        yield Finding("features", "problem", f"{text}, and {there} are free at '{store.base}'", advice)
    else:
        yield Finding("features", "ok", text)


def stored_features(store: Store, spec: FeatureSpec) -> tuple[set[str], float | None]:
    """(digests of the images whose features are in the store, bytes an image as measured there or None). Damaged
    shards are left where they are and do not count: a run extracts their images again.
    """
    present: set[str] = set()
    held, rows = 0, 0
    for name, size_of in shard_files(store, spec).items():
        path = store.path("features", spec.fingerprint, name)
        try:
            table = pq.read_table(path, columns=["sha256", "error"], filesystem=store.fs)
        except (OSError, ValueError, LookupError, pa.ArrowException):
            continue
        present.update(table["sha256"].to_pylist())
        if table["error"].null_count == len(table):  # a shard with unreadable images is lighter
            held, rows = held + size_of, rows + len(table)
    return present, held / rows if rows else None


def image_bytes(spec: FeatureSpec) -> float | None:
    """Bytes in the store an image, float16; None for a backbone whose channels are not known here."""
    channels = CHANNELS.get(spec.backbone, {})
    if not set(spec.strides) <= set(channels):
        return None
    return sum(channels[stride] for stride in spec.strides) * spec.grid**2 * 2 + RECORD


def _cluster(
    config: Config, nodes: Sequence[Node], machine: Machine, local: bool, gpus: int, head: HeadRows
) -> Iterator[Finding]:
    asked = config.cluster
    if not local:
        sizes = ("cpus", "gpus", "object_store_mb")
        unread = ", ".join(f"cluster.{name}" for name in sizes if getattr(asked, name) is not None)
        if unread:
            yield Finding(
                "cluster", "note",
                f"{unread}: read when Ray is started here, not for a cluster, which is as large as it is",
            )  # fmt: skip
    elif (asked.cpus or 0) > machine.usable_cores:
        yield Finding(
            "cluster", "note",
            f"cluster.cpus: {asked.cpus} are more than the {machine.usable_cores} cores here; actors will share them",
        )  # fmt: skip
    if local and (asked.gpus or 0) > gpus:
        yield Finding(
            "cluster", "note",
            f"cluster.gpus: {asked.gpus} are more than the {gpus} that torch sees; actors without one work on the CPU",
        )  # fmt: skip
    if nodes:
        yield from _fit(actor_needs(asked, nodes), nodes, local, machine.memory_free if local else None, head)


def _fit(wanted: ActorNeeds, nodes: Sequence[Node], local: bool, free: int | None, head: HeadRows) -> Iterator[Finding]:
    try:
        check_capacity(nodes, wanted.bundle, wanted.actors, local=local)
    except InputError as error:
        yield refused("actors", error)
        return
    has = sum(node.memory for node in nodes)
    own = OWN_MEMORY + head.beyond
    uses = wanted.actors * own + SHARED_MEMORY
    gpus = wanted.bundle.get("GPU")
    gpu = f" and {amount_text('GPU', round(gpus, 2))}" if gpus else ""
    most = count_fitting(nodes, {**wanted.bundle, "memory": own})
    lacks = free if free is not None and most >= wanted.actors and uses > free else None
    amount, there = unequal_sizes(uses, has if lacks is None else lacks)
    text = f"{wanted.actors} of 1 CPU{gpu} each fit; they use about {amount} of {size(has)} memory"
    rows = f", {size(head.memory)} of it for {head.rows:,} seeds and variants of a head," if head.beyond else ""
    text += f" ({size(own)} each{rows} and {size(SHARED_MEMORY)} shared, measured with tf_efficientnet_lite0)"
    if most < wanted.actors:
        advice = f"set cluster.actors to {most} at most" if most else "use a machine with more memory"
        yield Finding("actors", "note", f"{text}: they may run out of it, and Ray then ends some", advice)
    elif lacks is not None:
        advice = "end other programs, or lower cluster.actors"
        yield Finding("actors", "note", f"{text}, but only {there} are free now", advice)
    else:
        yield Finding("actors", "ok", text)
