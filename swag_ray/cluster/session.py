"""Start or join Ray, say what it offers, leave it as it was found."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from swag_ray.cluster.address import check_address, no_cluster, on_loopback_alone, use_token
from swag_ray.cluster.capacity import ActorNeeds, Bundle, actor_needs, check_capacity, cluster_nodes
from swag_ray.cluster.local_ray import LOOPBACK, forget_token, local_ray, loopback_alone, working_folder_kept
from swag_ray.config.sections import ClusterConfig
from swag_ray.errors import InputError
from swag_ray.system.files import private_files


@dataclass(frozen=True)
class Session:
    """What the Ray we work on offers.

    Attributes:
        cpus, gpus: logical resources of the whole cluster.
        actors: how many sample actors to run.
        bundle: what Ray reserves for each of them.
        extractors: how many extraction actors to start with.
        extractor_bundle: what Ray reserves for each of those.
        elastic: whether nodes that come later get extraction actors too.
    """

    cpus: int
    gpus: int
    actors: int
    bundle: Bundle = field(default_factory=lambda: {"CPU": 1.0})
    extractors: int = 1
    extractor_bundle: Bundle = field(default_factory=lambda: {"CPU": 1.0})
    elastic: bool = False


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
        actors: number of worker actors; None is what `capacity.need` finds room for.
        ready: called once connected, before anything is counted: may wait for nodes.

    Raises:
        InputError: no cluster answers at `address`, no local Ray can start, or there is no room for so many actors.
    """
    # Set before Ray is imported: its data layer reads some of these once.
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    ours = not ray.is_initialized()
    with ExitStack() as stack:
        if ours:
            stack.enter_context(_words_aside())
        if ours and address is None:
            with _sigterm_kept():
                stack.enter_context(local_ray(cpus, gpus, object_store_mb))
        elif ours:
            stack.callback(ray.shutdown)
            with _sigterm_kept():
                _join(str(address))
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
        local = ours and address is None
        wanted = _need(actors, local=local)
        yield Session(
            n_cpus, n_gpus, wanted.actors, wanted.bundle, wanted.extractors, wanted.extractor_bundle,
            elastic=actors is None and not local,
        )  # fmt: skip


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
    """Keep Ray Data's bars, start-up lines and stacks out of our terminal: what ends it is raised to us as well."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


def _need(asked: int | None, *, local: bool) -> ActorNeeds:
    nodes = cluster_nodes()
    wanted = actor_needs(ClusterConfig(actors=asked), nodes)
    check_capacity(nodes, wanted.bundle, wanted.actors, local=local)
    return wanted


def _join(address: str) -> None:
    import ray

    forget_token()  # a local session of this process had one of its own
    target = check_address(address)
    use_token()
    try:
        with working_folder_kept(), private_files(), ExitStack() as stack:
            place: dict[str, Any] = {}
            if on_loopback_alone(target):
                stack.enter_context(loopback_alone())
                place["_node_ip_address"] = LOOPBACK
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **place)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise no_cluster(address, error) from error


@contextmanager
def _words_aside() -> Iterator[None]:
    """Has Ray tell of killed tasks and lost nodes on file descriptor 2, for which the command line has a file. It would
    print that to Python's stdout, among our lines or into our JSON, and has no setting for it.
    """
    from ray._private import worker

    module: Any = worker
    before = getattr(module, "print_to_stdstream", None)

    def write(data: Any, *_: Any, **__: Any) -> None:
        with suppress(OSError):
            os.write(2, "".join(f"({data['pid']}) {line}\n" for line in data["lines"]).encode())

    module.print_to_stdstream = write
    try:
        yield
    finally:
        module.print_to_stdstream = before


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Keeps the program's handler of SIGTERM, in place of which Ray puts its own."""
    ended_by = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(ended_by) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ended_by)
