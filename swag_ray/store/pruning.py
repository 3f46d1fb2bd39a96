"""What a store keeps, and how it is made smaller. Everything in it can be computed again."""

from __future__ import annotations

import math
import posixpath
import time
from dataclasses import dataclass
from typing import Any

from swag_ray.errors import InputError
from swag_ray.store.store import MARKER, Store
from swag_ray.store.use import DAY, FOLDER, USED, used_since

WRITING = 1 / 24  # days in which a draft is surely written


@dataclass
class Entry:
    """What is removed as one.

    Attributes:
        bytes: of all its files.
        used: when it was last used, in seconds since 1970.
        marked: whether it is a stage with its completion marker.
    """

    bytes: int = 0
    used: float = 0.0
    marked: bool = False


Kinds = dict[str, dict[str, Entry]]


def contents(store: Store) -> list[dict[str, Any]]:
    """One row per kind of entry: kind, entries, bytes, and days since the oldest and newest were last used.

    Raises:
        InputError: there is no such store.
    """
    rows: list[dict[str, Any]] = []
    now = time.time()
    for kind, entries in sorted(_entries(store).items()):
        ages = [(now - entry.used) / DAY for entry in entries.values()]
        size = sum(entry.bytes for entry in entries.values())
        rows.append(
            {"kind": kind, "entries": len(entries), "bytes": size, "oldest_days": max(ages), "newest_days": min(ages)}
        )
    return rows


def prune(store: Store, *, days: float, features: bool, remove: bool) -> dict[str, int]:
    """Removes entries that were last used more than `days` ago; half-written leftovers count from one day on.

    What a run in progress may need stays: all that was used since it began.

    Args:
        features: whether feature shards may go too.
        remove: False only counts.

    Returns:
        entries and bytes that went, or would go; in_use: entries that stay for a run in progress alone.

    Raises:
        InputError: there is no such store, or `days` is no number of days.
    """
    if not math.isfinite(days) or days < 0:
        raise InputError(f"--older-than: {days:g} is no number of days", "give 0 or more")
    found, now = _entries(store), time.time()
    needed = used_since(store, now)
    gone = {"entries": 0, "bytes": 0, "in_use": 0}
    for kind, entries in found.items():
        if kind.startswith("features/") and not features:
            continue
        limit = max(min(days, 1.0), WRITING) if kind == "tmp" else days
        for path, entry in entries.items():
            if now - entry.used < limit * DAY:
                continue
            if needed is not None and entry.used >= needed:
                gone["in_use"] += 1
                continue
            gone["entries"] += 1
            gone["bytes"] += entry.bytes
            if remove:
                if entry.marked:
                    store.delete(posixpath.join(path, MARKER))  # first: a half-removed stage must not look complete
                store.delete(path)
    return gone


def _entries(store: Store) -> Kinds:
    """{kind: {path: entry}}: stages by name, feature sets by fingerprint, generated sets, known files, leftovers."""
    if not store.exists(store.base):
        raise InputError(f"{store.called}: '{store.root}' does not exist", "give the path or address of a store")
    kinds: Kinds = {}
    used: dict[str, float] = {}
    for info in store.files():
        parts = posixpath.relpath(info.path, store.base).split("/")
        if parts[0] == "stages" and len(parts) >= 3:
            kind, depth = parts[1], 3
        elif parts[0] == "features" and len(parts) == 3:
            kind, depth = f"features/{parts[1]}", 3
        elif parts[0] in ("datasets", "files", "tmp") and len(parts) >= 2:
            kind, depth = parts[0], 2
        elif parts[0] == FOLDER and len(parts) == 2:
            kind, depth = "tmp", 2  # one that is still in use is renewed by the minute
        else:
            continue  # not ours
        when = info.mtime.timestamp() if info.mtime else time.time()
        if parts[0] == "features" and parts[2] == USED:
            used[kind] = when
            continue
        entry = kinds.setdefault(kind, {}).setdefault(posixpath.join(store.base, *parts[:depth]), Entry())
        entry.bytes += info.size
        entry.used = max(entry.used, when)
        entry.marked |= parts[0] == "stages" and parts[3:] == [MARKER]
    for kind, when in used.items():
        for entry in kinds.get(kind, {}).values():
            entry.used = max(entry.used, when)
    return _leftovers_apart(kinds)


def _leftovers_apart(kinds: Kinds) -> Kinds:
    """On s3:// a stage that was never finished lies where it would be: without its marker it is a leftover."""
    sorted_out: Kinds = {}
    for kind, entries in kinds.items():
        staged = "/" not in kind and kind not in ("datasets", "files", "tmp")
        for path, entry in entries.items():
            sorted_out.setdefault("tmp" if staged and not entry.marked else kind, {})[path] = entry
    return sorted_out
