"""Embeds and splits a source's images: the label-free experiment on one side, the audit (labels) on the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from swag_ray.cluster.workers import Workers
from swag_ray.config import Config, resolved
from swag_ray.errors import InputError
from swag_ray.experiment.masks import MaskedTests, masked_tests
from swag_ray.experiment.shown_names import shown_files, shown_further, shown_ignored, shown_warnings, with_shown_ids
from swag_ray.experiment.source import ImageSource, split_table
from swag_ray.features.cohort import build_cohort, with_variants
from swag_ray.features.index import FeatureSet, feature_set
from swag_ray.features.looks import read_looks
from swag_ray.features.reader import FeatureReader
from swag_ray.features.spec import FeatureSpec
from swag_ray.features.variants import NO_VARIANTS, VariantPlan, plan_variants
from swag_ray.images.audit import Audit, build_audit
from swag_ray.images.listing import Listing
from swag_ray.images.oddities import inverted, join_twins, oddity_warnings, typical_image
from swag_ray.images.places import Place
from swag_ray.images.split import POOL, SEED, TEST, Split
from swag_ray.methods.fit import Experiment
from swag_ray.progress import Progress
from swag_ray.record.run_metrics import Dataset
from swag_ray.system.allocator import give_back_freed_memory
from swag_ray.wording import plural


@dataclass(frozen=True)
class Prepared:
    """Everything an experiment starts from.

    Attributes:
        experiment: what the stages work with; label-free.
        audit: labels, for controls and evaluation alone.
        spec, features: what the features are and where.
        root: folder that the audit's test paths are relative to.
        seed_paths, pool_paths: the seeds' and the pool's files below the root, in the cohort's order.
        further_N, further_T: a manifest's own columns of the train and test images, none where there are none.
        variants: what the auxiliary anomalies are made of.
        typical: what the seeds have in common to look at, (64,); None where that is nothing.
        masked: test images whose abnormal pixels are known, for evaluation alone; None without masks.
        facts: counts for the record (images, groups, skipped).
        warnings: what the user must know first.
    """

    experiment: Experiment
    audit: Audit
    spec: FeatureSpec
    features: FeatureSet
    root: Place
    seed_paths: pa.ChunkedArray
    pool_paths: pa.ChunkedArray
    further_N: pa.Table
    further_T: pa.Table
    variants: VariantPlan
    typical: NDArray[np.float32] | None
    masked: MaskedTests | None = None
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
    embed = partial(feature_set, store, spec, paths, ordered.column("sha256"), extract, progress)
    # Of the images as listed: their variants are extracted with them, in one go.
    plan = planned_variants(config, listing.root, table)
    with progress.phase("features", f"features of {len(table)} images ({config.backbone.name})"):
        features = embed(plan.recipes)
    give_back_freed_memory()
    unreadable = _unreadable(config, listing, features)
    back = np.argsort(order)
    readable = np.flatnonzero(features.rows.shard_N[back] >= 0)
    kept, rows = table.take(pa.array(readable)), features.rows.take(back[readable])
    looks = read_looks(FeatureReader(store.root, spec.fingerprint, features.shards), rows, kept.column("sha256"))
    kept, twin_rows, twin_lines = join_twins(kept, looks)
    split = split_table(config, kept)
    final = planned_variants(config, listing.root, kept, split)
    if final.recipes != plan.recipes:  # images that could not be read, or twins, have moved the split
        with progress.phase("features", "features of other variants"):
            features = embed(final.recipes)
    plan = final
    del ordered, paths, extract, embed
    typical = typical_image(looks.take(np.flatnonzero(split.role_N == SEED)))
    odd = _Odd(looks.blank_N, inverted(looks, typical), twin_rows)
    named = with_shown_ids(kept, config)
    cohort = build_cohort(named, split, rows, config.split.folds, spec.fingerprint)
    if plan.recipes:
        assert features.variants is not None
        cohort = with_variants(cohort, plan, features.variants)
    audit = build_audit(kept, split)
    _check_test(audit, table)
    reader = FeatureReader(store.root, spec.fingerprint, features.shards)
    masked = masked_tests(audit, config.dataset.manifest, reader, cohort.rows_T)
    give_back_freed_memory()
    workers.use_features(store.root, spec.fingerprint, features.shards, cohort.seeds)
    experiment = Experiment(config, store, cohort, workers, progress)
    facts = _facts(source, split, kept, unreadable, odd.facts())
    warnings = shown_warnings((*listing.warnings, *split.warnings, *odd.warnings(kept), *twin_lines), listing, config)
    warnings += tuple(_unreadable_warning(unreadable))
    path = kept.column("path")
    seed_paths, pool_paths = (path.take(pa.array(np.flatnonzero(split.role_N == role))) for role in (SEED, POOL))
    further = shown_further(kept, config)
    further_N, further_T = (
        further.take(pa.array(np.flatnonzero(np.isin(split.role_N, roles)))) for roles in ((SEED, POOL), (TEST,))
    )
    return Prepared(
        experiment, audit, spec, features, listing.root, seed_paths, pool_paths, further_N, further_T, plan, typical,
        masked, facts, warnings,
    )  # fmt: skip


def planned_variants(config: Config, root: Place, table: pa.Table, split: Split | None = None) -> VariantPlan:
    """Returns the auxiliary anomalies that the method makes of the seeds, in the order of the cohort.

    Args:
        split: of the table; None: the config's.
    """
    if "auxiliary" not in resolved(config) or not config.auxiliary.kind:
        return NO_VARIANTS
    split = split or split_table(config, table)
    seeds = np.flatnonzero(split.role_N == SEED)
    listed = table.select(["path", "sha256"]).take(pa.array(seeds))
    paths = pc.binary_join_element_wise(str(root), listed.column("path"), "/").to_pylist()
    files = list(zip(paths, listed.column("sha256").to_pylist(), strict=True))
    return plan_variants(
        files, split.fold_N[seeds], config.auxiliary.kind,
        per_seed=config.auxiliary.per_seed, random_seed=config.random_seed,
    )  # fmt: skip


def feature_reader(prepared: Prepared) -> FeatureReader:
    """Reads the experiment's features in this process: for few images, never for the pool."""
    return FeatureReader(prepared.experiment.store.root, prepared.features.fingerprint, prepared.features.shards)


