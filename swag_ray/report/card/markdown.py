"""A model card as Markdown that reads as plain text too."""

from __future__ import annotations

import re

from swag_ray.report.card.outline import outline
from swag_ray.report.card.record import ModelCard
from swag_ray.report.page.markup import MINUS, THIN

# What somebody may call a file or a class and Markdown would read as markup: anywhere, and at the start of a line. An
# underscore within a word is none.
_MARKUP = re.compile(r"[\\`*\[\]<>|~&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_BEGINNING = re.compile(r"(?=[-+#=]+(?:\s|$))|(?<=\d)(?=[.)](?:\s|$))")


def markdown(card: ModelCard) -> str:
    """Returns the card as model_card.md: a list a part, text of others taken literally."""
    lines = [f"# Model card: {literal(card.name or 'a detector')}"]
    for part in outline(card):
        lines += ["", f"## {literal(part.title)}", ""]
        lines += [f"- {literal(text)}" for text in part.sentences]
        lines += [f"- {literal(name)}: {literal(text)}" for name, text in part.facts]
    return "\n".join(lines) + "\n"


def literal(text: str) -> str:
    """Returns text on one line that Markdown shows as it is, and that steers no terminal."""
    plain = text.replace(THIN, " ").replace(MINUS, "-")
    plain = "".join(letter if letter.isprintable() else " " for letter in plain)
    escaped = _MARKUP.sub(r"\\\g<0>", " ".join(plain.split()))
    first, *rest = escaped.partition(" ")
    return "".join([_BEGINNING.sub(r"\\", first, count=1), *rest])
