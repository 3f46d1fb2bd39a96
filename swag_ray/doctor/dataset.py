"""What the images of a config are: `swag-ray datasets check CONFIG`."""

from __future__ import annotations

from swag_ray.config import Config
from swag_ray.experiment.datasets import list_images
from swag_ray.images.check import Description, describe
from swag_ray.images.decode import Reading
from swag_ray.store.store import Store


def describe_dataset(config: Config) -> Description:
    """Lists and decodes the images of a config and tries its split.

    Raises:
        InputError: what is wrong with the dataset, in one line.
    """
    dataset = config.dataset
    return describe(
        list_images(config, Store(config.store)),
        seed_fraction=config.split.seed_fraction,
        folds=config.split.folds,
        contamination=dataset.contamination,
        random_seed=config.random_seed,
        false_positive_rate=config.calibration.false_positive_rate,
        reading=Reading(range=dataset.range, frames=dataset.frames),
    )
