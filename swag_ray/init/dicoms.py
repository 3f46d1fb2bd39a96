"""What the DICOM among some images are: whose, by digests of PatientID and never the id itself, and how to be read."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from swag_ray.images.decode import MAX_PIXELS
from swag_ray.images.dicom import HEAD, is_dicom, require_pydicom
from swag_ray.images.dicom_frames import count_frames
from swag_ray.images.dicom_grey import is_ct_without_window
from swag_ray.images.dicom_patient import patient_digest
from swag_ray.images.layout import DICOM_SUFFIXES, IMAGE_SUFFIXES
from swag_ray.images.places import Place

LOOKED = 100  # files that are opened: of more, as many evenly spaced ones stand for all; a film may have 10 MB


@dataclass(frozen=True)
class Looked:
    """What was found.

    Attributes:
        share: of all images that may be DICOM by name, and are by content.
        files: that were opened and are DICOM.
        patients: digest -> how many of these files have it; those without a PatientID have none.
        several: of these files have several frames.
        without_window: of these files are CT whose tags say neither window nor VOI LUT.
    """

    share: float
    files: int
    patients: Counter[str]
    several: int
    without_window: int


def look_at_dicoms(images: Sequence[tuple[Place, str]]) -> Looked:
    """Opens images whose name may be that of a DICOM.

    Args:
        images: (folder, name).

    Raises:
        InputError: one is a DICOM, and pydicom is not installed.
    """
    named = [image for image in images if _may_be_dicom(image[1])]
    opened = named[:: max(1, -(-len(named) // LOOKED))]
    files, several, without_window, patients = 0, 0, 0, Counter[str]()
    for folder, name in opened:
        try:
            data = (folder / name).read_bytes()
        except OSError:  # who lists the images says so
            continue
        if not is_dicom(data[:HEAD]):
            continue
        require_pydicom()
        files += 1
        several += count_frames(io.BytesIO(data), 4 * MAX_PIXELS) > 1
        without_window += is_ct_without_window(data, 4 * MAX_PIXELS)
        patient = patient_digest(data)
        if patient is not None:
            patients[patient] += 1
    share = len(named) / len(images) * files / len(opened) if opened else 0.0
    return Looked(share, files, patients, several, without_window)


def _may_be_dicom(name: str) -> bool:
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in DICOM_SUFFIXES or suffix not in IMAGE_SUFFIXES
