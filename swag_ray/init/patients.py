"""Which images are of one patient: by the DICOM themselves, the folders they are in, or a pattern on their names.

A PatientID, a folder or a pattern is taken for the patient only where it makes sets as patients have them: many, and
none of them a large part of all. A batch of a thousand films is nobody's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from swag_ray.images.groups import FOLDER_GROUP, PATIENT_GROUP, patients_of, suggest_patients
from swag_ray.images.places import Place
from swag_ray.init.dicoms import Looked, look_at_dicoms
from swag_ray.init.plan import Guess
from swag_ray.wording import plural

FIELD = "split.group"
WORDED = (  # patterns whose words leave no doubt
    r"^(person\d+|(?:NORMAL2-)?IM-\d+)",
    r"(?i)^((?:patient|person|subject|subj|sub|pat|case|pid)[-_ ]?\d+)(?!\d)",
)
NUMBERED = (  # those that are believed where many names come in such sets
    r"^(\d+)[-_ ]",
    r"^(.*\d.*)[-_. ][^-_. ]*\.[^.]+$",
)
FEWEST_PATIENTS = 5
LARGEST_PART = 4  # a patient with over a fourth of all images is none
DICOMS = 0.5  # share of the images from which they are taken for a set of DICOM
MATCHED = {WORDED: 0.5, NUMBERED: 0.9}  # share of the names: a class of another source may have others


@dataclass(frozen=True)
class Film:
    """An image.

    Attributes:
        folder: that may be its patient; None: it lies in no folder of its own.
        name: of the file.
        place: the folder that it is in; None: it is not looked into.
    """

    folder: str | None
    name: str
    place: Place | None = None


def guess_group(films: Sequence[Film]) -> Guess:
    """Returns the guess for `split.group`.

    Args:
        films: of the training part, trusted and other.

    Raises:
        InputError: as `look_at_dicoms`.
    """
    looked = looked_into(films)
    if looked.share < DICOMS:
        return _by_names(films)
    if 2 * looked.patients.total() >= looked.files and _as_patients_have(looked.patients, looked.files):
        reason = f"by a salted digest of PatientID, which is kept nowhere: {_said(looked.patients)}"
        return Guess(FIELD, PATIENT_GROUP, f"{reason}, in {plural(looked.files, 'DICOM')} looked into")
    guess = _by_names(films)
    told = plural(len(looked.patients), "PatientID") + f" in {plural(looked.files, 'DICOM')} looked into"
    return Guess(FIELD, guess.value, f"{guess.reason} ({told}: it tells none apart)")


def _by_names(films: Sequence[Film]) -> Guess:
    """The guess by folders and file names."""
    by_folder = Counter(film.folder for film in films if film.folder is not None)
    if 2 * by_folder.total() >= len(films) and _as_patients_have(by_folder, len(films)):
        return Guess(FIELD, FOLDER_GROUP, f"a folder a patient: {_said(by_folder)}")
    names = [film.name for film in films]
    in_sets = suggest_patients(names) is not None
    for patterns, share in MATCHED.items():
        for pattern in patterns:
            found = Counter(patient for patient in patients_of(names, pattern) if patient is not None)
            shared = max(found.values(), default=0) > 1
            if (
                found.total() >= share * len(names) and shared and _as_patients_have(found, len(names))
                and (in_sets or patterns is WORDED)
            ):  # fmt: skip
                return Guess(FIELD, pattern, f"the file name begins with the patient: {_said(found)}")
    return Guess(FIELD, None, "neither folders nor file names tell patients apart: every image is taken for another's")


def count_patients(films: Sequence[Film], group: str | None) -> int:
    """Returns how many patients there are by `split.group`; an image without one counts as one."""
    if group == PATIENT_GROUP:
        looked = looked_into(films)
        single = looked.files - looked.patients.total()  # without a PatientID each is a group of its own
        return round(len(films) * (len(looked.patients) + single) / looked.files) if looked.files else len(films)
    if group == FOLDER_GROUP:
        named = [film.folder for film in films]
    else:
        named = patients_of([film.name for film in films], group)
    return len(set(named) - {None}) + named.count(None)


def looked_into(films: Sequence[Film]) -> Looked:
    """Returns what the DICOM among them are. Raises InputError as `look_at_dicoms`."""
    """Returns what the DICOM among them are; InputError as `look_at_dicoms`."""
    return look_at_dicoms([(film.place, film.name) for film in films if film.place is not None])


def _as_patients_have(sets: Counter[str], images: int) -> bool:
    return len(sets) >= FEWEST_PATIENTS and max(sets.values()) <= max(2, images // LARGEST_PART)


def _said(sets: Counter[str]) -> str:
    largest = max(sets.values())
    return f"{plural(len(sets), 'patient')}, {plural(largest, 'image')}{' at most' if largest > 1 else ''} of one"
