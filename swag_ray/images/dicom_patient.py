"""Whose a DICOM is, for `split.group: patient_id`: a salted digest of its PatientID, the only tag of a person that is
ever read, and only then.

The salt is fixed, so that a patient has one group in every run, and with it one fold. So the digest hides an id from
whoever reads a message; it does not from one who tries all ids that there may be, and no table, record or store holds
it.
"""

from __future__ import annotations

import hashlib
import unicodedata

from swag_ray.images.decode import MAX_PIXELS
from swag_ray.images.dicom_tags import parsed
from swag_ray.images.image_error import is_short_of_memory
from swag_ray.images.silence import silenced

SALT = b"swag-ray, split.group"  # as blake2b's key
TAG = "PatientID"


def patient_digest(data: bytes) -> str | None:
    """Returns 16 hex digits that stand for a DICOM's patient.

    Args:
        data: the file.

    Returns:
        None where it has no PatientID, an empty one, or is damaged before it; whether the image can be read is found
        out elsewhere.

    Raises:
        MemoryError: there is not enough of it here.
    """
    with silenced():
        try:
            value = parsed(data, 4 * MAX_PIXELS, (TAG,), pixels=False).get(TAG)
        except Exception as error:  # its text may quote what the file says
            if is_short_of_memory(error):
                raise MemoryError("reading a DICOM") from None
            return None
    said = unicodedata.normalize("NFC", "" if value is None else str(value)).strip(" \0")
    if not said:
        return None
    return hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8, key=SALT).hexdigest()
