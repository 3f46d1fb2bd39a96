"""An image file as a kind of dataset finds it, and what of a config its listing keeps to."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from swag_ray.errors import InputError
from swag_ray.images.groups import NAMED_GROUPS, assign_patients, patients_of
from swag_ray.images.known import Content
from swag_ray.images.places import Place

OnLeak = Literal["drop", "keep", "refuse"]
SHOWN = 3  # names that a warning gives


@dataclass(frozen=True, slots=True)  # there may be millions
class ImageFile:
    """An image file as a kind of dataset finds it; what follows from its bytes is filled in later.

    Attributes:
        folder, name: where it is.
        split, class_name, kind, label: as in the table.
        role: "seed" or "pool"; None: not said, or of the test set.
        patient: whose it is, where a folder, a column or a DICOM says so.
        row: of the manifest.
        deep: whether it may hold 16 bits a sample.
        dicom: whether it is a DICOM, which exports name by the patient: its id holds nothing of its name.
    """

    folder: Place
    name: str
    split: str
    class_name: str
    label: bool | None
    role: str | None = None
    patient: str | None = None
    kind: str | None = None
    row: int = -1
    sha256: str = ""
    file_bytes: int = 0
    group: str = ""
    deep: bool = False
    dicom: bool = False

    @property
    def path(self) -> Place:
        return self.folder / self.name

    @property
    def id(self) -> str:
        if self.dicom:
            return self.sha256[:16]
        # NFC: one name has two spellings in bytes, by the system that unpacked the archive.
        return f"{unicodedata.normalize('NFC', os.path.splitext(self.name)[0])}-{self.sha256[:8]}"

    def holding(self, content: Content) -> ImageFile:
        """Returns it with what follows from its bytes."""
        # By place: `dataclasses.replace` would take a third of the time in which known files are listed.
        return ImageFile(
            self.folder, self.name, self.split, self.class_name, self.label, self.role, self.patient, self.kind,
            self.row, content.sha256, content.bytes, self.group, content.deep, content.dicom,
        )  # fmt: skip

    @property
    def digest(self) -> str | None:
        return self.sha256 if self.file_bytes else None


@dataclass(frozen=True)
class Rules:
    """What of a config a listing keeps to.

    Attributes:
        group: `split.group`: a regular expression on the file name whose first group is the patient, or one of
            NAMED_GROUPS; None: only identical bytes are grouped.
        on_leak: what becomes of test images that are in train too.
        test_fraction: share of the groups of each class that a test set is drawn of; None: nothing is drawn.
        called: field that the images came by, for messages.
    """

    group: str | None = None
    on_leak: OnLeak = "drop"
    test_fraction: float | None = None
    called: str = "dataset.root"


def require_text(folder: Place, name: str, called: str = "dataset.root") -> None:
    """Refuses a file name whose bytes are of another encoding, as old archives leave them."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(f"{called}: the file name {str(folder / name)!a} is not UTF-8", "rename the file") from None


def with_groups(images: Sequence[ImageFile], split: str, group: str | None) -> list[ImageFile]:
    """Returns the images of a split with their groups: patients, joined where bytes are identical."""
    own = [image for image in images if image.split == split]
    names = [image.name for image in own]
    patients = [image.patient for image in own] if group in NAMED_GROUPS else patients_of(names, group)
    groups = assign_patients(names, [image.digest for image in own], patients)
    return [replace(image, group=name) for image, name in zip(own, groups, strict=True)]


def first_names(images: Sequence[ImageFile]) -> str:
    """Returns the names of a few images, for a warning."""
    names = sorted(image.name for image in images)
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
