"""Images of identical bytes in a set: under both labels, by one name, among seeds and pool, in train and test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from swag_ray.errors import InputError
from swag_ray.images.image_file import ImageFile, Rules, first_names
from swag_ray.wording import clause


def without_doubles(
    images: Sequence[ImageFile], rules: Rules, warnings: list[str]
) -> tuple[list[ImageFile], dict[str, int]]:
    """Leaves out images whose bytes are both normal and anomaly in one split, then files that repeat an id. All of it
    is about files: to be asked before their frames become images.
    """
    held = {label: {(x.split, x.digest) for x in images if x.digest and x.label is label} for label in (False, True)}
    both = held[False] & held[True]
    # An image with both labels has no label: as a seed it would teach an anomaly, as a test image it cannot be right.
    contradictory = [image for image in images if (image.split, image.digest) in both]
    agreed = [image for image in images if (image.split, image.digest) not in both]
    del held
    if contradictory:
        what = clause(len(contradictory), "file", "is", "are")
        warnings.append(
            f"{rules.called}: {what} left out, identical images stand under both labels "
            f"(for instance {contradictory[0].name} in {contradictory[0].split})"
        )
    kept: dict[tuple[str, str], ImageFile] = {}
    for image in agreed:
        kept.setdefault((image.split, image.id), image)
    copies = Counter((image.split, image.digest) for image in kept.values() if image.digest)
    counts = {
        "contradictory_images": len(contradictory),
        "same_id_files": len(agreed) - len(kept),
        "identical_in_split": sum(count for count in copies.values() if count > 1),
    }
    seeds = {image.digest for image in kept.values() if image.role == "seed"} - {None}
    twice = [image for image in kept.values() if image.role == "pool" and image.digest in seeds]
    if twice:
        counts["seeds_in_pool"] = len(twice)
        warnings.append(
            f"{rules.called}: {clause(len(twice), 'pool image', 'is a seed', 'are seeds')} too (identical bytes: "
            f"{first_names(twice)}); they are scored as any other, by models that have not seen them"
        )
    return list(kept.values()), counts


def without_leaks(
    images: Sequence[ImageFile], rules: Rules, warnings: list[str]
) -> tuple[list[ImageFile], dict[str, int]]:
    """Does with test images that are in train too, byte for byte, what `dataset.on_leak` says."""
    train = {file.digest for file in images if file.split == "train"} - {None}
    leaked = [file for file in images if file.split == "test" and file.digest in train]
    counts = {"in_train_and_test": len({(file.digest, file.frame) for file in leaked})}
    if not leaked:
        return list(images), counts
    what = f"{rules.called}: {clause(len(leaked), 'test image', 'is', 'are')} also in train (identical bytes: "
    what += f"{first_names(leaked)})"
    if rules.on_leak == "refuse":
        raise InputError(f"dataset.on_leak: {what}", "remove them from one, or set dataset.on_leak: drop")
    if rules.on_leak == "keep":
        warnings.append(f"{what} and are kept, as dataset.on_leak says; they make the figures better than they are")
        return list(images), counts
    warnings.append(f"{what} and are left out of test; dataset.on_leak: keep would keep them")
    dropped = {id(file) for file in leaked}
    kept = [file for file in images if id(file) not in dropped]
    for label, word in ((False, "normals"), (True, "anomalies")):
        if any(file.label is label for file in leaked) and not any(
            file.label is label and file.split == "test" for file in kept
        ):
            raise InputError(f"dataset.on_leak: all {word} of test are also in train", "give test images of their own")
    return kept, counts | {"left_out_of_test": len(leaked)}
