"""How often a piece of work may kill the process that does it.

Ray starts a killed actor again and repeats its task without end, which is right for a node that is taken away and wrong
for work that always ends its process: for want of memory, say. So the start of each piece is noted in the cluster's
key-value store, outside of the process that may die, and taken back when the piece ends, well or with an exception.
What is noted and was not taken back are deaths. A start on a node that is gone since then is none.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private.state import actors  # the public one wants Ray's dashboard, which a local Ray of ours has not
from ray._private.worker import global_worker
from ray.experimental import internal_kv  # no public function keeps a value; a test pins what we need of it

from swag_ray.cluster.capacity import Bundle, cluster_nodes, count_fitting
from swag_ray.cluster.session import get_or_raise
from swag_ray.errors import InputError
from swag_ray.wording import plural

MAX_DEATHS = 5
# An actor whose tasks kill it at once is alive too shortly to be seen: their own count ends them before this one does.
MAX_STARTS = MAX_DEATHS + 2
LOST_SECONDS = 600.0  # for a node in place of one that was lost; those that an autoscaler starts take minutes
LOOK_SECONDS = 2.0  # between two looks at Ray's table
KINDS = {
    "SampleActor": "a sample actor", "MapWorker(MapBatches(ChunkActor": "a scoring actor",
    "MapWorker": "an extraction actor", "MemoryBank": "the memory bank",
}  # fmt: skip
FEWER = "lower cluster.actors, or use nodes with more memory"
NAMESPACE = "swag-ray"  # of the keys, in the cluster's store


@contextmanager
def counted(key: str, piece: object, advice: str = FEWER) -> Iterator[None]:
    """Does a piece of work, unless it has killed its process `MAX_DEATHS` times before.

    Args:
        key: stands for the piece within this job, the same at every try.
        piece: its name for people, asked for only when it is refused.
        advice: what to do then.

    Raises:
        InputError: it has.
    """
    context = ray.get_runtime_context()
    key, here = f"{context.get_job_id()}:{key}", context.get_node_id()
    if _key_values()._internal_kv_put(key, json.dumps([here]), overwrite=False, namespace=NAMESPACE):  # was there
        starts = json.loads(_key_values()._internal_kv_get(key, namespace=NAMESPACE) or "[]")
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        deaths = [node for node in starts if node in alive]
        if len(deaths) >= MAX_DEATHS:
            _forget(key)  # whoever runs it again, with fewer actors, starts from nothing
            raise InputError(
                f"cluster: {piece} was killed {len(deaths)} times, most likely for want of memory",
                advice,
            )
        _key_values()._internal_kv_put(key, json.dumps([*deaths, here]), namespace=NAMESPACE)
    try:
        yield
    finally:
        _forget(key)


@contextmanager
def counted_task(piece: object) -> Iterator[None]:
    """As `counted`, for the task that this process was given by Ray, which keeps its id from try to try.

    A plain call, in a process without Ray, is tried once and not counted.
    """
    if not ray.is_initialized():
        yield
        return
    with counted(f"task {ray.get_runtime_context().get_task_id()}", piece):
        yield


def _key_values() -> Any:
    """The cluster's key-value store. Ray forgets its connection when a cluster that this process emulated ends."""
    if not internal_kv._internal_kv_initialized():
        internal_kv._initialize_internal_kv(global_worker.gcs_client)  # type: ignore[attr-defined]
    return internal_kv


def forget_all(prefix: str) -> None:
    """Takes back what this job noted under keys that begin so."""
    _key_values()._internal_kv_del(
        f"{ray.get_runtime_context().get_job_id()}:{prefix}", del_by_prefix=True, namespace=NAMESPACE
    )


def _forget(key: str) -> None:
    _key_values()._internal_kv_del(key, namespace=NAMESPACE)


class StartWatch:
    """Notices actors that cannot come back, by Ray's own table: those that are killed whenever they start, before any
    line of ours has run (where memory is short, Ray ends the youngest process first), and those whose node was lost and
    that no other node has room for.

    Args:
        bundle: what Ray reserves for each of them; None for an actor that asks for nothing.
    """

    def __init__(self, bundle: Bundle | None = None) -> None:
        self.bundle = bundle
        self._down: dict[str, float] = {}  # per actor that ran and does not, since when
        self._alive: dict[str, tuple[int, int]] = {}  # per actor, restarts and lost nodes when it last ran
        self._looked = 0.0

    def look(self) -> None:
        """Looks at the table, if the last look was a while ago.

        Raises:
            InputError: an actor was killed `MAX_STARTS` times without having run in between, or has had no node to run
                on for `LOST_SECONDS`.
        """
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        lost = sum(not node["Alive"] for node in ray.nodes())
        ours = _actors_of_this_job()
        for name, (kind, actor) in ours.items():
            restarts = actor["NumRestarts"]
            before, lost_before = self._alive.get(name, (restarts, lost))
            if actor["State"] in ("ALIVE", "DEAD"):
                self._down.pop(name, None)
            elif restarts:
                self._down.setdefault(name, self._looked)
            if actor["State"] == "ALIVE" or name not in self._alive:
                self._alive[name] = (restarts, lost)
            elif actor["State"] != "DEAD" and restarts - before - (lost - lost_before) >= MAX_STARTS:
                times = restarts - before
                raise InputError(
                    f"cluster: {kind} was killed {times} times as it started, most likely for want of memory",
                    "end other programs, lower cluster.actors, or use nodes with more memory",
                )
        since = min(self._down.values(), default=self._looked)
        if self.bundle is not None and self._looked - since >= LOST_SECONDS:
            # The bank asks for nothing, and so takes no room.
            states = [actor["State"] for kind, actor in ours.values() if kind != KINDS["MemoryBank"]]
            self._refuse_for_want_of_room(self.bundle, states.count("ALIVE"), len(self._down))

    def _refuse_for_want_of_room(self, bundle: Bundle, running: int, down: int) -> None:
        nodes = cluster_nodes()
        if nodes and count_fitting(nodes, bundle) >= running + down:
            return  # they wait for other programs, which end
        raise InputError(
            f"cluster: a node was lost, and {plural(down, 'actor')} found no room on the others for "
            f"{LOST_SECONDS / 60:.0f} minutes",
            "add a node or lower cluster.actors, and run again: what was computed is kept",
        )


def _actors_of_this_job() -> dict[str, tuple[str, dict[str, Any]]]:
    """Per actor of one of our kinds: the kind in words, and its row of Ray's table."""
    job, found = ray.get_runtime_context().get_job_id(), {}
    for name, actor in actors().items():
        kind = next((kind for prefix, kind in KINDS.items() if actor["ActorClassName"].startswith(prefix)), None)
        if kind is not None and actor["JobID"] == job:
            found[name] = (kind, actor)
    return found


def get_watched(reference: Any) -> Any:
    """As `session.get_or_raise`, but does not wait for ever for an actor that cannot start."""
    watch = StartWatch()
    while not ray.wait([reference], timeout=LOOK_SECONDS)[0]:
        watch.look()
    return get_or_raise(reference)
