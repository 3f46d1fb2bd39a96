"""`dataset.kind: folder`: lists ROOT/train|test/CLASS/image, or ROOT/CLASS/image and a test set drawn from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from swag_ray.errors import InputError
from swag_ray.images.groups import FOLDER_GROUP, PATIENT_GROUP, compile_pattern
from swag_ray.images.image_file import ImageFile, OnLeak, Rules, require_text
from swag_ray.images.known import KnownFiles
from swag_ray.images.layout import (
    IMAGE_SUFFIXES,
    Layout,
    class_folders,
    class_images,
    find_class,
    find_layout,
    find_undivided,
    left_out,
    nested_images,
)
from swag_ray.images.listing import Listing, build_listing
from swag_ray.images.places import Place, below

NESTED_GROUPS = (FOLDER_GROUP, PATIENT_GROUP)  # with these, images may lie in folders of a class folder


def list_folder(
    root: Place,
    *,
    normal: str,
    anomaly: Sequence[str],
    group: str | None,
    train: str | None = None,
    test: str | None = None,
    test_fraction: float | None = None,
    on_leak: OnLeak = "drop",
    frames: str = "refuse",
    known: KnownFiles | None = None,
) -> Listing:
    """Lists `root`; `images.listing` describes the table, `images.layout` what a root may look like.

    Args:
        root: the folder that holds train/ and test/, or one up to three folders above it.
        normal: class folder of the normal images.
        anomaly: class folders of the anomalies. One may be missing from train or from test, not from both.
        group: regular expression on the file name, its first group the patient; "folder": the folder in the class
            folder that the image is in; "patient_id": a DICOM's, folders in class folders searched; None: only
            identical bytes are grouped.
        train, test: names of the two folders; None: the usual ones.
        test_fraction: share of the groups that a test set is drawn of, where there is no test folder.
        on_leak: what becomes of test images that are in train too.
        frames: "all" makes an image of each frame of a DICOM of several.
        known: files that need not be read.

    Raises:
        InputError: one line that names dataset.root, dataset.anomaly or split.group, what is wrong and what to do.
    """
    if group is not None and group not in NESTED_GROUPS:
        compile_pattern(group)
    classes = _classes(normal, anomaly)
    root = root.expanduser().absolute() if isinstance(root, Path) else root
    if test_fraction is None:
        layout = find_layout(root, train=train, test=test)
    else:
        layout = find_undivided(root, normal, train=train)
    ignored = Counter(layout.ignored)
    warnings: list[str] = []
    images: list[ImageFile] = []
    for split, folder in _parts(layout).items():
        images += class_files(folder, split, classes, ignored, nested=group in NESTED_GROUPS)
    _check_classes(images, layout, classes, warnings)
    rules = Rules(group, on_leak, test_fraction, frames=frames)
    return build_listing(root, images, rules, ignored=ignored, warnings=warnings, known=known)


def class_files(
    folder: Place,
    split: str,
    classes: dict[str, bool],
    ignored: Counter[str],
    *,
    nested: bool,
    called: str = "dataset.root",
) -> list[ImageFile]:
    """Returns the images of the class folders of a part.

    Args:
        classes: class name -> whether it is anomalous; one that has no folder is left out.
        ignored: other classes are added to it, and files that are no images.
        nested: whether folders of a class folder are searched, and are patients.
        called: field that names the folder.

    Raises:
        InputError: a class folder without any image.
    """
    images, used = [], set()
    for name, label in classes.items():
        found = find_class(folder, name)
        if found is None:
            continue
        used.add(found)
        tally: Counter[str] = Counter()
        if nested:
            files = nested_images(found, tally, called)
        else:
            files = [(found, file) for file in class_images(found, tally)]
        if not files:
            seen = f"no image, only {held}" if (held := left_out(tally)) else "no image"
            raise InputError(f"{called}: {found} holds {seen}", f"put {', '.join(IMAGE_SUFFIXES)} files into it")
        for place, file in files:
            require_text(place, file, called)
        ignored.update({reason: count for reason, count in tally.items() if count})
        patients = {place: patient_folder(found, place) for place in dict.fromkeys(place for place, _ in files)}
        images += [ImageFile(place, file, split, name, label, patient=patients[place]) for place, file in files]
    for name, other in class_folders(folder).items():
        if other not in used:
            ignored[f"class {split}/{name}"] += len(class_images(other, Counter()))
    return images


def patient_folder(top: Place, folder: Place) -> str | None:
    """Returns the folder of `top` that a folder is in, for `split.group: folder`; None for `top` itself.

    The first below it, not the last: a patient's studies and series are folders within his.
    """
    return below(top, folder).split("/")[0] or None


def _parts(layout: Layout) -> dict[str, Place]:
    return {"train": layout.train} | ({"test": layout.test} if layout.test is not None else {})


def _classes(normal: str, anomaly: Sequence[str]) -> dict[str, bool]:
    """Class name -> label."""
    if isinstance(anomaly, str) or not anomaly:
        raise InputError(
            f"dataset.anomaly: {anomaly!r} is no list of class folders", "give at least one name in a list"
        )
    folded = Counter(name.casefold() for name in (normal, *anomaly))
    twice = [name for name in anomaly if folded[name.casefold()] > 1]
    if twice:
        raise InputError(
            f"dataset.anomaly: {twice[0]} is named twice, or is dataset.normal too", "name each class once"
        )
    return {normal: False} | dict.fromkeys(anomaly, True)


def _check_classes(images: Sequence[ImageFile], layout: Layout, classes: dict[str, bool], warnings: list[str]) -> None:
    train, test = layout.train, layout.test
    held = {(image.split, image.class_name) for image in images}
    normal = next(name for name, label in classes.items() if not label)
    anomalies = [name for name, label in classes.items() if label]
    if ("train", normal) not in held:
        found = ", ".join(class_folders(train)) or "none"
        raise InputError(f"dataset.root: {train} has no class folder {normal} (dataset.normal)", f"it has: {found}")
    parts = list(_parts(layout))
    for name in anomalies:
        if not any((split, name) in held for split in parts):
            found = ", ".join(class_folders(train)) or "none"
            where = f"{train} or {test}" if test is not None else str(train)
            raise InputError(f"dataset.anomaly: no class folder {name} in {where}", f"train has: {found}")
    if test is None:
        return
    if ("test", normal) not in held:
        raise InputError(f"dataset.root: {test} has one class only, no folder {normal}", "an AUROC needs test normals")
    if not any(("test", name) in held for name in anomalies):
        wanted = " or ".join(anomalies)
        raise InputError(
            f"dataset.root: {test} has one class only, no folder {wanted}", "an AUROC needs test anomalies"
        )
    for name in anomalies:
        for split in parts:
            if (split, name) not in held:
                warnings.append(f"dataset.anomaly: {split} has no class folder {name}")
