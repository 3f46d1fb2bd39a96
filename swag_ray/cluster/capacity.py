"""What a Ray cluster has, what a config needs of it, and whether the one can ever hold the other.

Everything but `cluster_nodes` and `local_defaults` is plain arithmetic. Resources are Ray's: CPU and GPU by number,
memory and object_store_memory in bytes, any other by its own name. A bundle is a dict of resources that must lie on
one node, as in a placement group.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swag_ray.config.sections import ClusterConfig
from swag_ray.errors import InputError
from swag_ray.wording import plural, size

Bundle = Mapping[str, float]

GRAIN = 10_000  # Ray counts resources in ten-thousandths
ACTORS_PER_GPU = 4  # at most: one leaves a GPU idle while it reads features and sorts scores, or decodes
# Decoding threads of an extraction actor, if the GPU's cores are not fewer: more wait for Python's lock. On 16 cores of
# an H200's host, 16 threads of one process decode 682 films of 212 KB a second, four 521, and 16 processes 1,714.
DECODERS = 4
# Bytes resident, measured with tf_efficientnet_lite0 on the CPU: 1.5 GB at extraction; at sampling 1.4 with .2 in its
# cache of pooled features, which grows to .5 in larger pools. Of each, libraries that a node's actors share are .4.
OWN_MEMORY, SHARED_MEMORY = 1_100_000_000, 400_000_000
LEAST_MEMORY = 500_000_000  # bytes; an actor that has imported torch and holds a small pool
MEMORY_STEP = 50_000_000  # bytes
DECODER_MEMORY = 100_000_000  # bytes that a thread takes which decodes a film of 9 MB, beside the first


@dataclass(frozen=True)
class Node:
    """A living node of a cluster, or a machine that could be one.

    Attributes:
        name: its address, made unique where several nodes share one.
        resources: all that Ray counts on it, in use or not.
        head: whether the cluster's own services run on it.
    """

    name: str
    resources: Bundle
    head: bool = False

    @property
    def cpus(self) -> float:
        return self.resources.get("CPU", 0.0)

    @property
    def gpus(self) -> float:
        return self.resources.get("GPU", 0.0)

    @property
    def memory(self) -> float:
        """Bytes for actors, the object store apart."""
        return self.resources.get("memory", 0.0)

    @property
    def object_store(self) -> float:
        """Bytes."""
        return self.resources.get("object_store_memory", 0.0)


@dataclass(frozen=True)
class ActorNeeds:
    """What a config asks of a cluster.

    Attributes:
        actors: sample actors.
        bundle: what Ray reserves for each of them. Its memory is a part of what they need where nodes are small: an
            actor that is asked for is started, if there is any hope for it.
        extractors: extraction actors, before the sample actors and never at work beside them.
        extractor_bundle: what Ray reserves for each of those.
    """

    actors: int
    bundle: Bundle = field(default_factory=dict)
    extractors: int = 1
    extractor_bundle: Bundle = field(default_factory=dict)


def actor_needs(cluster: ClusterConfig, nodes: Sequence[Node]) -> ActorNeeds:
    """Returns what a config's `cluster` section needs on these nodes.

    Where it leaves the number of actors open, there are as many as have room: up to `ACTORS_PER_GPU` on a GPU, those of
    the extraction with `DECODERS` cores or more each, or, in a cluster without any GPU, one of either per core.
    """
    with_gpu = [node for node in nodes if node.gpus >= 1 and node.cpus >= 1]
    if not with_gpu:
        bundle = _with_memory(nodes, {"CPU": 1.0}, cluster.actors)
        actors = cluster.actors or max(1, count_fitting(nodes, bundle))
        return ActorNeeds(actors, bundle, actors, bundle)
    cores = max(1, int(min(node.cpus // int(node.gpus) for node in with_gpu)))
    bundle = _with_memory(nodes, {"CPU": 1.0, "GPU": 1.0 / min(cores, ACTORS_PER_GPU)}, cluster.actors)
    gpus = sum(int(node.gpus) for node in with_gpu)
    sharing = max(1, min(cores // DECODERS, ACTORS_PER_GPU, -(-(cluster.actors or cores * gpus) // gpus)))
    decoders = cores // sharing
    extractor = {"CPU": float(decoders), "GPU": 1.0 / sharing}
    if "memory" in bundle:
        share = int(min(node.memory // int(node.gpus) for node in with_gpu)) // sharing
        extractor["memory"] = float(min(OWN_MEMORY + (decoders - 1) * DECODER_MEMORY, share))
    fitting = max(1, count_fitting(nodes, extractor))
    return ActorNeeds(
        cluster.actors or max(1, count_fitting(nodes, bundle)),
        bundle,
        min(cluster.actors or fitting, fitting),
        extractor,
    )


def _with_memory(nodes: Sequence[Node], bundle: Bundle, actors: int | None) -> Bundle:
    """The bundle with the memory to ask for: what an actor needs, and less where so many would not have room for it."""
    if not any(node.memory for node in nodes):  # Ray counts none there
        return bundle
    for memory in range(OWN_MEMORY, LEAST_MEMORY, -MEMORY_STEP):
        if count_fitting(nodes, {**bundle, "memory": memory}) >= (actors or 1):
            return {**bundle, "memory": float(memory)}
    return {**bundle, "memory": float(LEAST_MEMORY)}


def largest_share(nodes: Sequence[Node], bundle: Bundle, actors: int) -> Bundle:
    """The bundle with the memory that each of so many actors may ask for, if all of them are to lie on one node."""
    if "memory" not in bundle:
        return bundle
    trial = {kind: actors * amount for kind, amount in _without_memory(bundle).items()}
    most = max((node.memory for node in nodes if count_fitting([node], trial)), default=0.0)
    return {**bundle, "memory": float(min(bundle["memory"], most // actors))}


def _without_memory(bundle: Bundle) -> Bundle:
    return {kind: amount for kind, amount in bundle.items() if kind != "memory"}


def actor_options(bundle: Bundle) -> dict[str, Any]:
    """Returns a bundle as the options of an actor."""
    options = {"num_cpus": bundle["CPU"], "num_gpus": bundle.get("GPU", 0.0)}
    return options | ({"memory": bundle["memory"]} if "memory" in bundle else {})


def count_fitting(nodes: Sequence[Node], bundle: Bundle) -> int:
    """How many of one bundle the empty nodes hold together."""
    kinds = [kind for kind, amount in bundle.items() if _grains(amount)]
    if not kinds:
        raise ValueError("a bundle that asks for nothing fits any number of times")
    return sum(min(_grains(node.resources.get(kind, 0.0)) // _grains(bundle[kind]) for kind in kinds) for node in nodes)


def check_capacity(nodes: Sequence[Node], bundle: Bundle, actors: int, *, local: bool = False) -> None:
    """Refuse actors for which these nodes would have no room even if they were idle; what has to wait for others is no
    matter.

    Args:
        bundle: what each of them asks for.
        local: the nodes are this machine, as a Ray of our own counts it.

    Raises:
        InputError: the numbers, and how many actors would fit.
    """
    most = count_fitting(nodes, bundle)
    if most >= actors:
        return
    on, more = ("a local Ray", "raise cluster.cpus") if local else ("the cluster", "add nodes")
    without_memory = _without_memory(bundle)
    if count_fitting(nodes, without_memory) < actors:
        bundle = without_memory  # is not to blame, and said less
    elif local:
        more = "end other programs"
    kinds = sorted(bundle, key=_order)
    each = _listed(amount_text(kind, bundle[kind]) for kind in kinds)
    asked = f"{actors} actors of {each} each do" if actors > 1 else f"{actors} actor of {each} does"
    has = _listed(_total(nodes, kind) for kind in kinds)
    count = f" on {plural(len(nodes), 'node')}" if not local else ""
    advice = f"set cluster.actors to {most} at most or {more}" if most else f"{more}: not even one actor has room"
    raise InputError(f"cluster.actors: {asked} not fit: {on} has {has}{count}", advice)


def cluster_nodes() -> tuple[Node, ...]:
    """The living nodes of the cluster that this process is connected to, the head first; from Ray's own table, which
    needs no dashboard.
    """
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    shared = Counter(node["NodeManagerAddress"] for node in alive)
    found = []
    for node in alive:
        address, resources = node["NodeManagerAddress"], dict(node["Resources"])
        name = address if shared[address] == 1 else f"{address} ({node['NodeID'][:6]})"
        found.append(Node(name, resources, "node:__internal_head__" in resources))
    return tuple(sorted(found, key=lambda node: (not node.head, node.name)))


def local_defaults() -> tuple[int, int]:
    """What a local Ray would count here if told nothing: cores, and bytes of its object store (0: not known). Starts
    none.
    """
    try:
        from ray._private import utils  # no public function tells

        cpus = int(utils.get_num_cpus(override_docker_cpu_warning=True))
        return cpus, int(utils.resolve_object_store_memory(utils.estimate_available_memory()))
    except (ImportError, AttributeError):
        return os.cpu_count() or 1, 0


def local_node(cluster: ClusterConfig, *, cpus: int, gpus: int, memory: int, object_store: int) -> Node:
    """This machine as the one node of a local Ray: what the config says, else what is there (memory in bytes)."""
    resources: dict[str, Any] = {
        "CPU": cpus if cluster.cpus is None else cluster.cpus,
        "GPU": gpus if cluster.gpus is None else cluster.gpus,
        "memory": memory,
        "object_store_memory": object_store if cluster.object_store_mb is None else cluster.object_store_mb * 2**20,
    }
    return Node(os.uname().nodename, {kind: float(amount) for kind, amount in resources.items()}, head=True)


def amount_text(kind: str, amount: float) -> str:
    """An amount of a resource in words: "2 CPUs", "1.5 GB of memory"."""
    match kind:
        case "memory":
            return f"{size(amount)} of memory"
        case "object_store_memory":
            return f"{size(amount)} of object store"
        case "CPU" | "GPU":
            return plural(amount, kind)
    return f"{amount:g} of {kind}"


def _grains(amount: float) -> int:
    return round(amount * GRAIN)


def _total(nodes: Sequence[Node], kind: str) -> str:
    total, most = (f(node.resources.get(kind, 0.0) for node in nodes) if nodes else 0.0 for f in (sum, max))
    return amount_text(kind, total) + (f" (at most {amount_text(kind, most)} on one)" if most < total else "")


def _listed(texts: Iterable[str]) -> str:
    *first, last = list(texts) or ["nothing"]
    return f"{', '.join(first)} and {last}" if first else last


def _order(kind: str) -> tuple[bool, str]:
    """CPU and GPU first, then memory and the rest."""
    return kind not in ("CPU", "GPU"), kind
