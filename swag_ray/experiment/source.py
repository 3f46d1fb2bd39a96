"""What is known of an experiment before any feature is there: its images, listed and checked."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from swag_ray.config import Config
from swag_ray.errors import InputError
from swag_ray.experiment.datasets import list_images
from swag_ray.experiment.known_files import known_files
from swag_ray.features.spec import FeatureSpec
from swag_ray.images.decode import FULL_WHITE
from swag_ray.images.deep import bits_in_use, range_warnings, white_of
from swag_ray.images.listing import Listing
from swag_ray.images.split import Split, flagging_warnings, make_split
from swag_ray.models.fold_bank import bank_rows
from swag_ray.progress import Progress
from swag_ray.store.stages import Result, digest, stage_key
from swag_ray.store.store import Store
from swag_ray.system.allocator import give_back_freed_memory


@dataclass(frozen=True)
class ImageSource:
    """Images of an experiment, listed and checked, before any feature is there.

    Attributes:
        config: the experiment's.
        store: where its stages are kept.
        spec: what its features depend on.
        listing: its images.
        grey_range: of the 16-bit images: how many, bits in use, greatest sample; empty where there are none.
    """

    config: Config
    store: Store
    spec: FeatureSpec
    listing: Listing
    grey_range: dict[str, int]


def check_source(config: Config, progress: Progress) -> ImageSource:
    """Lists the images and checks everything that needs no features. Fails before Ray starts.

    Raises:
        InputError: anything about the dataset, the split, the weights or the store that stops the run.
    """
    store = Store(config.store)
    store.check_writable()
    spec = feature_spec(config)
    with progress.phase("list", "listing images"):
        give_back_freed_memory()
        with known_files(config, store) as known:
            listing = list_images(config, store, known)
        give_back_freed_memory()
    split_table(config, listing.table)
    give_back_freed_memory()
    listing, grey_range = with_grey_range(listing, store, progress)
    spec = replace(spec, white=grey_range.get("white", FULL_WHITE))
    return ImageSource(config, store, spec, listing, grey_range)


def with_grey_range(listing: Listing, store: Store, progress: Progress) -> tuple[Listing, dict[str, int]]:
    """Returns the listing with what is to be said of its 16-bit images, and their range: images, bits, white.

    Their samples are decoded once for a set and store, in threads of this process.
    """
    if not listing.deep:
        return listing, {}
    key, paths = _deep_images(listing)

    def compute() -> Result:
        with progress.phase("range", f"grey range of {len(paths)} images of 16 bits"):
            progress.expect(len(paths))
            files = [listing.root / path for path in paths]
            return Result({"bits": bits_in_use(files, threads=os.cpu_count() or 1, advance=progress.advance)})

    bits_N = store.stage("range", key, compute).arrays["bits"]
    if not bits_N.any():
        return listing, {}
    white = white_of(bits_N)
    found = {"images": int(np.count_nonzero(bits_N)), "bits": white.bit_length(), "white": white}
    return replace(listing, warnings=(*listing.warnings, *range_warnings(paths, bits_N, white))), found


def stored_white(listing: Listing, store: Store) -> int:
    """Returns the greatest sample of the listing's 16-bit images if a run has looked for it, else that of 16 bits."""
    found = store.load("range", _deep_images(listing)[0]) if listing.deep else None
    return white_of(found.arrays["bits"]) if found is not None else FULL_WHITE


def _deep_images(listing: Listing) -> tuple[str, list[str]]:
    """The key of the range stage, and the paths below the root of what may hold 16 bits a sample."""
    deep = listing.table.select(["path", "sha256"]).take(pa.array(listing.deep))
    return stage_key("range", {"images": digest(deep.column("sha256"))}), deep.column("path").to_pylist()


def split_table(config: Config, table: pa.Table) -> Split:
    """The config's split of these images, with what its warnings say of the calibration too.

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
            f"score.neighbours: {wanted} is more than the smallest memory bank's rows, {rows} (of {seeds} seeds)",
            f"set it to {rows} at most, or raise memory.coreset_ratio, memory.max_rows or split.seed_fraction",
        )
    words = [*split.warnings, *flagging_warnings(split.counts, config.calibration.false_positive_rate)]
    return replace(split, warnings=tuple(words))


def feature_spec(config: Config) -> FeatureSpec:
    """What the config's features depend on. Raises InputError when the weights cannot be had."""
    from swag_ray.features.weights import check_weights, weights_digest

    b, dataset = config.backbone, config.dataset
    check_weights(b.name, b.weights)
    return FeatureSpec(
        b.name, b.weights, weights_digest(b.name, b.weights), b.image_size, b.strides, b.grid,
        range=dataset.range, frames=dataset.frames,
    )  # fmt: skip
