"""Room for a trial: whether any node holds one, now or once an autoscaler has brought it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack

from ray.util.placement_group import placement_group, remove_placement_group

from swag_ray.cluster.capacity import ACTORS_PER_GPU, Node, actor_needs, amount_text, cluster_nodes, count_fitting
from swag_ray.config.sections import ClusterConfig
from swag_ray.config.sweep import SweepConfig
from swag_ray.errors import InputError
from swag_ray.wording import plural


def require_room(sweep: SweepConfig, wait: float, waiting: Callable[[], AbstractContextManager[None]]) -> None:
    """Refuse a sweep of which no trial could ever start.

    While it waits, a pending placement group asks an autoscaler for the node. It is this driver's own and goes with it;
    `request_resources` would replace what others asked for, and outlive a driver that is killed.

    Args:
        wait: seconds to wait for a node that is large enough.
        waiting: entered for as long as it waits.

    Raises:
        InputError: with the numbers.
    """
    actors, deadline = sweep_actors(sweep), time.monotonic() + wait
    gpus_to_come = bool((sweep.base.get("cluster") or {}).get("gpus"))
    with ExitStack() as stack:
        asking = False
        while True:
            nodes = cluster_nodes()
            bundle = {
                kind: amount for kind, amount in actor_needs(ClusterConfig(), nodes).bundle.items() if kind != "memory"
            }
            if gpus_to_come and "GPU" not in bundle:
                bundle["GPU"] = 1.0 / ACTORS_PER_GPU
            kinds = {kind: actors * amount for kind, amount in bundle.items()}
            if count_fitting(nodes, kinds):  # one node holds a whole trial
                return
            if time.monotonic() >= deadline:
                raise _no_room(nodes, actors, kinds)
            if not asking:
                asking = True
                stack.enter_context(waiting())
                group = placement_group([bundle] * actors, strategy="STRICT_PACK")
                stack.callback(remove_placement_group, group)
            time.sleep(1)


def _no_room(nodes: Sequence[Node], actors: int, kinds: dict[str, float]) -> InputError:
    most = {kind: max((node.resources.get(kind, 0.0) for node in nodes), default=0.0) for kind in kinds}
    asked, there = (" and ".join(amount_text(*item) for item in amounts.items()) for amounts in (kinds, most))
    fewer = int(min(actors * most[kind] / amount for kind, amount in kinds.items()))
    return InputError(
        f"cluster.actors: a trial of {plural(actors, 'actor')} needs one node with {asked}, and of "
        f"{plural(len(nodes), 'node')} none has more than {there}",
        (f"set base.cluster.actors to {fewer} at most, or add a larger node" if fewer else "add such a node")
        + " (--wait MINUTES asks for one and waits)",
    )


def sweep_actors(sweep: SweepConfig) -> int:
    """Sample actors of each trial."""
    return int((sweep.base.get("cluster") or {}).get("actors") or 1)
