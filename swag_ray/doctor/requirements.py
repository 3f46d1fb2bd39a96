"""What a config needs, and what of it is not there: the second half of `swag-ray doctor`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from swag_ray.cluster.capacity import ActorNeeds, Node, actor_needs, check_capacity, count_fitting
from swag_ray.cluster.visibility import sample_paths
from swag_ray.config import Config
from swag_ray.doctor.finding import Finding, refused
from swag_ray.doctor.machine import Machine, disk
from swag_ray.errors import InputError, reason_of
from swag_ray.experiment.source import feature_spec, list_images, split_table
from swag_ray.features.index import shard_files
from swag_ray.features.spec import FeatureSpec
from swag_ray.images.folders import Listing
from swag_ray.store.store import Store
from swag_ray.wording import size, unequal_sizes

# Channels of the maps by stride, of the backbones whose weights come as packages (a test compares them with timm's):
# features of others are measured once there are some.
CHANNELS = {
    "tf_efficientnet_lite0": {2: 16, 4: 24, 8: 40, 16: 112, 32: 320},
    "tf_efficientnet_lite1": {2: 16, 4: 24, 8: 40, 16: 112, 32: 320},
    "tf_efficientnet_lite2": {2: 16, 4: 24, 8: 48, 16: 120, 32: 352},
}
RECORD = 1_200  # bytes an image in a shard besides its features: thumbnail, digest, figures
# Bytes resident, measured with lite0 on the CPU: 1.5 GB at extraction; at sampling 1.4 with .2 in its cache of pooled
# features, which grows to .5 in larger pools. About .4 of each is libraries that the actors of a node share.
ACTOR_MEMORY = 1_500_000_000
NEED_LABELS = ("full_train", "oracle_gate", "supervised")


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
    yield from _cluster(config, nodes, machine, local, gpus)
    spec = None
    try:
        spec = feature_spec(config)
        yield Finding("weights", "ok", f"{config.backbone.name}, {config.backbone.weights}: can be had")
    except InputError as error:
        yield refused("weights", error)
    listing = None
    try:
        store = Store(config.store)
        listing = list_images(config, store)
        yield from dataset_findings(config, listing)
        yield from control_findings(config, listing)
    except InputError as error:
        yield refused("dataset", error)
    if listing is not None and spec is not None:
        yield from feature_findings(store, spec, listing)
    if listing is not None and see is not None:
        yield see(store.root, [str(listing.root / path) for path in sample_paths(listing.table.column("path"))])


def dataset_findings(config: Config, listing: Listing) -> Iterator[Finding]:
    """What was listed and how it splits."""
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
    else:
        seeds, pool, test = (split.counts[role] for role in ("seed", "pool", "test"))
        text = f"{seeds} seeds in {config.split.folds} folds, a pool of {pool}, {test} test images"
        yield Finding("split", "ok", text)
        for warning in split.warnings:
            yield Finding("split", "note", warning)


def control_findings(config: Config, listing: Listing) -> Iterator[Finding]:
    """Controls that a run leaves out for want of labels."""
    splits, labels = (listing.table[name].to_pylist() for name in ("split", "label"))
    unknown = sum(label is None for label, split in zip(labels, splits, strict=True) if split == "train")
    asking = [control for control in config.controls if control in NEED_LABELS]
    if unknown and asking:
        text = f"{', '.join(asking)} need labels, and {unknown} train images have none: they are left out"
        yield Finding("controls", "note", text)


def feature_findings(store: Store, spec: FeatureSpec, listing: Listing) -> Iterator[Finding]:
    """How many images have features in the store, and the disk that the others will need."""
    wanted = set(listing.table["sha256"].to_pylist())
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
    missing = len(wanted - present)
    text = f"{len(wanted) - missing} of {len(wanted)} images have theirs in the store"
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


def _cluster(config: Config, nodes: Sequence[Node], machine: Machine, local: bool, gpus: int) -> Iterator[Finding]:
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
        yield from _fit(
            actor_needs(asked, nodes, memory=ACTOR_MEMORY), nodes, local, machine.memory_free if local else None
        )


def _fit(wanted: ActorNeeds, nodes: Sequence[Node], local: bool, free: int | None) -> Iterator[Finding]:
    try:
        check_capacity(nodes, wanted.bundle, wanted.actors, local=local)
    except InputError as error:
        yield refused("actors", error)
        return
    has, uses = sum(node.memory for node in nodes), wanted.actors * wanted.memory
    gpu = " and 1 GPU" if wanted.bundle.get("GPU") else ""
    most = count_fitting(nodes, wanted.bundle_with_memory)
    lacks = free if free is not None and most >= wanted.actors and uses > free else None
    amount, there = unequal_sizes(uses, has if lacks is None else lacks)
    text = f"{wanted.actors} of 1 CPU{gpu} each fit; they use about {amount} of {size(has)} memory"
    text += f" ({size(wanted.memory)} each, measured with tf_efficientnet_lite0)"
    if most < wanted.actors:
        advice = f"set cluster.actors to {most} at most" if most else "use a machine with more memory"
        yield Finding("actors", "note", f"{text}: they may run out of it, and Ray then ends some", advice)
    elif lacks is not None:
        advice = "end other programs, or lower cluster.actors"
        yield Finding("actors", "note", f"{text}, but only {there} are free now", advice)
    else:
        yield Finding("actors", "ok", text)
