"""The order of a doctor's round. What is quick comes first: torch takes seconds to import, and a person should not wait
for it to learn that a disk is full. No local Ray is started: what it would offer, the operating system tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from swag_ray.cluster.capacity import Node, local_defaults, local_node
from swag_ray.cluster.surroundings import session_place
from swag_ray.config import Config
from swag_ray.config.sections import ClusterConfig
from swag_ray.doctor.finding import Finding, refused
from swag_ray.doctor.machine import Machine, disk, read_machine
from swag_ray.doctor.software import faiss_build, packages, torch_gpus, weights
from swag_ray.errors import InputError, reason_of
from swag_ray.wording import size

LITTLE_DISK = 5e9  # bytes; Ray's sessions, and objects that memory has no room for
FULL = 0.95  # of the temporary disk: from here on Ray refuses to make objects


def examine(*configs: Config, address: str | None = None) -> Iterator[Finding]:
    """Everything worth knowing before a run, as it is found out. Bad input is a finding, never an exception.

    Args:
        configs: what to check against what is there; none: only what is there. Several differ in their dataset.
        address: `auto` or HOST:PORT of a running cluster, which is joined for a moment; None: a local Ray is meant.
    """
    machine, missing = read_machine(), False
    for finding in packages():
        missing |= finding.state == "problem"
        yield finding
    yield from machine_findings(machine)
    yield from session_folder()
    if missing:
        return  # what follows imports them
    # Only now: these load numpy, pyarrow and Ray.
    from swag_ray.doctor.cluster import cluster, every_node, local_ray, token
    from swag_ray.doctor.store import store

    first = configs[0] if configs else None
    yield from store(first.store if first else str(Config.model_fields["store"].default), needed=first is not None)
    yield token(joining=address is not None)
    nodes: tuple[Node, ...] = ()
    if address is not None:
        found = cluster(address)
        nodes = found.nodes
        yield found
    else:
        yield from local_ray(first.cluster if first else ClusterConfig(), machine)
    if first is None:
        yield from weights()
    finding, gpus = torch_gpus()
    yield finding
    yield faiss_build(gpus)
    if first is None:
        return
    from swag_ray.doctor.requirements import needs

    if address is None:
        cpus, default = local_defaults()
        nodes = (local_node(first.cluster, cpus=cpus, gpus=gpus, memory=machine.usable_memory, object_store=default),)
    see = partial(every_node, address) if address is not None and len(nodes) > 1 else None
    for config in configs:
        yield from needs(config, nodes, machine, local=address is None, gpus=gpus, see=see)


def machine_findings(machine: Machine) -> Iterator[Finding]:
    """Cores and memory, of the machine and of what this process may use of them."""
    limited = machine.core_limit is not None
    text = f"{machine.cores} on this machine"
    if limited:
        text += f", of which the container or job may use {machine.core_limit:g}"
    yield Finding("cores", "ok", text)
    text = f"{size(machine.memory)} on this machine"
    if machine.memory_limit is not None:
        text += f", of which the container or job may use {size(machine.memory_limit)}"
    if machine.memory_free is not None:
        text += f"; {size(machine.memory_free)} free"
    yield Finding("memory", "ok", text)


def session_folder() -> Iterator[Finding]:
    """Where the session of a local Ray would lie, and why not where the environment says."""
    try:
        place = session_place()
    except InputError as error:
        yield refused("temporary files", error)
        return
    yield temporary_space(place.folder)
    for variable, folder, reason in place.refused:
        named = f"{variable} '{folder}'" if variable else f"'{folder}'"
        text = f"{named} {reason}: Ray's session goes to '{place.folder}'"
        yield Finding("temporary files", "note", text, "set RAY_TMPDIR if it should lie elsewhere")


def temporary_space(folder: str) -> Finding:
    """Where Ray keeps sessions and spills objects to."""
    try:
        found = disk(folder)
    except OSError as error:
        return Finding("temporary files", "problem", f"'{folder}' cannot be looked at ({reason_of(error)})")
    text = f"{size(found.free)} of {size(found.total)} free at '{folder}', where Ray keeps its sessions"
    advice = "free space there, or set RAY_TMPDIR to a folder on another disk"
    if found.free < (1 - FULL) * found.total:
        return Finding("temporary files", "note", f"{text}; Ray calls a disk full when {FULL:.0%} are used", advice)
    if found.free < LITTLE_DISK:
        return Finding("temporary files", "note", text, advice)
    return Finding("temporary files", "ok", text)
