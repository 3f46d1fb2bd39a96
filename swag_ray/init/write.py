"""Looks at what is given, guesses, tries the guess where the images are few, and writes the config."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from swag_ray.config import Config, load_config
from swag_ray.errors import InputError, reason_of, remedy_of
from swag_ray.images.folders import list_folder
from swag_ray.images.layout import check_folder
from swag_ray.images.listing import Listing
from swag_ray.images.manifest import list_manifest
from swag_ray.images.places import Place, RemotePath, locate
from swag_ray.images.unlabelled import list_unlabelled
from swag_ray.init.folders import COUNTED, plan_folder, plan_parts
from swag_ray.init.plan import Guess, Plan, unclear
from swag_ray.init.sizes import guess_sizes
from swag_ray.init.table import is_table, plan_table, table_in
from swag_ray.init.text import config_text
from swag_ray.system.files import make_folders, whole_file
from swag_ray.wording import plural

HASHED = 1_000_000_000  # bytes of all images up to which they are listed as a run lists them


@dataclass(frozen=True)
class Started:
    """A config that was written.

    Attributes:
        config: the file.
        guesses: what it says, and why.
        images: how many there are.
        notes: what else is to be known; what was left out, too.
        next: the command to go on with.
    """

    config: Path
    guesses: tuple[Guess, ...]
    images: int
    notes: tuple[str, ...]
    next: str


def write_config(
    paths: Sequence[str], out: str | None = None, *, normal: str | None = None, overwrite: bool = False
) -> Started:
    """Writes a config for the images at `paths`.

    Args:
        paths: a folder or a table; or a folder of trusted and one of unknown images, and perhaps one to test on.
        out: the file to write; None: named as the run, in the working folder.
        normal: name of the normal class, where it cannot be guessed.
        overwrite: whether a file that is there is replaced.

    Raises:
        InputError: what cannot be guessed, with the choices, or is wrong with the images or the file, in one line.
            Nothing is written then.
    """
    plan = _plan(paths, normal)
    file = _file(out, plan.name, overwrite)
    notes = list(plan.notes)
    try:
        make_folders(file.parent)
        with whole_file(file) as draft:
            draft.write_text(config_text(plan.name, plan.guesses, (), file.name), encoding="utf-8")
            listing = _listed(load_config(draft), plan)
            guesses = _in_order([*plan.guesses, *guess_sizes(plan, listing.table if listing else None)])
            notes += _notes(listing, plan)
            draft.write_text(config_text(plan.name, guesses, notes, file.name), encoding="utf-8")
            load_config(draft)
    except OSError as error:
        raise InputError(f"--out: cannot write {file} ({reason_of(error)})", remedy_of(error)) from None
    except UnicodeEncodeError:
        raise InputError("init: the path of the images is not UTF-8", "rename the folder") from None
    shown = out if out is not None else file.name
    return Started(file, tuple(guesses), plan.images, tuple(notes), f"swag-ray run {shlex.quote(shown)}")


def _plan(paths: Sequence[str], normal: str | None) -> Plan:
    places = [_absolute(locate(path, "init")) for path in paths]
    if not 1 <= len(places) <= 3:
        raise InputError(
            f"init: {len(places)} paths", "give one, or folders of trusted, unknown and perhaps test images"
        )
    tables = [place for place in places if is_table(place)]
    if tables and len(places) > 1:
        raise unclear(f"{tables[0]} is a table, and there are other paths", ["the table alone", "the folders alone"])
    if tables:
        return plan_table(tables[0], normal)
    if len(places) > 1:
        return plan_parts(places, normal)
    check_folder(places[0], "init", "give a folder of images or a table of them")
    try:
        return plan_folder(places[0], normal)
    except InputError:
        # Folders that say nothing may have a table beside them; where they do, it is one of the files beside.
        table = table_in(places[0], _file_names(places[0]))
        if table is None:
            raise
        return plan_table(table, normal, places[0])


def _absolute(place: Place) -> Place:
    return place.expanduser().absolute() if isinstance(place, Path) else place


def _file_names(folder: Place) -> list[str]:
    if isinstance(folder, RemotePath):
        return [entry.name for entry in folder.entries() if not entry.is_dir()]
    return sorted(entry.name for entry in Path(folder).iterdir() if entry.is_file())


def _file(out: str | None, name: str, overwrite: bool) -> Path:
    if out is not None and "://" in out:
        raise InputError(f"--out: {out} is no path", "a config lies on this machine's disk")
    file = Path(out).expanduser() if out is not None else Path(f"{name}.yaml")
    if file.is_dir():
        raise InputError(f"--out: {file} is a folder", "name a file in it")
    if file.exists() and not overwrite:
        raise InputError(f"--out: {file} exists", "name another with --out, or replace it with --overwrite")
    return file.absolute()


def _listed(config: Config, plan: Plan) -> Listing | None:
    """The images as a run lists them, bytes and all; None where they are too many for a first look."""
    if plan.images > COUNTED or plan.bytes is None or plan.bytes > HASHED:
        return None
    d, group = config.dataset, config.split.group
    if d.kind == "unlabelled":
        assert d.seed_root is not None and d.pool_root is not None
        test = locate(d.test_root) if d.test_root is not None else None
        return list_unlabelled(
            locate(d.seed_root), locate(d.pool_root), test, normal=d.normal, anomaly=d.anomaly, group=group
        )
    if d.kind == "manifest":
        assert d.manifest is not None
        return list_manifest(
            locate(d.manifest), normal=d.normal, anomaly=d.anomaly, group=group, test_fraction=d.test_fraction
        )
    assert d.root is not None
    return list_folder(
        locate(d.root), normal=d.normal, anomaly=d.anomaly, group=group, train=d.train, test=d.test,
        test_fraction=d.test_fraction,
    )  # fmt: skip


def _notes(listing: Listing | None, plan: Plan) -> list[str]:
    if listing is None:
        return [f"{plural(plan.images, 'image')}, known by name alone: `swag-ray datasets check` reads each of them"]
    ignored = [f"{name} ({count:,})" for name, count in listing.ignored.items() if count]
    found = f"{plural(listing.table.num_rows, 'image')} of {plan.images:,} are used"
    return [found, *([f"left out: {', '.join(ignored)}"] if ignored else []), *listing.warnings]


def _in_order(guesses: Sequence[Guess]) -> list[Guess]:
    """Fields of a section together, sections in the config's order."""
    sections = list(Config.model_fields)
    return sorted(guesses, key=lambda guess: sections.index(guess.field.split(".")[0]))
