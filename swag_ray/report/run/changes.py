"""What changed since the run that the folder held before: new images, who stands out now, the largest moves."""

from __future__ import annotations

from collections.abc import Sequence

from swag_ray.record.changes import ChangedImage, Changes
from swag_ray.record.files import CHANGES_FILE
from swag_ray.report.page.markup import Column, Html, element, join, paragraph, section, table, whole
from swag_ray.wording import clause


def changes_section(changes: Changes | None) -> Html:
    """A short section; nothing where there was no run before."""
    if changes is None:
        return Html()
    note = (
        f"Ranks are among the {whole(changes.both)} images that both runs have, the most suspicious first; every "
        f"image is in {CHANGES_FILE}, in this folder."
    )
    return section(
        "Since the run before", paragraph(" ".join(changes_lines(changes))), paragraph(note, class_="note"),
        _listed("Stand out now, and did not", changes.became), _listed("Largest moves", changes.moved),
    )  # fmt: skip


def changes_lines(changes: Changes) -> list[str]:
    """Returns a sentence or two for page and terminal."""
    lines = [_counts(changes)]
    if moved := _moves(changes):
        lines.append(moved)
    return lines


def _counts(changes: Changes) -> str:
    parts = []
    if changes.new:
        parts.append(f"{clause(changes.new, 'pool image', 'is', 'are')} new{_standing_out(changes)}")
    if changes.gone:
        parts.append(f"{clause(changes.gone, 'image', 'is', 'are')} no longer in the pool")
    return f"Since the run before in this folder, {' and '.join(parts) or 'the pool has the same images'}."


def _standing_out(changes: Changes) -> str:
    found = changes.new_rejected
    if found is None:
        return ""
    if changes.new == 1:
        return f" (it {'stands' if found else 'does not stand'} out)"
    return f" ({whole(found) if found else 'none'} of them {'stands' if found == 1 else 'stand'} out)"


def _moves(changes: Changes) -> str:
    parts = []
    if changes.now_rejected is not None and changes.no_longer is not None:
        now, before = changes.now_rejected, changes.no_longer
        parts.append(f"{whole(now) if now else 'none'} {'stands' if now == 1 else 'stand'} out that did not")
        if before:
            parts.append(f"{whole(before)} no longer {'does' if before == 1 else 'do'}")
    if changes.moved:
        first = changes.moved[0]
        parts.append(f"the largest move is from rank {whole(first.rank_before)} to {whole(first.rank)} ({first.name})")
    else:
        parts.append("no rank moved")
    return f"Of the {whole(changes.both)} in both, {', '.join(parts)}."


def _listed(title: str, images: Sequence[ChangedImage]) -> Html:
    if not images:
        return Html()
    columns = [
        Column("rank before", [whole(image.rank_before) for image in images]),
        Column("rank", [whole(image.rank) for image in images]),
    ]
    return join(element("h3", title), table("Image", [image.name for image in images], columns))
