"""Which images belong together: one patient (as file name, folder, column or DICOM say) or identical bytes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from swag_ray.errors import InputError

BY_BYTES, BY_FILE = "bytes:", "file:"  # what the names of groups begin with that no patient names
# Values of `split.group` that are no pattern: the patient is known by other means than the file's name.
FOLDER_GROUP, COLUMN_GROUP, PATIENT_GROUP = "folder", "column", "patient_id"
NAMED_GROUPS = (FOLDER_GROUP, COLUMN_GROUP, PATIENT_GROUP)
_SEPARATOR = re.compile(r"[-_. ]")


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compiles `split.group`.

    Raises:
        InputError: not a regular expression, or one without a capturing group.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"split.group: {pattern!r} is not a regular expression ({error})") from None
    if compiled.groups == 0:
        raise InputError(f"split.group: {pattern!r} has no group", "put what names the patient in round brackets")
    return compiled


def patients_of(names: Sequence[str], group: str | None) -> list[str | None]:
    """Returns the patient of every file name, (N,): what the pattern's first group matches; None where nothing does.

    Raises:
        InputError: as `compile_pattern`.
    """
    if group is None:
        return [None] * len(names)
    pattern = compile_pattern(group)
    return [(match.group(1) or None) if (match := pattern.search(name)) else None for name in names]


def assign_patients(names: Sequence[str], digests: Sequence[str | None], patients: Sequence[str | None]) -> list[str]:
    """The group of every file: its patient, joined with those of files of identical bytes.

    A group is called by its smallest patient, else by its digest: so a copy added later renames no group.

    Args:
        names: file names, (N,).
        digests: hex digests of the bytes, (N,); None joins nothing (an empty file is like every other empty file).
        patients: (N,); None is a group of its own.
    """
    if not len(names) == len(digests) == len(patients):
        raise ValueError(f"{len(names)} names but {len(digests)} digests and {len(patients)} patients")
    parent: dict[tuple[int, str], tuple[int, str]] = {}

    def find(node: tuple[int, str]) -> tuple[int, str]:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    nodes = []
    for name, digest, patient in zip(names, digests, patients, strict=True):
        # Kind 0 (patient) sorts before kind 1 (bytes) and 2 (name): the smallest node of a group names it.
        own = (1, f"{BY_BYTES}{digest[:16]}") if digest else (2, f"{BY_FILE}{name}")
        node = (0, patient) if patient else own
        nodes.append(node)
        first, second = sorted((find(node), find(own)))
        parent[second] = first
    return [find(node)[1] for node in nodes]


def join_groups(groups: Sequence[str], sets: Iterable[Sequence[int]]) -> list[str]:
    """Returns the group of every image after those of some images were found to be one.

    A joined group is called by its smallest patient, else by its smallest name.

    Args:
        groups: (N,).
        sets: rows whose groups belong together.
    """
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for rows in sets:
        for row in rows[1:]:
            ends = {find(groups[rows[0]]), find(groups[row])}
            first, *others = sorted(ends, key=lambda name: (name.startswith((BY_BYTES, BY_FILE)), name))
            parent |= dict.fromkeys(others, first)
    return [find(name) if name in parent else name for name in groups]


def suggest_patients(names: Sequence[str]) -> tuple[str, str] | None:
    """Two file names that look like one patient's, when many names come in such sets; else None.

    A name's set is what stands before its last separator, if that has a digit (person12_bacteria_47 ->
    person12_bacteria, IM-0115-0001 -> IM-0115, but not COVID-12). A set of over a tenth of all files is a series.
    """
    sets: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        stem = name.rpartition(".")[0] or name
        cut = max((match.start() for match in _SEPARATOR.finditer(stem)), default=0)
        if any(character.isdigit() for character in stem[:cut]):
            sets[stem[:cut]].append(name)
    largest = max(2, len(names) // 10)
    shared = [members for members in sets.values() if 2 <= len(members) <= largest]
    # A tenth: chance look-alikes stay below it, and a tenth of leaking images is enough to flatter a result.
    if len(shared) < 3 or sum(map(len, shared)) < 0.1 * len(names):
        return None
    return shared[0][0], shared[0][1]
