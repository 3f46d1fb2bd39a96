"""Ray, as it would be started here or as it runs elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator

from swag_ray.cluster.address import check_address
from swag_ray.cluster.capacity import cluster_nodes, local_defaults
from swag_ray.cluster.session import ray_session
from swag_ray.cluster.surroundings import low_limits
from swag_ray.cluster.visibility import check_visible
from swag_ray.config.sections import LEAST_OBJECT_STORE, ClusterConfig
from swag_ray.doctor.finding import Finding, refused
from swag_ray.doctor.machine import Disk, Machine, shared_memory
from swag_ray.errors import InputError
from swag_ray.wording import plural, size, unequal_sizes

LARGEST_ON_DISK = 10**10  # bytes; Ray refuses a larger object store outside shared memory


def token(*, joining: bool) -> Finding:
    """Whether a token for clusters lies here, and where; never the token itself."""
    mode = os.environ.get("RAY_AUTH_MODE", "")
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    places = (
        ("RAY_AUTH_TOKEN", bool(os.environ.get("RAY_AUTH_TOKEN"))),
        (f"'{path}' (RAY_AUTH_TOKEN_PATH)", bool(path) and os.path.isfile(str(path))),
        ("~/.ray/auth_token", os.path.isfile(os.path.expanduser("~/.ray/auth_token"))),
    )
    place = next((name for name, there in places if there), None)
    said = f"RAY_AUTH_MODE is {mode}" if mode else "RAY_AUTH_MODE is not set"
    if place is not None:
        shown = "" if mode.lower() in ("", "token") else ", so it is not shown to clusters"
        return Finding("token", "note" if shown else "ok", f"a cluster token lies in {place}; {said}{shown}")
    if mode.lower() == "token":
        advice = "put it into RAY_AUTH_TOKEN or ~/.ray/auth_token, or unset RAY_AUTH_MODE"
        return Finding("token", "problem" if joining else "note", f"{said}, but no token lies here", advice)
    advice = "get one from whoever started the cluster: RAY_AUTH_TOKEN or ~/.ray/auth_token" if joining else ""
    return Finding(
        "token", "note" if joining else "ok", f"no cluster token lies here; {said}; a local Ray needs none", advice
    )


def cluster(address: str) -> Finding:
    """The nodes of the cluster at `address`; joins it for a moment."""
    try:
        check_address(address)  # a process that is connected already would not look
        with ray_session(address=address):
            nodes = cluster_nodes()
    except InputError as error:
        return refused("cluster", error)
    shown = "with a token" if os.environ.get("RAY_AUTH_MODE", "").lower() == "token" else "without a token"
    count = plural(len(nodes), "node")
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    text = f"joined at '{address}' {shown}: {count}, {cpus:g} CPUs, {gpus:g} GPUs"
    return Finding("cluster", "ok", text, nodes=nodes)


def every_node(address: str, root: str, images: list[str]) -> Finding:
    """Whether all nodes of the cluster see this store and can read these images; joins it for a moment."""
    try:
        with ray_session(address=address):
            check_visible(root, images)
    except InputError as error:
        return refused("every node", error)
    return Finding("every node", "ok", f"sees the store '{root}' and can read the images")


def local_ray(wanted: ClusterConfig, machine: Machine) -> Iterator[Finding]:
    """What a local Ray would offer; starts none."""
    cpus, default = local_defaults()
    shared = shared_memory()
    store = f" and an object store of {size(default)}" if default else ""
    text = f"{cpus} CPUs{store}, unless told otherwise"
    text += f"; /dev/shm: {size(shared.free)} of {size(shared.total)} free" if shared else ""
    yield Finding("local Ray", "ok", text)
    for problem, advice in low_limits():
        yield Finding("local Ray", "problem", problem, advice)
    if wanted.cpus is None and cpus > machine.usable_cores:
        yield Finding(
            "local Ray", "note", f"it counts {cpus} CPUs, more than the {machine.usable_cores} that it may use",
            f"set cluster.cpus to {machine.usable_cores}",
        )  # fmt: skip
    asked = wanted.object_store_mb * 2**20 if wanted.object_store_mb is not None else default
    yield from object_store(asked, machine.usable_memory, shared)


def object_store(asked: int, memory: int, shared: Disk | None) -> Iterator[Finding]:
    """Whether an object store of so many bytes goes into the memory (bytes) and the shared memory."""
    if asked > memory:
        wanted, there = unequal_sizes(asked, memory)
        yield Finding(
            "local Ray", "problem", f"cluster.object_store_mb: {wanted} are more than the memory, {there}",
            "lower it, or leave it out",
        )  # fmt: skip
    elif shared is not None and asked > shared.free:
        slow = asked <= LARGEST_ON_DISK
        then = "Ray puts it on the disk, which is slow" if slow else "Ray refuses that"
        most = shared.free >> 20
        larger = "enlarge /dev/shm (docker run --shm-size)"
        wanted, there = unequal_sizes(asked, shared.free)
        yield Finding(
            "local Ray", "note" if slow else "problem",
            f"cluster.object_store_mb: {wanted} do not fit into /dev/shm, {there} free: {then}",
            f"set it to {most} at most, or {larger}" if most >= LEAST_OBJECT_STORE else larger,
        )  # fmt: skip
