"""Whether every node sees what a run reads and writes: asked of each node before any work is given out.

A path means another disk on another machine. Found out late, that is an actor's failure an hour into a run, or worse,
features of a folder that only looks the same.
"""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray

from swag_ray.errors import InputError, reason_of
from swag_ray.images.places import locate
from swag_ray.store.store import Store

SECONDS = 120.0  # a node that starts a worker process takes some, under load many


@dataclass(frozen=True)
class Unseen:
    """What a node found wrong.

    Attributes:
        node: its name.
        what: `store`: it does not see what the driver wrote; `unusable`: it sees the store, but cannot use it;
            `dataset` or `image`: a file of a run's, or one that was named; or `cluster`: the node itself.
        path: which store or image.
        reason: in a few words.
        advice: what to do about it, where the store itself says so.
    """

    node: str
    what: str
    path: str
    reason: str
    advice: str = ""


def check_visible(root: str, images: Sequence[str] = ()) -> None:
    """Refuse a store or images that some node does not see. A single node is the driver's own.

    Args:
        root: the store's root.
        images: paths of some images, if any are going to be read; only nodes that can run an actor read them.

    Raises:
        InputError: which node does not see which path, and what to do.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) <= 1:
        return
    store = Store(root)
    path, content = store.path("tmp", f"seen-{uuid.uuid4().hex[:8]}"), uuid.uuid4().bytes
    try:
        store.write_bytes(path, content)
    except OSError as error:
        raise store.storage_error(error) from error
    try:
        unseen = _ask(nodes, probe_node, lambda node: (root, path, content, list(images) if _works(node) else []))
    finally:
        with suppress(InputError):
            store.delete(path)
    if unseen:
        raise _refusal(unseen)


def check_readable(images: Sequence[str]) -> None:
    """Refuse images that some node which can run an actor does not see. A single node is the driver's own.

    Args:
        images: paths; of what this process cannot read either nothing is said.

    Raises:
        InputError: as above.
    """
    nodes = [node for node in ray.nodes() if node["Alive"] and _works(node)]
    here = [image for image in images if probe_images([image]) is None]
    if len(nodes) > 1 and (unseen := _ask(nodes, probe_images, lambda node: (here,))):
        raise _refusal(unseen)


def sample_paths(paths: Sequence[str] | pa.ChunkedArray) -> list[str]:
    """The first, a middle and the last of a listing: together they show a folder that is absent, or only half there."""
    return [str(paths[i]) for i in sorted({0, len(paths) // 2, len(paths) - 1})] if len(paths) else []


def _ask(
    nodes: Sequence[dict[str, Any]], probe_there: Callable[..., Any], arguments: Callable[[dict[str, Any]], Any]
) -> list[Unseen]:
    """Has each node run a probe, with arguments of its own; returns what was found wrong."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    probe = ray.remote(num_cpus=0, max_retries=3)(probe_there)
    asked = []
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked.append(probe.options(scheduling_strategy=there).remote(*arguments(node)))
    unseen, deadline = [], time.monotonic() + SECONDS
    for node, answer in zip(nodes, asked, strict=True):
        try:
            found = ray.get(answer, timeout=max(0.0, deadline - time.monotonic()))
        except ray.exceptions.GetTimeoutError:
            found = ("cluster", "", f"no answer within {SECONDS:g} s")
        except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError):
            continue  # it left while it was asked; nodes come and go
        except ray.exceptions.RayError as error:  # the project is not installed there, or another version
            found = ("cluster", "", str(error).strip().splitlines()[-1])
        if found is not None:
            unseen.append(Unseen(_name(node), *found))
    return unseen


def probe_node(root: str, path: str, content: bytes, images: Sequence[str]) -> tuple[str, ...] | None:
    """Returns what this node does not see, as the fields of `Unseen` after its name; None when it sees all. Runs as a
    task there.
    """
    store = Store(root)
    try:
        if store.read_bytes(path) != content:
            return "store", root, "another file is there"
        store.check_writable()
    except (FileNotFoundError, NotADirectoryError):
        return "store", root, "what the driver wrote there is missing"
    except InputError as error:
        return "unusable", root, error.problem.removeprefix("store: "), error.advice
    return _unread("dataset", images)


def probe_images(images: Sequence[str]) -> tuple[str, ...] | None:
    """As `probe_node`, of named images alone."""
    return _unread("image", images)


def _unread(what: str, images: Sequence[str]) -> tuple[str, ...] | None:
    for image in images:
        try:
            with locate(image).open("rb") as file:
                file.read(1)
        except OSError as error:
            return what, image, reason_of(error)
    return None


def _works(node: dict[str, Any]) -> bool:
    """Whether a node can run an actor."""
    return bool(node["Resources"].get("CPU", 0) >= 1)


def _name(node: dict[str, Any]) -> str:
    address, host = node["NodeManagerAddress"], node["NodeManagerHostname"]
    return str(address) if host in (address, socket.gethostname()) else f"{host} ({address})"


def _refusal(unseen: Sequence[Unseen]) -> InputError:
    first = unseen[0]
    nodes = f"node {first.node}" + (f" and {len(unseen) - 1} more" if len(unseen) > 1 else "")
    if first.what == "cluster":
        return InputError(f"cluster: {nodes} gave {first.reason}", "look at its log, or take it out of the cluster")
    if first.what == "dataset":
        advice = "have the dataset under the same path on every node, or on a disk that they share"
        return InputError(f"dataset: {nodes} cannot read '{first.path}' ({first.reason})", advice)
    if first.what == "image":
        advice = "have the images under the same path on every node, or on a disk that they share"
        return InputError(f"--address: {nodes} cannot read '{first.path}' ({first.reason})", advice)
    if first.what == "unusable":
        return InputError(f"store: {nodes} {first.reason}", first.advice)
    advice = "put the store on a disk that all nodes share, or on s3://"
    return InputError(f"store: {nodes} does not see '{first.path}' ({first.reason})", advice)
