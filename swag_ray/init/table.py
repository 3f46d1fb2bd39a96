"""Plans of a table that lists the images: CSV, Parquet, or a data.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from swag_ray.errors import InputError
from swag_ray.images.groups import COLUMN_GROUP
from swag_ray.images.layout import USUAL
from swag_ray.images.manifest import ABNORMAL, FIELD, NORMAL, UNKNOWN, place_of
from swag_ray.images.manifest_file import GROUP, LABEL, PATH, ROLE, SPLIT, read_manifest
from swag_ray.images.places import Place
from swag_ray.init.folders import TEST_FRACTION, bytes_of
from swag_ray.init.patients import Film, count_patients, guess_group
from swag_ray.init.plan import Guess, Plan, normal_options, run_name, the_normal, unclear
from swag_ray.init.reading import guess_reading

SUFFIXES = (".csv", ".tsv", ".parquet", ".pq", ".json")
PARTS = "a column role (seed, pool, test)", "columns split (train, test) and label"


def is_table(place: Place) -> bool:
    """Whether a file's name is that of a table."""
    return place.suffix.lower() in SUFFIXES


def plan_table(manifest: Place, normal: str | None, given: Place | None = None) -> Plan:
    """Plans the images of a table.

    Args:
        given: the folder that the table was found in.

    Raises:
        InputError: it cannot be read or lacks a column, or its labels are not understood; the line names the choices.
    """
    table = read_manifest(manifest, FIELD)
    part = next((name for name in (ROLE, SPLIT) if name in table.column_names), None)
    if part is None and LABEL not in table.column_names:
        raise unclear(f"{manifest} does not say which images are normal", PARTS)
    text = {name: _text(table, name) for name in (PATH, ROLE, SPLIT, LABEL, GROUP)}
    guesses = [
        Guess("dataset.kind", "manifest", "a table that lists the images"),
        Guess(FIELD, str(manifest), "the table given" if given is None else f"the table in {given}"),
        *_labels(text[LABEL], normal, manifest, drawn=part != ROLE),
    ]
    if part is None:
        reason = "the table has neither role nor split: a fifth of each class, in whole groups, the same in every run"
        guesses.append(Guess("dataset.test_fraction", TEST_FRACTION, reason))
    called = next((str(guess.value) for guess in guesses if guess.field == "dataset.normal"), None)
    trusted, training = _rows(part, text, called)
    places = [place_of(manifest, path) for path in text[PATH]]
    films = [Film(group or None, place.name, place.parent) for place, group in zip(places, text[GROUP], strict=True)]
    guesses += guess_reading([films[row] for row in training])
    if any(text[GROUP]):
        group = Guess("split.group", COLUMN_GROUP, "the table has a column group")
        patients = len({films[row].folder or row for row in trusted})
    else:
        group = guess_group([films[row] for row in training])
        value = group.value if isinstance(group.value, str) else None
        patients = count_patients([films[row] for row in trusted], value)
    share = 1.0 if part is not None else 1 - TEST_FRACTION
    name = run_name([place for place in (given, manifest) if place is not None])
    size = bytes_of([(place.parent, place.name) for place in places])
    return Plan(name, (*guesses, group), table.num_rows, int(share * len(trusted)), int(share * patients),
                drawn=part != ROLE, bytes=size, notes=_notes(table, part, text))  # fmt: skip


def _labels(labels: Sequence[str], normal: str | None, manifest: Place, *, drawn: bool) -> list[Guess]:
    """What the words of the column `label` mean, where they are no usual ones."""
    words = Counter(label for label in labels if _folded(label) not in UNKNOWN)
    unusual = [word for word in words if _folded(word) not in (*NORMAL, *ABNORMAL)]
    usual_normal = any(_folded(word) in NORMAL for word in words)
    called = the_normal(words if normal is not None else unusual, normal, manifest)
    if called is None and not usual_normal and drawn:
        raise unclear(f"no label of {manifest} sounds normal", normal_options([*words]) if words else PARTS)
    guesses = []
    if called is not None:
        guesses.append(Guess("dataset.normal", called, f"the label that means normal; {words[called]:,} images"))
    if others := [word for word in unusual if word != called]:
        reason = "every other label; remove those that are no anomalies"
        guesses.append(Guess("dataset.anomaly", others, reason))
    return guesses


def _rows(part: str | None, text: dict[str, list[str]], normal: str | None) -> tuple[list[int], list[int]]:
    """Rows that are trusted, or that the trusted are drawn from; and all rows of the training part."""
    rows = range(len(text[PATH]))
    if part == ROLE:
        return [r for r in rows if _folded(text[ROLE][r]) == "seed"], [
            r for r in rows if _folded(text[ROLE][r]) != "test"
        ]
    training = [r for r in rows if part is None or _folded(text[SPLIT][r]) in USUAL["train"]]
    words = (*NORMAL, *([normal.casefold()] if normal is not None else []))
    return [row for row in training if _folded(text[LABEL][row]) in words], training


def _notes(table: pa.Table, part: str | None, text: dict[str, list[str]]) -> tuple[str, ...]:
    notes = []
    if part == SPLIT:
        known = [name for names in USUAL.values() for name in names]
        others = Counter(word for word in text[SPLIT] if _folded(word) not in known)
        notes = [f"not used: split {word or '(empty)'} ({count:,} images)" for word, count in others.items()]
    kept = [name for name in table.column_names if name not in (PATH, LABEL, GROUP, part)]
    if kept:
        notes.append(f"columns that come out again in every table: {', '.join(kept)}")
    return tuple(notes)


def _text(table: pa.Table, name: str) -> list[str]:
    if name not in table.column_names:
        return [""] * table.num_rows
    return ["" if value is None else str(value).strip() for value in table.column(name).to_pylist()]


def _folded(word: str) -> str:
    return word.casefold().removesuffix(".0")


def table_in(folder: Place, names: Sequence[str]) -> Place | None:
    """Returns the table that lists a folder's images: its data.json, else the one table with a column path.

    Raises:
        InputError: there are several.
    """
    if "data.json" in names:
        return folder / "data.json"
    found = []
    for name in names:
        if is_table(folder / name):
            try:
                read_manifest(folder / name, FIELD)
            except InputError:  # a table of something else
                continue
            found.append(folder / name)
    if len(found) > 1:
        raise unclear(f"{folder} has several tables of images", [f"`swag-ray init {place}`" for place in found[:3]])
    return found[0] if found else None
