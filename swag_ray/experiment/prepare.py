"""Embeds and splits a source's images: the label-free experiment on one side, the audit (labels) on the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from swag_ray.cluster.workers import Workers
from swag_ray.config import Config
from swag_ray.errors import InputError
from swag_ray.experiment.source import ImageSource, split_table
from swag_ray.features.cohort import build_cohort
from swag_ray.features.index import FeatureSet, feature_set
from swag_ray.features.reader import FeatureReader
from swag_ray.features.spec import FeatureSpec
from swag_ray.images.audit import Audit, build_audit
from swag_ray.images.folders import Listing
from swag_ray.images.split import Split
from swag_ray.methods.fit import Experiment
from swag_ray.progress import Progress
from swag_ray.record.run_metrics import Dataset
from swag_ray.system.allocator import give_back_freed_memory


@dataclass(frozen=True)
class Prepared:
    """Everything an experiment starts from.

    Attributes:
        experiment: what the stages work with; label-free.
        audit: labels, for controls and evaluation alone.
        spec, features: what the features are and where.
        root: folder that the audit's test paths are relative to.
        facts: counts for the record (images, groups, skipped).
        warnings: what the user must know first.
    """

    experiment: Experiment
    audit: Audit
    spec: FeatureSpec
    features: FeatureSet
    root: Path
    facts: Dataset = field(default_factory=Dataset)
    warnings: tuple[str, ...] = ()


def prepare(source: ImageSource, workers: Workers, progress: Progress) -> Prepared:
    """Embeds a source's images and splits the readable ones.

    Raises:
        InputError: what only decoding shows: unreadable images, and what they leave behind.
    """
    config, store, spec, listing = source.config, source.store, source.spec, source.listing
    # Train and test images get shards of their own: rounds score the two differently, and read each shard once.
    table = listing.table
    order = np.argsort(pc.equal(table.column("split"), "train").to_numpy(), kind="stable")
    ordered = table.select(["path", "sha256"]).take(pa.array(order))
    paths = pc.binary_join_element_wise(str(listing.root), ordered.column("path"), "/")
    extract = partial(workers.extract, store, spec, paths)
    with progress.phase("features", f"features of {len(table)} images ({config.backbone.name})"):
        features = feature_set(store, spec, paths, ordered.column("sha256"), extract, progress)
    del ordered, paths, extract
    give_back_freed_memory()
    unreadable = _unreadable(config, listing, features)
    back = np.argsort(order)
    readable = np.flatnonzero(features.rows.shard_N[back] >= 0)
    kept, rows = table.take(pa.array(readable)), features.rows.take(back[readable])
    split = split_table(config, kept)
    cohort = build_cohort(kept, split, rows, config.split.folds, spec.fingerprint)
    audit = build_audit(kept, split)
    _check_test(audit)
    give_back_freed_memory()
    workers.use_features(store.root, spec.fingerprint, features.shards, cohort.seeds)
    experiment = Experiment(config, store, cohort, workers, progress)
    facts = _facts(listing, split, kept, unreadable)
    warnings = (*listing.warnings, *split.warnings, *_unreadable_warning(unreadable))
    return Prepared(experiment, audit, spec, features, listing.root, facts, warnings)


def feature_reader(prepared: Prepared) -> FeatureReader:
    """Reads the experiment's features in this process: for few images, never for the pool."""
    return FeatureReader(prepared.experiment.store.root, prepared.features.fingerprint, prepared.features.shards)


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
        raise InputError(f"dataset: cannot read {lines[0]}{more}", "mend or remove it, or set dataset.on_corrupt: skip")
    return lines


def _unreadable_warning(unreadable: list[str]) -> list[str]:
    if not unreadable:
        return []
    shown = "; ".join(unreadable[:5]) + (f"; and {len(unreadable) - 5} more" if len(unreadable) > 5 else "")
    return [f"{len(unreadable)} unreadable images were skipped: {shown}"]


def _check_test(audit: Audit) -> None:
    """Skipped images may have taken the last of a class with them."""
    known = audit.label_T[~np.isnan(audit.label_T)]
    if not (known == 0).any() or not (known == 1).any():
        raise InputError("dataset: the readable test images are not of both classes; nothing can be evaluated on them")


def _facts(listing: Listing, split: Split, kept: pa.Table, unreadable: list[str]) -> Dataset:
    return Dataset(
        images=len(kept),
        skipped=unreadable,
        ignored=listing.ignored,
        listing=listing.counts,
        split=split.counts,
        contamination=split.contamination,
    )
