"""What a Ray cluster has, what a config needs of it, and whether the one can ever hold the other.

Everything but `cluster_nodes` and `local_defaults` is plain arithmetic. Resources are Ray's: CPU and GPU by number,
memory and object_store_memory in bytes, any other by its own name. A bundle is a dict of resources that must lie on
one node, as in a placement group.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swag_ray.config_sections import ClusterConfig
from swag_ray.errors import InputError

Bundle = Mapping[str, float]
Amounts = tuple[int, ...]

GRAIN = 10_000  # Ray counts resources in ten-thousandths
STEPS = 20_000  # of the search for a packing: under a second
RAY_STORE_MINIMUM = 75 * 2**20  # bytes; Ray refuses a smaller object store


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
class Need:
    """What a config asks of a cluster.

    Attributes:
        actors: sample actors, or extraction actors before them: never both at work at a time.
        bundle: what Ray reserves for each of them.
        memory: bytes that each of them uses. Ray reserves none of it.
    """

    actors: int
    bundle: Bundle = field(default_factory=dict)
    memory: int = 0

    @property
    def bundles(self) -> list[Bundle]:
        return [self.bundle] * self.actors

    @property
    def bundles_with_memory(self) -> list[Bundle]:
        return [{**self.bundle, "memory": self.memory}] * self.actors


def need(cluster: ClusterConfig, nodes: Sequence[Node], *, memory: int = 0) -> Need:
    """What a config's `cluster` section needs on these nodes; where it leaves the number of actors open, one a GPU or,
    without any in the cluster, one a core: as many as have room.

    Args:
        memory: bytes that one actor uses.
    """
    gpus = int(sum(node.gpus for node in nodes))
    bundle = {"CPU": 1.0, "GPU": 1.0} if gpus else {"CPU": 1.0}
    return Need(cluster.actors or max(1, room(nodes, bundle)), bundle, memory)


def room(nodes: Sequence[Node], bundle: Bundle) -> int:
    """How many of one bundle the empty nodes hold together."""
    kinds = [kind for kind, amount in bundle.items() if _grains(amount)]
    if not kinds:
        raise ValueError("a bundle that asks for nothing fits any number of times")
    return sum(min(_grains(node.resources.get(kind, 0.0)) // _grains(bundle[kind]) for kind in kinds) for node in nodes)


def fits(nodes: Sequence[Node], bundles: Sequence[Bundle]) -> bool | None:
    """Whether the empty nodes hold all bundles at once, each on one node.

    First fit, largest bundles first, and where that fails every other way, one after the other: a refusal is final for
    the user, and first fit alone errs. GPUs are counted a node, so a third of .6 GPU counts as fitting on two GPUs.

    Returns:
        True or False, both certain; None when neither could be shown in `STEPS` steps, for hundreds of unequal bundles.
    """
    kinds = sorted({kind for bundle in bundles for kind, amount in bundle.items() if _grains(amount)})
    wanted = [tuple(_grains(bundle.get(kind, 0.0)) for kind in kinds) for bundle in bundles]
    wanted = [amounts for amounts in wanted if any(amounts)]
    free = [tuple(_grains(node.resources.get(kind, 0.0)) for kind in kinds) for node in nodes]
    if not wanted:
        return True
    total = [sum(amounts) for amounts in zip(*free, strict=True)] if free else [0] * len(kinds)
    if any(sum(asked) > there for asked, there in zip(zip(*wanted, strict=True), total, strict=True)):
        return False
    if not all(any(_holds(node, amounts) for node in free) for amounts in set(wanted)):
        return False
    if len(set(wanted)) == 1:
        return room(nodes, next(bundle for bundle in bundles if any(map(_grains, bundle.values())))) >= len(wanted)

    def share(amounts: Amounts) -> float:
        return max(asked / there for asked, there in zip(amounts, total, strict=True) if asked)

    # Poor nodes first, so that a bundle without a GPU leaves the nodes that have some to those that need them.
    free.sort(key=lambda node: sum(has / there for has, there in zip(node, total, strict=True) if there))
    return _packed(tuple(free), sorted(wanted, key=lambda amounts: (share(amounts), amounts), reverse=True))


def check_fits(
    nodes: Sequence[Node],
    bundles: Sequence[Bundle],
    *,
    beside: Sequence[Bundle] = (),
    local: bool = False,
) -> None:
    """Refuse what these nodes could not hold even if they were idle; what has to wait for others is no matter.

    Args:
        bundles: one an actor.
        beside: bundles that must be held at the same time and whose number the user cannot choose, such as a trial's.
        local: the nodes are this machine, as a Ray of our own counts it.

    Raises:
        InputError: the numbers, and how many actors would fit.
    """
    if fits(nodes, [*beside, *bundles]) is not False:
        return
    on, more = ("a local Ray", "raise cluster.cpus") if local else ("the cluster", "add nodes")
    asked = _described(bundles, "actor") + (f" beside {_described(beside, 'bundle')}" if beside else "")
    verb = "does" if len(bundles) == 1 else "do"
    kinds = sorted({kind for bundle in [*beside, *bundles] for kind in bundle}, key=_order)
    has = _listed([_total(nodes, kind) for kind in kinds])
    count = f" on {len(nodes)} node{'s' * (len(nodes) != 1)}" if not local else ""
    most = _most(nodes, bundles, beside)
    advice = f"set cluster.actors to {most} at most or {more}" if most else f"{more}: not even one actor has room"
    raise InputError(f"cluster.actors: {asked} {verb} not fit: {on} has {has}{count}; {advice}")


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
            return f"{amount / 1e9:.1f} GB of memory"
        case "object_store_memory":
            return f"{amount / 1e9:.1f} GB of object store"
        case "CPU" | "GPU":
            return f"{amount:g} {kind}" + "s" * (amount != 1)
    return f"{amount:g} of {kind}"


def _packed(free: tuple[Amounts, ...], wanted: Sequence[Amounts]) -> bool | None:
    """Depth first over which node takes the next bundle; the first way down is first fit. Equal nodes are tried once,
    and so is every state that differs in the order of the nodes alone.
    """
    ways = [_placements(free, wanted[0])]
    met: set[tuple[int, tuple[Amounts, ...]]] = set()
    for _ in range(STEPS + len(wanted)):
        left = next(ways[-1], None)
        if left is None:
            ways.pop()
            if not ways:
                return False
        elif len(ways) == len(wanted):
            return True
        elif (state := (len(ways), tuple(sorted(left)))) not in met:
            met.add(state)
            ways.append(_placements(left, wanted[len(ways)]))
    return None


def _placements(free: tuple[Amounts, ...], bundle: Amounts) -> Iterator[tuple[Amounts, ...]]:
    """What is left free, for every node that could take the bundle."""
    tried = set()
    for i, node in enumerate(free):
        if node not in tried and _holds(node, bundle):
            tried.add(node)
            yield (*free[:i], tuple(has - takes for has, takes in zip(node, bundle, strict=True)), *free[i + 1 :])


def _holds(node: Amounts, bundle: Amounts) -> bool:
    return all(has >= takes for has, takes in zip(node, bundle, strict=True))


def _grains(amount: float) -> int:
    return round(amount * GRAIN)


def _most(nodes: Sequence[Node], bundles: Sequence[Bundle], beside: Sequence[Bundle]) -> int:
    """How many of the bundles, from the first on, certainly fit."""
    low, high = 0, len(bundles) - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(nodes, [*beside, *bundles[:middle]]) else (low, middle - 1)
    return low


def _described(bundles: Sequence[Bundle], word: str) -> str:
    """ "8 actors of 1 CPU each", or every sort of bundle with its number."""
    sorts = Counter(
        tuple((kind, bundle[kind]) for kind in sorted(bundle, key=_order) if _grains(bundle[kind]))
        for bundle in bundles
    )
    texts = [(count, _listed(amount_text(*item) for item in sort)) for sort, count in sorts.most_common()]
    words = f"{len(bundles)} {word}" + "s" * (len(bundles) != 1)
    if len(texts) == 1:
        return f"{words} of {texts[0][1]}" + " each" * (len(bundles) != 1)
    return f"{words} ({'; '.join(f'{count} of {text}' for count, text in texts)})"


def _total(nodes: Sequence[Node], kind: str) -> str:
    total, most = (f(node.resources.get(kind, 0.0) for node in nodes) if nodes else 0.0 for f in (sum, max))
    return amount_text(kind, total) + (f" (at most {amount_text(kind, most)} on one)" if most < total else "")


def _listed(texts: Iterable[str]) -> str:
    *first, last = list(texts) or ["nothing"]
    return f"{', '.join(first)} and {last}" if first else last


def _order(kind: str) -> tuple[bool, str]:
    """CPU and GPU first, then memory and the rest."""
    return kind not in ("CPU", "GPU"), kind
