"""What a store keeps, and how it is made smaller. Everything in it can be computed again."""

from __future__ import annotations

import posixpath
import time
from typing import Any

from swag_ray.store.store import MARKER, Store


def contents(store: Store) -> list[dict[str, Any]]:
    """One row a kind of entry: kind, entries, bytes, and the age in days of the oldest and newest."""
    rows = []
    for kind, entries in sorted(_entries(store).items()):
        ages = [entry["age"] for entry in entries.values()]
        size = sum(entry["bytes"] for entry in entries.values())
        rows.append(
            {"kind": kind, "entries": len(entries), "bytes": size, "oldest_days": max(ages), "newest_days": min(ages)}
        )
    return rows


def prune(store: Store, *, days: float, features: bool, remove: bool) -> dict[str, int]:
    """Remove entries older than `days`; half-written leftovers of killed runs count from one day on.

    Args:
        features: whether feature shards may go too.
        remove: False only counts.

    Returns:
        entries and bytes that went, or would go.
    """
    gone = {"entries": 0, "bytes": 0}
    for kind, entries in _entries(store).items():
        if kind.startswith("features/") and not features:
            continue
        limit = min(days, 1.0) if kind == "tmp" else days
        for path, entry in entries.items():
            if entry["age"] < limit:
                continue
            gone["entries"] += 1
            gone["bytes"] += entry["bytes"]
            if remove:
                if entry["marked"]:
                    store.delete(posixpath.join(path, MARKER))  # first: a half-removed stage must not look complete
                store.delete(path)
    return gone


def _entries(store: Store) -> dict[str, dict[str, dict[str, Any]]]:
    """{kind: {path: bytes, age, marked}}: stages by name, feature sets by fingerprint, generated sets, leftovers."""
    kinds: dict[str, dict[str, dict[str, Any]]] = {}
    now = time.time()
    for info in store.files():
        parts = posixpath.relpath(info.path, store.base).split("/")
        if parts[0] == "stages" and len(parts) >= 3:
            kind, depth = parts[1], 3
        elif parts[0] == "features" and len(parts) == 3:
            kind, depth = f"features/{parts[1]}", 3
        elif parts[0] in ("datasets", "tmp") and len(parts) >= 2:
            kind, depth = parts[0], 2
        else:
            continue  # not ours
        path = posixpath.join(store.base, *parts[:depth])
        entry = kinds.setdefault(kind, {}).setdefault(path, {"bytes": 0, "age": 0.0, "marked": False})
        entry["bytes"] += info.size
        entry["age"] = max(entry["age"], (now - info.mtime.timestamp()) / 86400) if info.mtime else entry["age"]
        entry["marked"] |= parts[0] == "stages" and parts[3:] == [MARKER]
    return _leftovers_apart(kinds)


def _leftovers_apart(kinds: dict[str, dict[str, dict[str, Any]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """On s3:// a stage that was never finished lies where it would be: without its marker it is a leftover."""
    sorted_out: dict[str, dict[str, dict[str, Any]]] = {}
    for kind, entries in kinds.items():
        staged = "/" not in kind and kind not in ("datasets", "tmp")
        for path, entry in entries.items():
            sorted_out.setdefault("tmp" if staged and not entry["marked"] else kind, {})[path] = entry
    return sorted_out
