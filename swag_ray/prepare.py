"""From a config to images that can be worked with: list, embed, split; the label-free cohort on one side, the audit
on the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from swag_ray.cluster.features import FeatureSet, feature_set
from swag_ray.cluster.workers import Workers
from swag_ray.config import Config
from swag_ray.core.allocator import give_back_freed_memory
from swag_ray.data.cohort import Audit, build_cohort
from swag_ray.data.features import FeatureReader, FeatureSpec
from swag_ray.data.folders import Listing, list_folder
from swag_ray.data.split import Split, make_split
from swag_ray.errors import InputError
from swag_ray.fits import Lab
from swag_ray.methods.patch_bank import bank_rows
from swag_ray.progress import Progress
from swag_ray.stages import Store, digest


@dataclass(frozen=True)
class Prepared:
    """Everything an experiment starts from.

    Attributes:
        lab: what the stages work with; label-free.
        audit: labels, for controls and evaluation alone.
        spec, features: what the features are and where.
        root: folder that the audit's test paths are relative to.
        facts: counts for the record (images, groups, skipped).
        warnings: what the user must know first.
    """

    lab: Lab
    audit: Audit
    spec: FeatureSpec
    features: FeatureSet
    root: Path
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """What is known before any feature is there, and found to be enough for an experiment."""

    config: Config
    store: Store
    spec: FeatureSpec
    listing: Listing


def look(config: Config, progress: Progress) -> Source:
    """List the images, and refuse here, before Ray starts and anything is computed, what no feature would mend.

    Raises:
        InputError: anything about the dataset, the split, the weights or the store that stops the run.
    """
    store = Store(config.store)
    store.check_writable()
    spec = feature_spec(config)
    with progress.phase("list", "listing images"):
        give_back_freed_memory()
        listing = list_images(config, store)
        give_back_freed_memory()
    split_table(config, listing.table)
    give_back_freed_memory()
    return Source(config, store, spec, listing)


def prepare(source: Source, workers: Workers, progress: Progress) -> Prepared:
    """Have the features of a source's images, and split the readable ones.

    Raises:
        InputError: what only decoding shows: unreadable images, and what they leave behind.
    """
    config, store, spec, listing = source.config, source.store, source.spec, source.listing
    # Train and test images get shards of their own: rounds score the two differently, and read each shard once.
    table = listing.table
    order = np.argsort(pc.equal(table.column("split"), "train").to_numpy(), kind="stable")
    ordered = table.select(["path", "sha256"]).take(pa.array(order))
    paths = pc.binary_join_element_wise(str(listing.root), ordered.column("path"), "/")
    session = partial(workers.extraction, store.root, paths)
    with progress.phase("features", f"features of {len(table)} images ({config.backbone.name})"):
        features = feature_set(
            store, spec, paths, ordered.column("sha256"), session, progress.advance, progress.expect
        )  # fmt: skip
    del ordered, paths, session
    give_back_freed_memory()
    unreadable = _unreadable(config, listing, features)
    back = np.argsort(order)
    readable = np.flatnonzero(features.rows.shard_N[back] >= 0)
    kept, rows = table.take(pa.array(readable)), features.rows.take(back[readable])
    split = split_table(config, kept)
    cohort, audit = build_cohort(kept, split, rows, config.split.folds, spec.fingerprint)
    _check_test(audit)
    give_back_freed_memory()
    workers.attach(store.root, spec.fingerprint, features.shards, cohort.seeds)
    lab = Lab(config, store, cohort, workers, progress)
    facts = _facts(listing, split, kept, unreadable)
    warnings = (*listing.warnings, *split.warnings, *_unreadable_warning(unreadable))
    return Prepared(lab, audit, spec, features, listing.root, facts, warnings)


def split_table(config: Config, table: pa.Table) -> Split:
    """The config's split of these images.

    Raises:
        InputError: a setting that these images cannot serve, or seeds too few for a bank that can be scored by.
    """
    split = make_split(
        table, seed_fraction=config.split.seed_fraction, folds=config.split.folds,
        contamination=config.dataset.contamination, random_seed=config.random_seed,
    )  # fmt: skip
    seeds = split.counts["seed"] - max(split.fold_seeds)
    memory, wanted = config.memory, config.score.neighbours
    rows = bank_rows(seeds * config.backbone.grid**2, memory.coreset_ratio, memory.max_rows)
    if rows < wanted:
        raise InputError(
            f"score.neighbours: {wanted} is more than the smallest memory bank's rows, {rows} (of {seeds} seeds); "
            f"set it to {rows} at most, or raise memory.coreset_ratio, memory.max_rows or split.seed_fraction"
        )
    return split


def feature_spec(config: Config) -> FeatureSpec:
    """What the config's features depend on. Raises InputError when the weights cannot be had."""
    from swag_ray.core.weights import check_weights, weights_digest

    b = config.backbone
    check_weights(b.name, b.weights)
    return FeatureSpec(b.name, b.weights, weights_digest(b.name, b.weights), b.image_size, b.strides, b.grid)


