"""Several Ray nodes on this one machine: each is a raylet with an object store of its own, as a machine would be.

    python -m tests.support.ray_nodes CPUS [CPUS ...]    a cluster of these nodes, head first, in its own process

prints its address, then does what it is told, a line each on its stdin: `add CPUS`, `remove NUMBER` (the NUMBER-th node
added, killed without a word; its workers see it within a second), `lose NUMBER` (with all its processes at once, as a
machine goes); ends with its stdin.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.processes import descendants, kill


@contextmanager
def emulated(*cpus: int, object_store_mb: int = 200) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` with one node an argument, of so many logical CPUs; all of it ends with the block.

    `cluster.address` is what `--address` takes; `add_node` and `remove_node` let nodes come and go.
    """
    from ray.cluster_utils import Cluster

    from swag_ray.cluster.address import use_token

    use_token()  # `ray start` does; with none here, a driver that has one would turn the nodes' calls away
    size = {"object_store_memory": object_store_mb * 2**20}
    head, *others = cpus
    cluster = Cluster(initialize_head=True, head_node_args=size | {"num_cpus": head, "include_dashboard": False})
    try:
        for count in others:
            cluster.add_node(num_cpus=count, **size)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


class Nodes:
    """An emulated cluster in a process of its own: a process that has a Ray already can use this one. A context
    manager.
    """

    def __init__(self, *cpus: int) -> None:
        command = [sys.executable, "-m", "tests.support.ray_nodes", *map(str, cpus)]
        root = Path(__file__).resolve().parents[2]
        self.process = subprocess.Popen(
            command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.address = self._line()

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, *exc: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def tell(self, order: str) -> str:
        """Give an order and wait until it is carried out."""
        assert self.process.stdin is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, "the emulated cluster ended"
        return line


def main(cpus: list[int]) -> None:
    with emulated(*cpus) as cluster:
        added = list(cluster.worker_nodes)
        print(cluster.address, flush=True)
        for line in sys.stdin:
            order, number = line.split()
            if order == "add":
                added.append(cluster.add_node(num_cpus=int(number), object_store_memory=200 * 2**20))
            else:
                if order == "lose":
                    raylet = added[int(number)].all_processes["raylet"][0].process.pid
                    for pid in (raylet, *descendants(raylet)):
                        kill(pid)
                cluster.remove_node(added[int(number)], allow_graceful=False)
            print("done", flush=True)


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])
