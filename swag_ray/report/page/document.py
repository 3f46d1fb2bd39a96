"""A whole HTML page from its body, and files that are replaced whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from swag_ray.errors import InputError, reason_of, remedy_of
from swag_ray.record.files import write_text
from swag_ray.report.page.markup import Html, element
from swag_ray.report.page.style import style_sheet
from swag_ray.system.files import make_folders

DISCLAIMER = "Research software, not a medical device."


def document(title: str, body: Html, script: str = "") -> str:
    """One self-contained page: the style sheet and the script stand in it, nothing is loaded from elsewhere."""
    return "".join(document_parts(title, (body,), script))


def document_parts(title: str, body: Iterable[str], script: str = "", style: str = "") -> Iterator[str]:
    """Yields such a page in parts, for one that is too long to hold.

    Args:
        body: markup, which may come piece by piece.
        style: what the page adds to the style sheet.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(style_sheet() + style.lstrip())),
    )
    yield f'<!DOCTYPE html>\n<html lang="en">{head}<body>'
    yield from body
    yield element("script", Html(script)) if script else ""
    yield "</body></html>\n"


def write_files(files: Mapping[Path, str]) -> None:
    """Write text files; folders are made where absent.

    Raises:
        InputError: the first that cannot be written, in one line.
    """
    for path, text in files.items():
        try:
            make_folders(path.parent)
            write_text(path, text)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({reason_of(error)})", remedy_of(error)) from None