def feature_reader(prepared: Prepared) -> FeatureReader:
    """Reads the experiment's features in this process: for few images, never for the pool."""
    return FeatureReader(prepared.lab.store.root, prepared.features.fingerprint, prepared.features.shards)


def list_images(config: Config, store: Store) -> Listing:
    """The images of the config's dataset; DigitAnatomy is generated once, beside the store's other data."""
    if config.dataset.kind == "digit_anatomy":
        from swag_ray.data.digit_anatomy import Sizes, generate, list_digit_anatomy

        drawn = config.dataset.digit_anatomy.model_dump()
        # An object store keeps no image files: there the drawing stays on the driver's disk.
        place = store if store.local else Store("~/.cache/swag-ray")
        target = Path(place.path("datasets", f"digit-anatomy-{digest(drawn)}"))
        random_seed = drawn.pop("random_seed")
        try:
            generate(target, random_seed=random_seed, sizes=Sizes(**drawn))
        except OSError as error:
            raise place.unusable(error) from error
        return list_digit_anatomy(target)
    assert config.dataset.root is not None
    return list_folder(
        Path(config.dataset.root),
        normal=config.dataset.normal,
        anomaly=config.dataset.anomaly,
        group=config.split.group,
    )


def _unreadable(config: Config, listing: Listing, features: FeatureSet) -> list[str]:
    """`path: reason` of every image that could not be read, or a refusal where the config says so."""
    if not features.errors:
        return []
    wanted = pc.is_in(listing.table.column("sha256"), pa.array(list(features.errors)))
    bad = listing.table.filter(wanted)
    lines = [
        f"{listing.root / path}: {features.errors[sha]}"
        for path, sha in zip(bad.column("path").to_pylist(), bad.column("sha256").to_pylist(), strict=True)
    ]
    if config.dataset.on_corrupt == "refuse":
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise InputError(f"dataset: cannot read {lines[0]}{more}; mend or remove it, or set dataset.on_corrupt: skip")
    return lines


def _unreadable_warning(unreadable: list[str]) -> list[str]:
    if not unreadable:
        return []
    shown = "; ".join(unreadable[:5]) + ("; ..." if len(unreadable) > 5 else "")
    return [f"{len(unreadable)} unreadable images were skipped: {shown}"]


def _check_test(audit: Audit) -> None:
    """Skipped images may have taken the last of a class with them."""
    known = audit.label_T[~np.isnan(audit.label_T)]
    if not (known == 0).any() or not (known == 1).any():
        raise InputError("dataset: the readable test images are not of both classes; nothing can be evaluated on them")


def _facts(listing: Listing, split: Split, kept: pa.Table, unreadable: list[str]) -> dict[str, Any]:
    return {
        "images": len(kept),
        "skipped": unreadable,
        "ignored": dict(listing.ignored),
        "listing": dict(listing.counts),
        "split": dict(split.counts),
        "contamination": split.contamination,
    }
