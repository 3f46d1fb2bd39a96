"""What is known of an experiment before any feature is there: its images, listed and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from swag_ray.config import Config
from swag_ray.errors import InputError
from swag_ray.features.spec import FeatureSpec
from swag_ray.images.folders import Listing, list_folder
from swag_ray.images.split import Split, make_split
from swag_ray.models.fold_bank import bank_rows
from swag_ray.progress import Progress
from swag_ray.store.stages import digest
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
    """

    config: Config
    store: Store
    spec: FeatureSpec
    listing: Listing


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
        listing = list_images(config, store)
        give_back_freed_memory()
    split_table(config, listing.table)
    give_back_freed_memory()
    return ImageSource(config, store, spec, listing)


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
            f"score.neighbours: {wanted} is more than the smallest memory bank's rows, {rows} (of {seeds} seeds)",
            f"set it to {rows} at most, or raise memory.coreset_ratio, memory.max_rows or split.seed_fraction",
        )
    return split


def feature_spec(config: Config) -> FeatureSpec:
    """What the config's features depend on. Raises InputError when the weights cannot be had."""
    from swag_ray.features.weights import check_weights, weights_digest

    b = config.backbone
    check_weights(b.name, b.weights)
    return FeatureSpec(b.name, b.weights, weights_digest(b.name, b.weights), b.image_size, b.strides, b.grid)


def list_images(config: Config, store: Store) -> Listing:
    """The images of the config's dataset; DigitAnatomy is generated once, beside the store's other data."""
    if config.dataset.kind == "digit_anatomy":
        from swag_ray.images.digit_anatomy import Sizes, generate, list_digit_anatomy

        drawn = config.dataset.digit_anatomy.model_dump()
        # An object store keeps no image files: there the drawing stays on the driver's disk.
        place = store if store.local else Store("~/.cache/swag-ray")
        target = Path(place.path("datasets", f"digit-anatomy-{digest(drawn)}"))
        random_seed = drawn.pop("random_seed")
        try:
            generate(target, random_seed=random_seed, sizes=Sizes(**drawn))
        except OSError as error:
            raise place.storage_error(error) from error
        return list_digit_anatomy(target)
    assert config.dataset.root is not None
    return list_folder(
        Path(config.dataset.root),
        normal=config.dataset.normal,
        anomaly=config.dataset.anomaly,
        group=config.split.group,
    )
