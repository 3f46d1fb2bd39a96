"""Start or join Ray, say what it offers, leave it as it was found."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from swag_ray.cluster.address import check_address, no_cluster, use_token
from swag_ray.errors import InputError, reason_of


@dataclass(frozen=True)
class Session:
    """What the Ray we work on offers.

    Attributes:
        cpus, gpus: logical resources of the whole cluster.
        actors: how many sample or extraction actors to run: one per GPU, or one per core.
    """

    cpus: int
    gpus: int
    actors: int

    @property
    def gpus_per_actor(self) -> float:
        return 1.0 if self.gpus else 0.0


@contextmanager
def ray_session(
    *,
    address: str | None = None,
    cpus: int | None = None,
    gpus: int | None = None,
    actors: int | None = None,
    object_store_mb: int | None = None,
    ready: Callable[[], object] = lambda: None,
) -> Iterator[Session]:
    """A Ray to work on: the one this process is already connected to, the cluster at `address`, or a local one.

    Args:
        address: `auto` or HOST:PORT of a running cluster; None starts a local Ray of our own.
        cpus, gpus, object_store_mb: the size of that local Ray; None is what is there.
        actors: number of worker actors; None is one per GPU, or one per core without GPUs.
        ready: called once connected, before anything is counted: may wait for nodes.

    Raises:
        InputError: no cluster answers at `address`, or it has no room for so many actors.
    """
    # Set before Ray is imported: its data layer reads some of these once.
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    ours = not ray.is_initialized()
    try:
        if ours:
            _start(address, cpus, gpus, object_store_mb)
        quiet_ray_data()
        ready()
        total = ray.cluster_resources()
        n_cpus, n_gpus = int(total.get("CPU", 0)), int(total.get("GPU", 0))
        if n_cpus < 1:
            raise InputError(
                "cluster: no node of this Ray cluster has a CPU yet",
                "start a worker node first (an autoscaler starts "
                "one for `ray.autoscaler.sdk.request_resources(num_cpus=1)`; "
                "a sweep asks for one with --wait MINUTES)",
            )
        yield Session(n_cpus, n_gpus, _actors(actors, local=ours and address is None))
    finally:
        if ours:
            ray.shutdown()


def get_or_raise(reference: Any) -> Any:
    """The value of a reference; a bad input found in an actor comes out as the one line it is, not as Ray's stack."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise error.cause from None
        raise


def constructor_argument(value: Any, items: int) -> Any:
    """What to give an actor's constructor: a small value as it is, a large one as a reference for the caller to keep.

    A restarted actor gets its arguments again, and Ray holds on to a large one only as long as somebody refers to it.
    """
    import ray

    return value if items <= 1_000 else ray.put(value)


def quiet_ray_data() -> None:
    """Keep Ray Data's bars and start-up lines out of our terminal."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _actors(asked: int | None, *, local: bool) -> int:
    from swag_ray.cluster.capacity import actor_needs, check_capacity, cluster_nodes
    from swag_ray.config.sections import ClusterConfig

    nodes = cluster_nodes()
    wanted = actor_needs(ClusterConfig(actors=asked), nodes)
    check_capacity(nodes, wanted.bundle, wanted.actors, local=local)
    return wanted.actors


def _start(address: str | None, cpus: int | None, gpus: int | None, object_store_mb: int | None) -> None:
    import ray

    ended_by = signal.getsignal(signal.SIGTERM)
    if address is None:
        memory = object_store_mb * 2**20 if object_store_mb else None
        try:
            # "local" always, so that a stray RAY_ADDRESS in the environment is not joined by accident.
            ray.init(
                address="local", num_cpus=cpus, num_gpus=gpus, object_store_memory=memory, include_dashboard=False,
                log_to_driver=False, logging_level=logging.ERROR, configure_logging=True,
            )  # fmt: skip
        except ValueError as error:
            raise InputError(
                f"cluster: Ray cannot start with cluster.cpus, gpus, object_store_mb as set: {reason_of(error)}"
            ) from error
    else:
        check_address(address)
        use_token()
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise no_cluster(address, error) from error
    if callable(ended_by) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, ended_by)  # Ray puts its own in place of the program's
