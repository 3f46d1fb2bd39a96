"""A plan as YAML: every guess with its reason above it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from swag_ray.config.text import dump_yaml
from swag_ray.init.plan import Guess

WIDTH = 100
HEAD = "Written by `swag-ray init`, which guessed. Each line says why: correct what is wrong, then"
TAIL = "All else has its default: `swag-ray config show` prints it, `swag-ray config schema` explains it."


def config_text(name: str, guesses: Sequence[Guess], notes: Sequence[str], file: str) -> str:
    """Returns the config; `load_config` reads it.

    Args:
        name: of the run.
        guesses: in the order of the config, fields of a section together.
        notes: further lines.
        file: what the config will be called.
    """
    lines = [*_comment(HEAD), *_comment(f"  swag-ray run {file}"), *_comment(TAIL)]
    lines += [line for note in notes for line in _comment(note)]
    lines += [_dumped("name", name)]
    section = ""
    for guess in guesses:
        above, _, key = guess.field.rpartition(".")
        if above != section:
            lines += ["", f"{above}:"]
            section = above
        lines += _comment(guess.reason, "  ")
        lines.append(
            "  # " + f"{key}: null" if guess.value is None else textwrap.indent(_dumped(key, guess.value), "  ")
        )
    return "\n".join(lines) + "\n"


def _dumped(key: str, value: object) -> str:
    return dump_yaml({key: value}).rstrip("\n")


def _comment(text: str, indent: str = "") -> list[str]:
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    start = " " * (len(plain) - len(plain.lstrip()))
    return textwrap.wrap(
        plain.strip(), WIDTH, initial_indent=f"{indent}# {start}", subsequent_indent=f"{indent}# {start}"
    )
