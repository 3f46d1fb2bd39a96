"""The images of a config: one function for each `dataset.kind`, which lists them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from swag_ray.config import Config
from swag_ray.images.folders import list_folder
from swag_ray.images.known import KnownFiles
from swag_ray.images.listing import Listing
from swag_ray.images.manifest import list_manifest
from swag_ray.images.places import Place, locate
from swag_ray.images.unlabelled import list_unlabelled
from swag_ray.store.stages import digest
from swag_ray.store.store import Store


def list_images(config: Config, store: Store, known: KnownFiles | None = None) -> Listing:
    """Lists the images of the config's dataset.

    Args:
        known: files that need not be read.

    Raises:
        InputError: what is wrong with them, in one line.
    """
    return KINDS[config.dataset.kind](config, store, known)


def _folder(config: Config, store: Store, known: KnownFiles | None) -> Listing:
    d = config.dataset
    return list_folder(
        _given(d.root, "root"), normal=d.normal, anomaly=d.anomaly, group=config.split.group,
        train=d.train, test=d.test, test_fraction=d.test_fraction, on_leak=d.on_leak, frames=d.frames, known=known,
    )  # fmt: skip


def _unlabelled(config: Config, store: Store, known: KnownFiles | None) -> Listing:
    d = config.dataset
    return list_unlabelled(
        _given(d.seed_root, "seed_root"), _given(d.pool_root, "pool_root"),
        None if d.test_root is None else _given(d.test_root, "test_root"),
        normal=d.normal, anomaly=d.anomaly, group=config.split.group, on_leak=d.on_leak, frames=d.frames, known=known,
    )  # fmt: skip


def _manifest(config: Config, store: Store, known: KnownFiles | None) -> Listing:
    d = config.dataset
    return list_manifest(
        _given(d.manifest, "manifest"), normal=d.normal, anomaly=d.anomaly, group=config.split.group,
        test_fraction=d.test_fraction, on_leak=d.on_leak, frames=d.frames, known=known,
    )  # fmt: skip


def _digit_anatomy(config: Config, store: Store, known: KnownFiles | None) -> Listing:
    """DigitAnatomy is generated once, beside the store's other data."""
    from swag_ray.images.digit_anatomy import MARKER, Sizes, generate, list_digit_anatomy

    drawn = config.dataset.digit_anatomy.model_dump()
    # An object store keeps no image files: there the drawing stays on the driver's disk.
    place = store if store.local else Store("~/.cache/swag-ray")
    target = Path(place.path("datasets", f"digit-anatomy-{digest(drawn)}"))
    random_seed = drawn.pop("random_seed")
    try:
        generate(target, random_seed=random_seed, sizes=Sizes(**drawn))
    except OSError as error:
        raise place.storage_error(error) from error
    place.touch(str(target / MARKER))
    return list_digit_anatomy(target)


def _given(place: str | None, name: str) -> Place:
    assert place is not None, f"dataset.{name} is required"
    return locate(place, f"dataset.{name}")


KINDS: dict[str, Callable[[Config, Store, KnownFiles | None], Listing]] = {
    "folder": _folder,
    "unlabelled": _unlabelled,
    "manifest": _manifest,
    "digit_anatomy": _digit_anatomy,
}
