"""A test set for a set that has none: drawn by group, of each class, the same in every run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from swag_ray.errors import InputError
from swag_ray.images.image_file import ImageFile, Rules, with_groups
from swag_ray.images.keyed import keyed_hash
from swag_ray.wording import clause, plural


def with_test_drawn(
    images: Sequence[ImageFile], rules: Rules, fraction: float, warnings: list[str]
) -> tuple[list[ImageFile], dict[str, int]]:
    """Moves groups to the test set, of each label in the order of their names' hashes, until it has its share.

    The order is no config's `random_seed`: all runs on a set share its test images.
    """
    grouped = with_groups(images, "train", rules.group)
    order = sorted({file.group for file in grouped}, key=lambda name: (keyed_hash(0, "test", name), name))
    members: dict[str, list[ImageFile]] = {name: [] for name in order}
    for file in grouped:
        members[file.group].append(file)
    drawn: set[str] = set()
    for label in (False, True):
        of_label = {name: sum(file.label is label for file in files) for name, files in members.items()}
        target = fraction * sum(of_label.values())
        count = sum(of_label[name] for name in drawn)
        for name in order:
            if count >= target:
                break
            size = of_label[name]
            if size and name not in drawn and count + size - target <= target - count:
                drawn.add(name)
                count += size
    files = [replace(file, split="test" if file.group in drawn else "train") for file in grouped]
    tests = [file for file in files if file.split == "test"]
    missing = [
        word for label, word in ((False, "normal"), (True, "anomaly")) if not any(x.label is label for x in tests)
    ]
    if missing or all(file.split == "test" for file in files):
        raise InputError(
            f"dataset.test_fraction: {fraction:g} of {plural(len(order), 'group')} gives a test set without any "
            f"{missing[0] if missing else 'image left to train on'}",
            "raise it" if missing else "lower it",
        )
    warnings.append(
        f"dataset.test_fraction: the set has no test part; {clause(len(tests), 'image', 'was', 'were')} drawn as one, "
        f"{fraction:g} of each class in whole groups, the same in every run"
    )
    return files, {"test_drawn": len(tests)}
