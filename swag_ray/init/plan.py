"""What a guess is, what all guesses on a set of images come to, and the words that names are known by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from swag_ray.errors import InputError
from swag_ray.images.places import Place

NORMAL = ("normal", "notumor", "no", "healthy", "good", "negative", "0")
SEED = ("seed", "trusted")
POOL = ("pool", "unlabelled", "unlabeled", "unknown")
SHOWN = 6  # names that a line gives
UNNAMED = "images"  # the run, where no folder's name will do


@dataclass(frozen=True)
class Guess:
    """A field of the config, its value and why it is that; a value None leaves the default, and says why."""

    field: str
    value: object
    reason: str


@dataclass(frozen=True)
class Plan:
    """What was found.

    Attributes:
        name: of the run.
        guesses: `dataset.*`, then `split.group`.
        images: how many there are.
        normals: how many of them are trusted, or are what the trusted are drawn from.
        patients: among these, as `split.group` names them; an image without one counts as one.
        drawn: whether the trusted are drawn; else they are given.
        bytes: of all images; None: not known, or too many to be asked.
        notes: what else is to be known, a line each.
    """

    name: str
    guesses: tuple[Guess, ...]
    images: int
    normals: int
    patients: int
    drawn: bool
    bytes: int | None
    notes: tuple[str, ...] = ()


def sounds(name: str, words: Sequence[str]) -> bool:
    """Whether a name is one of the words, in any case, with any separators, or the plural of one."""
    plain = re.sub(r"[\W_]+", "", name.casefold())
    return plain in words or plain.removesuffix("s") in words


def the_normal(names: Iterable[str], normal: str | None, where: object) -> str | None:
    """Returns the name that sounds normal, or is the given one; None where none does.

    Raises:
        InputError: two of them do.
    """
    if normal is not None:
        found = [name for name in names if name == normal] or [n for n in names if n.casefold() == normal.casefold()]
    else:
        found = [name for name in names if sounds(name, NORMAL)]
    if len(found) > 1:
        raise unclear(f"in {where} both {found[0]} and {found[1]} may be the normal class", normal_options(found))
    return found[0] if found else None


def normal_options(names: Sequence[str]) -> list[str]:
    """Returns the options that name the normal class."""
    return [f"--normal {name}" for name in list(names)[:SHOWN]]


def unclear(what: str, choices: Sequence[str]) -> InputError:
    """The one line for what cannot be guessed."""
    *first, last = choices
    return InputError(f"init: {what}", f"choose: {', '.join(first)} or {last}" if first else f"choose: {last}")


def run_name(places: Sequence[Place]) -> str:
    """Returns a name for the run: of the folder or file, as far as it may name one."""
    for place in places:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", place.name.rsplit(".", 1)[0]).lstrip("._-")[:60].rstrip("._-")
        if plain:
            return plain
    return UNNAMED
