"""How images are called in whatever leaves the store: the one place where ids, paths and warnings are made anonymous.

With `report.anonymous` an image's id is a digest over its content and name, which tells nobody a name who lacks the
image; no path and no file name stands in a table, metrics.json or the report. No stage's key holds any of this.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from swag_ray.config import Config
from swag_ray.images.frames import file_of
from swag_ray.images.listing import Listing, further_columns

UNLISTED = "a file"
LONG_NUMBER = 5  # digits of a file name that may tell a patient


def with_shown_ids(table: pa.Table, config: Config) -> pa.Table:
    """Returns an image table with the ids that are shown in place of its own, (N,), rows in the same order."""
    if not config.report.anonymous:
        return table
    columns = (table.column(name).to_pylist() for name in ("id", "sha256"))
    shown = pa.array([_digest(*pair) for pair in zip(*columns, strict=True)], pa.string())
    place = table.schema.get_field_index("id")
    return table.set_column(place, table.schema.field(place), shown)


def shown_paths(paths: Sequence[str], config: Config) -> pa.Array:
    """Returns paths as they are shown, (N,): null where the config is anonymous."""
    return pa.nulls(len(paths), pa.string()) if config.report.anonymous else pa.array(list(paths), pa.string())


def shown_further(table: pa.Table, config: Config) -> pa.Table:
    """Returns a manifest's own columns, which may say anything of a patient: none where the config is anonymous."""
    return table.select([]) if config.report.anonymous else further_columns(table)


def shown_files(listing: Listing, rows: pa.Table, config: Config) -> list[str]:
    """Returns what each row of the listing's table is called in a record: its whole path, or its digest."""
    if config.report.anonymous:
        return [str(name) for name in with_shown_ids(rows, config).column("id").to_pylist()]
    return [str(listing.root / path) for path in rows.column("path").to_pylist()]


def shown_ignored(ignored: dict[str, int], config: Config) -> dict[str, int]:
    """Returns the counts of files that were left out, without the names of folders where the config is anonymous."""
    if not config.report.anonymous:
        return ignored
    counts: dict[str, int] = {}
    for reason, count in ignored.items():
        kind = next((kind for kind in ("class", "folder") if reason.startswith(f"{kind} ")), None)
        shown = f"{kind} not named" if kind else reason
        counts[shown] = counts.get(shown, 0) + count
    return counts


def shown_warnings(warnings: Iterable[str], listing: Listing, config: Config) -> tuple[str, ...]:
    """Returns warnings; where the config is anonymous, with a digest in place of every file name below the root, and
    without the config's own names: of class folders, and what a pattern of groups looks for.
    """
    found = tuple(warnings)
    if not config.report.anonymous or not found:
        return found
    found = tuple(_without_own_names(text, config) for text in found)
    together = "\n".join(found)
    places = sorted({str(place) for place in (listing.root, *listing.folders)} - {"/"})
    # What lies beside the images of a manifest is nothing that a warning names.
    searched = [] if config.dataset.kind == "manifest" else listing.folders or (listing.root,)
    beside = (name for place in searched for name in _names_below(str(place)))
    named = {name: UNLISTED for name in (*listing.left_out, *beside) if name in together}
    for path, *pair in zip(*(listing.table.column(name).to_pylist() for name in ("path", "id", "sha256")), strict=True):
        if posixpath.basename(path) in together:
            named[posixpath.basename(path)] = _digest(*pair)
        file = posixpath.basename(file_of(path, config.dataset.frames))  # some lines are about all frames of a file
        if file in together:
            named.setdefault(file, UNLISTED)
    named |= dict.fromkeys(places, "a folder of the dataset" if listing.folders else "dataset.root")
    for name in sorted(named, key=len, reverse=True):  # one name may be part of another
        if os.path.splitext(name)[1]:
            found = tuple(text.replace(name, named[name]) for text in found)
        else:  # a DICOM's, which may be a word: no part of another; or a small number, as counts are: in a path alone
            before = "(?<=/)" if name.isdigit() and len(name) < LONG_NUMBER else r"(?<![\w.-])"
            pattern = re.compile(rf"{before}{re.escape(name)}(?![\w.-])")
            found = tuple(pattern.sub(named[name], text) for text in found)
    return found


def _without_own_names(warning: str, config: Config) -> str:
    if config.split.group is not None:
        warning = warning.replace(repr(config.split.group), "the pattern")
    for name in sorted((config.dataset.normal, *config.dataset.anomaly), key=len, reverse=True):
        warning = warning.replace(f"class folder {name}", "class folder (not named)")
    return warning


def _names_below(root: str) -> Iterator[str]:
    """Names of all files that have a suffix, those that were left out too: a warning may be of one of them."""
    for _, _, names in os.walk(root):
        yield from (name for name in names if all(os.path.splitext(name)))


def _digest(image_id: str, sha256: str) -> str:
    return hashlib.sha256(f"{sha256}\0{image_id}".encode()).hexdigest()[:16]
