"""Several Ray nodes on this one machine: each is a raylet with an object store of its own, as a machine would be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def emulated(nodes: int, cpus: int, *, object_store_mb: int = 200) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` of so many nodes with so many logical CPUs each; all of it ends with the block.

    `cluster.address` is what `--address` takes; `add_node` and `remove_node` let nodes come and go.
    """
    from ray.cluster_utils import Cluster

    from swag_ray.cluster.address import use_token

    use_token()  # `ray start` does; with none here, a driver that has one would turn the nodes' calls away
    size = {"num_cpus": cpus, "object_store_memory": object_store_mb * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=size | {"include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            cluster.add_node(**size)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()
