"""A dataset in which some of the images that are called normal are not: a folder of links to another's files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath

from swag_ray.config.sections import DatasetConfig
from swag_ray.core.seeding import numpy_generator
from swag_ray.errors import InputError
from swag_ray.images.folders import list_folder
from swag_ray.system.files import aside, make_folders


def with_wrong_seeds(dataset: DatasetConfig, share: float, target: Path) -> Path:
    """Makes a folder of links to a dataset's images, with anomalies of the train folder moved among its normals.

    As many are moved as `share` of the train normals; which ones is drawn from a generator of the share alone. The
    test folder stays as it is. A folder that is there is taken as it is: it is made whole or not at all.

    Args:
        dataset: its root, normal and anomalous classes.
        target: the new folder.

    Returns:
        The target.

    Raises:
        InputError: no such dataset, or an anomaly has the file name of a normal.
    """
    if target.is_dir():
        return target
    assert dataset.root is not None
    listing = list_folder(Path(dataset.root), normal=dataset.normal, anomaly=list(dataset.anomaly), group=None)
    rows = listing.table.select(["path", "split", "label"]).to_pylist()
    train = {
        label: sorted(r["path"] for r in rows if r["split"] == "train" and r["label"] is label)
        for label in (False, True)
    }
    count = min(round(share * len(train[False])), len(train[True]))
    generator = numpy_generator(0, "wrong seeds", share)
    moved = {train[True][i] for i in generator.choice(len(train[True]), count, replace=False)}
    normals = PurePosixPath(train[False][0]).parent
    draft = aside(target)
    try:
        for row in rows:
            path = PurePosixPath(row["path"])
            link = draft / (normals / path.name if row["path"] in moved else path)
            make_folders(link.parent)
            if link.is_symlink():
                raise InputError(f"dataset: '{path.name}' is the name of a normal and of an anomaly", "rename one")
            link.symlink_to(Path(str(listing.root)) / path)  # a local one, as `dataset.root` is
        os.rename(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target
