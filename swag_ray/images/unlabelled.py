"""`dataset.kind: unlabelled`: a folder of trusted images, a folder of unknown ones, and perhaps a folder to test on.

Folders are searched at any depth. Nothing of the pool is known, so its labels are null; who put an image into the seed
folder said that it is normal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from swag_ray.errors import InputError
from swag_ray.images.folders import class_files, patient_folder
from swag_ray.images.groups import FOLDER_GROUP, PATIENT_GROUP, compile_pattern
from swag_ray.images.image_file import ImageFile, OnLeak, Rules, require_text
from swag_ray.images.known import KnownFiles
from swag_ray.images.layout import IMAGE_SUFFIXES, check_folder, class_folders, find_class, left_out, nested_images
from swag_ray.images.listing import Listing, build_listing
from swag_ray.images.places import Place, below, common_root


def list_unlabelled(
    seed_root: Place,
    pool_root: Place,
    test_root: Place | None = None,
    *,
    normal: str = "NORMAL",
    anomaly: Sequence[str] = (),
    group: str | None = None,
    on_leak: OnLeak = "drop",
    frames: str = "refuse",
    known: KnownFiles | None = None,
) -> Listing:
    """Lists the seeds, the pool and the test images; `images.listing` describes the table.

    Args:
        seed_root: folder of the trusted images; all of them are seeds.
        pool_root: folder of the others.
        test_root: folder of test images: in class folders where their labels are known, one class of which suffices, or
            as they are.
        normal, anomaly: names of the class folders of `test_root`.
        group: regular expression on the file name, its first group the patient; "folder": the folder below these three
            that an image is in, by its name; "patient_id": a DICOM's; None: only identical bytes are grouped.
        on_leak: what becomes of test images that are among seeds or pool too.
        frames: "all" makes an image of each frame of a DICOM of several.
        known: files that need not be read.

    Raises:
        InputError: one line that names the field, what is wrong and what to do.
    """
    if group is not None and group not in (FOLDER_GROUP, PATIENT_GROUP):
        compile_pattern(group)
    given = {"dataset.seed_root": seed_root, "dataset.pool_root": pool_root, "dataset.test_root": test_root}
    roots = {called: _absolute(root) for called, root in given.items() if root is not None}
    for called, root in roots.items():
        check_folder(root, called, "give a folder of images")
    _check_apart(roots)
    ignored: Counter[str] = Counter()
    images = []
    for called, role in (("dataset.seed_root", "seed"), ("dataset.pool_root", "pool")):
        images += _files(roots[called], called, ignored, role=role, label=False if role == "seed" else None)
    if test_root is not None:
        images += _test_files(roots["dataset.test_root"], normal, anomaly, ignored)
    folders = tuple(roots.values())
    rules = Rules(group, on_leak, called="dataset", frames=frames)
    root = common_root(folders, "dataset.pool_root")
    return build_listing(root, images, rules, ignored=ignored, folders=folders, known=known)


def _absolute(root: Place) -> Place:
    return root.expanduser().absolute() if isinstance(root, Path) else root


def _check_apart(roots: dict[str, Place]) -> None:
    for called, root in roots.items():
        for other, holder in roots.items():
            try:
                within = called != other and below(holder, root) is not None
            except ValueError:
                continue
            if within:
                raise InputError(f"{called}: {root} lies in {other} ({holder})", "give folders apart from each other")


def _files(root: Place, called: str, ignored: Counter[str], *, role: str | None, label: bool | None) -> list[ImageFile]:
    tally: Counter[str] = Counter()
    found = nested_images(root, tally, called)
    if not found:
        seen = f"no image, only {held}" if (held := left_out(tally)) else "no image"
        raise InputError(f"{called}: {root} holds {seen}", f"put {', '.join(IMAGE_SUFFIXES)} files into it")
    ignored.update({reason: count for reason, count in tally.items() if count})
    for folder, name in found:
        require_text(folder, name, called)
    split = "train" if role else "test"
    return [
        ImageFile(folder, name, split, role or "test", label, role, patient_folder(root, folder))
        for folder, name in found
    ]


def _test_files(root: Place, normal: str, anomaly: Sequence[str], ignored: Counter[str]) -> list[ImageFile]:
    """The test images, by class where `root` has one of the class folders; else of no known label."""
    called = "dataset.test_root"
    classes = {normal: False} | dict.fromkeys(anomaly, True)
    held = class_folders(root)
    if any(find_class(root, name) for name in classes):
        others = [name for name in held if name.casefold() not in {known.casefold() for known in classes}]
        if others and not anomaly:
            raise InputError(
                f"dataset.anomaly: {root} has {', '.join(others)} beside {normal}", "name those that are anomalies"
            )
        return class_files(root, "test", classes, ignored, nested=True, called=called)
    if anomaly:
        found = ", ".join(held) or "none"
        raise InputError(
            f"{called}: {root} has no class folder {' or '.join(classes)} (dataset.normal, dataset.anomaly)",
            f"it has: {found}",
        )
    return _files(root, called, ignored, role=None, label=None)
