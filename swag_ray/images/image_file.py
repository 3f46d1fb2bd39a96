"""An image file as a kind of dataset finds it, and what of a config its listing keeps to."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from swag_ray.errors import InputError
from swag_ray.images.frames import frame_digest, frame_id, frame_name
from swag_ray.images.groups import NAMED_GROUPS, assign_patients, patients_of
from swag_ray.images.known import Content
from swag_ray.images.places import Place

OnLeak = Literal["drop", "keep", "refuse"]
SHOWN = 3  # names that a warning gives


@dataclass(frozen=True, slots=True)  # there may be millions
class ImageFile:
    """An image file as a kind of dataset finds it, or a frame of it; what follows from its bytes is filled in later.

    Attributes:
        folder, name: where it is.
        split, class_name, kind, label: as in the table.
        role: "seed" or "pool"; None: not said, or of the test set.
        patient: whose it is, where a folder, a column or a DICOM says so.
        row: of the manifest.
        deep: whether it may hold 16 bits a sample.
        sha256, file_bytes: of the file, whatever frame of it this is.
        dicom: whether it is a DICOM, which exports name by the patient: its id holds nothing of its name.
        frame: which of the file's frames, from 1; None: the file is one image.
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
    frame: int | None = None

    @property
    def path(self) -> Place:
        return self.folder / self.name

    @property
    def id(self) -> str:
        return image_id(self.name, self.sha256, dicom=self.dicom, frame=self.frame)

    @property
    def image_name(self) -> str:
        """What the table calls it, without its folder."""
        return self.name if self.frame is None else frame_name(self.name, self.frame)

    @property
    def image_sha256(self) -> str:
        """What the table calls its `sha256`."""
        return self.sha256 if self.frame is None else frame_digest(self.sha256, self.frame)

    @property
    def begins_file(self) -> bool:
        """Whether it is the first image of its file."""
        return self.frame in (None, 1)

    def holding(self, content: Content) -> ImageFile:
        """Returns it with what follows from its bytes."""
        # By place: `dataclasses.replace` would take a third of the time in which known files are listed.
        return ImageFile(
            self.folder, self.name, self.split, self.class_name, self.label, self.role, self.patient, self.kind,
            self.row, content.sha256, content.bytes, self.group, content.deep, content.dicom, self.frame,
        )  # fmt: skip

    def in_group(self, group: str) -> ImageFile:
        """Returns it with its group."""
        return ImageFile(
            self.folder, self.name, self.split, self.class_name, self.label, self.role, self.patient, self.kind,
            self.row, self.sha256, self.file_bytes, group, self.deep, self.dicom, self.frame,
        )  # fmt: skip

    @property
    def digest(self) -> str | None:
        """Of its file: what tells copies; None of an empty file."""
        return self.sha256 if self.file_bytes else None


def image_id(name: str, sha256: str, *, dicom: bool = False, frame: int | None = None) -> str:
    """Returns what an image is called: the stem of its file's name and 8 hex digits of the file's SHA-256; of a DICOM,
    whose name may be a person's, 16 digits alone, and the frame's number behind them.
    """
    if frame is not None:
        return frame_id(sha256, frame)
    if dicom:
        return sha256[:16]
    # NFC: one name has two spellings in bytes, by the system that unpacked the archive.
    return f"{unicodedata.normalize('NFC', os.path.splitext(name)[0])}-{sha256[:8]}"


@dataclass(frozen=True)
class Rules:
    """What of a config a listing keeps to.

    Attributes:
        group: `split.group`: a regular expression on the file name whose first group is the patient, or one of
            NAMED_GROUPS; None: only identical bytes are grouped.
        on_leak: what becomes of test images that are in train too.
        test_fraction: share of the groups of each class that a test set is drawn of; None: nothing is drawn.
        called: field that the images came by, for messages.
        frames: of a DICOM of several frames, "all" makes an image of each.
    """

    group: str | None = None
    on_leak: OnLeak = "drop"
    test_fraction: float | None = None
    called: str = "dataset.root"
    frames: str = "refuse"


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
    return [image.in_group(name) for image, name in zip(own, groups, strict=True)]


def first_names(images: Sequence[ImageFile]) -> str:
    """Returns the names of the files of a few images, for a warning."""
    names = sorted(image.name for image in images if image.begins_file)
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
