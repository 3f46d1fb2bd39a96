"""The store: where it is, what room is left, what it keeps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from swag_ray.doctor.finding import Finding, State, refused
from swag_ray.doctor.machine import disk
from swag_ray.errors import InputError, reason_of
from swag_ray.store.pruning import contents
from swag_ray.store.store import Store
from swag_ray.system.deadline import run_with_timeout
from swag_ray.wording import plural, size

SECONDS = 15.0  # for an s3 store; without a network its library goes on trying for minutes


def store(root: str, *, needed: bool) -> Iterator[Finding]:
    """Where the store is, whether it can be written, what room is left and what it keeps. Does not make one.

    Args:
        needed: whether a config asks for this store; of the default one without a config, nothing is a problem.
    """
    bad: State = "problem" if needed else "note"
    try:
        there: list[Finding] = []
        run_with_timeout(SECONDS, lambda: there.extend(_store(Store(root))))
        yield from there
    except InputError as error:
        yield refused("store", error, bad)
    except OSError as error:
        text = f"store: '{root}' cannot be read ({reason_of(error)})"
        yield Finding("store", bad, text, "mend that or set another `store`")


def _store(store: Store) -> Iterator[Finding]:
    free = ""
    if store.local:
        found = disk(store.base)
        free = f", {size(found.free)} of {size(found.total)} free"
        if not Path(store.base).exists():
            if not os.access(found.folder, os.W_OK | os.X_OK):
                error = PermissionError(13, "Permission denied")
                raise store.storage_error(error)
            yield Finding("store", "ok", f"'{store.base}' does not exist yet; the first run makes it{free}")
            return
    rows = contents(store)
    store.check_writable()
    sets = [row for row in rows if row["kind"].startswith("features/")]
    kept = (
        f"features: {plural(len(sets), 'set')}, {size(sum(row['bytes'] for row in sets))}; "
        f"all: {size(sum(row['bytes'] for row in rows))}"
    )
    yield Finding(
        "store", "ok", f"'{store.base if store.local else store.root}', writable{free}; {kept if rows else 'empty'}"
    )