@dataclass(frozen=True)
class _Odd:
    """What is doubtful of the readable images, (N,)."""

    blank_N: NDArray[np.bool_]
    inverted_N: NDArray[np.bool_]
    twin_rows: list[list[int]]

    def facts(self) -> dict[str, int]:
        """Counts of what there is."""
        counts = {
            "blank": int(self.blank_N.sum()),
            "inverted": int(self.inverted_N.sum()),
            "look_alikes": sum(map(len, self.twin_rows)),
        }
        return {name: count for name, count in counts.items() if count}

    def warnings(self, kept: pa.Table) -> list[str]:
        """What the user must know of them."""
        if not self.facts():
            return []
        return oddity_warnings(kept.column("path").to_pylist(), self.blank_N, self.inverted_N, self.twin_rows)


def _unreadable(config: Config, listing: Listing, features: FeatureSet) -> list[str]:
    """`path: reason` of every image that could not be read, or a refusal where the config says so."""
    if not features.errors:
        return []
    wanted = pc.is_in(listing.table.column("sha256"), pa.array(list(features.errors)))
    bad = listing.table.filter(wanted)
    reasons = [features.errors[sha] for sha in bad.column("sha256").to_pylist()]
    if config.dataset.on_corrupt == "refuse":
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        first = f"{listing.root / bad.column('path')[0].as_py()}: {reasons[0]}"
        raise InputError(f"dataset: cannot read {first}{more}", "mend or remove it, or set dataset.on_corrupt: skip")
    return [f"{file}: {reason}" for file, reason in zip(shown_files(listing, bad, config), reasons, strict=True)]


def _unreadable_warning(unreadable: list[str]) -> list[str]:
    if not unreadable:
        return []
    shown = "; ".join(unreadable[:5]) + (f"; and {len(unreadable) - 5} more" if len(unreadable) > 5 else "")
    return [
        f"{plural(len(unreadable), 'unreadable image')} {'was' if len(unreadable) == 1 else 'were'} skipped: {shown}"
    ]


def _check_test(audit: Audit, listed: pa.Table) -> None:
    """Skipped images may have taken the last of the test images or of a class of them with them."""
    labels = set(listed.filter(pc.equal(listed.column("split"), "test")).column("label").to_pylist())
    if labels and not len(audit.label_T):
        raise InputError("dataset: none of the test images can be read; nothing can be evaluated on them")
    if {False, True} <= labels and not {0.0, 1.0} <= set(audit.label_T.tolist()):
        raise InputError("dataset: the readable test images are not of both classes; nothing can be evaluated on them")


def _facts(source: ImageSource, split: Split, kept: pa.Table, unreadable: list[str], odd: dict[str, int]) -> Dataset:
    listing = source.listing
    facts = Dataset(
        images=len(kept),
        skipped=unreadable,
        ignored=shown_ignored(listing.ignored, source.config),
        listing=listing.counts,
        split=split.counts,
        contamination=split.contamination,
        blank=odd.get("blank"),
        inverted=odd.get("inverted"),
        look_alikes=odd.get("look_alikes"),
    )
    if source.grey_range:
        facts.grey_range = source.grey_range
    return facts
