"""A function on replicas of Ray Serve, which starts them again where they are lost; asked from this process alone.

Serve's own HTTP proxy stays off: who listens, who may ask and what is logged is the caller's business (`serve/`).
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from swag_ray.cluster.capacity import actor_options
from swag_ray.cluster.session import ray_session
from swag_ray.errors import InputError

Work: TypeAlias = Callable[..., Any]

DEPLOYMENT = "replica"
AHEAD = 2  # requests that a replica holds: the next one's bytes travel while one is answered
MAX_DEATHS = 5  # replicas that a request may lose; one that always ends its process must not end all of them for ever
PATIENCE = 120.0  # seconds; a replica on another node is there in twenty
PAUSE = 0.2  # seconds before a lost request is asked again
COUNT_SECONDS = 1.0  # for which a count of replicas holds
LACKING = re.compile(r"^\S*(?:ModuleNotFoundError|ImportError): (.+)$", re.M)  # in a stack of another node


class Unanswered(Exception):
    """No replica gave an answer; the message says why. The same request may be answered later."""


class Replicas:
    """The replicas that are to answer.

    Attributes:
        wanted: how many.
        lost: requests that a replica took and did not answer; they were asked again.
    """

    def __init__(self, handle: Any, application: str, wanted: int) -> None:
        self.wanted, self.lost = wanted, 0
        self._handle, self._application = handle, application
        self._running, self._counted = wanted, time.monotonic()

    async def ask(self, *arguments: Any) -> Any:
        """Returns what the function gives for these arguments; where its replica is lost, another is asked.

        Raises:
            Unanswered: none answered in `PATIENCE` seconds, or `MAX_DEATHS` died of it.
            Exception: what the function raised.
        """
        from ray.exceptions import RayError, RayTaskError

        until, deaths = time.monotonic() + PATIENCE, 0
        while deaths < MAX_DEATHS:
            try:
                return await asyncio.wait_for(self._response(*arguments), until - time.monotonic())
            except RayTaskError:
                raise
            except RayError:
                self.lost += 1
                deaths += 1
            except TimeoutError:
                break
            if time.monotonic() + PAUSE >= until:
                break
            await asyncio.sleep(PAUSE)
        raise Unanswered(f"no replica answered ({deaths} were lost)" if deaths else "no replica answered in time")

    async def _response(self, *arguments: Any) -> Any:
        return await self._handle.remote(*arguments)

    async def running(self) -> int:
        """Returns how many replicas are up, as of the last second."""
        if time.monotonic() - self._counted > COUNT_SECONDS:
            self._running, self._counted = await asyncio.to_thread(self._count), time.monotonic()
        return self._running

    def _count(self) -> int:
        from ray import serve

        application = serve.status().applications.get(self._application)
        states: dict[Any, int] = application.deployments[DEPLOYMENT].replica_states if application else {}
        return states.get("RUNNING", 0)


@contextmanager
def replicas(
    factory: Callable[..., Work], parts: tuple[Any, ...], *, name: str, count: int | None, address: str | None
) -> Iterator[Replicas]:
    """Starts replicas of a function and yields them when all are up.

    Args:
        factory: `factory(*parts)` makes the function, once in each replica; both are pickled.
        parts: what it is made of; travels by the object store.
        name: of the application; on a joined cluster one of the same name is replaced.
        count: of replicas; None: one a core, or four a GPU.
        address: `auto` or HOST:PORT of a running cluster; None starts a local Ray of our own.

    Raises:
        InputError: no cluster or no room, a node that lacks what is to run there, or the factory raised one.
    """
    import ray

    ends_with_us = address is None and not ray.is_initialized()  # and all that is in it
    with ray_session(address=address, actors=count) as session:
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.CRITICAL)
        quiet: dict[str, Any] = {"enable_access_log": False, "log_level": "ERROR"}
        with _installed_everywhere():
            serve.start(proxy_location="Disabled", logging_config=quiet)
        replica: Any = serve.deployment(_Replica)
        deployment = replica.options(
            name=DEPLOYMENT, num_replicas=session.actors, max_ongoing_requests=AHEAD, logging_config=quiet,
            ray_actor_options=actor_options(session.bundle), graceful_shutdown_timeout_s=5.0,
            graceful_shutdown_wait_loop_s=0.1, health_check_period_s=2.0, health_check_timeout_s=30.0,
        )  # fmt: skip
        kept = ray.put((factory, parts))  # kept here: a replica that is started again asks for it again
        try:
            with _installed_everywhere():
                handle = _run(deployment.bind([kept]), name)
            if (problem := handle.problem.remote().result()) is not None:
                raise InputError(*problem)
            yield Replicas(handle, name, session.actors)
        finally:
            if not ends_with_us:
                _leave(name)


def _run(application: Any, name: str) -> Any:
    """Returns the handle of an application, once all its replicas are up.

    Raises:
        RuntimeError: they cannot start, and why. Where one is up Serve would try the others for ever, and say nothing.
    """
    from ray import serve

    target = serve.RunTarget(application, name=name, route_prefix=None)
    (handle,) = serve.run_many([target], wait_for_applications_running=False)
    while (found := serve.status().applications[name]).status != "RUNNING":
        told = "\n".join([found.message, *(one.message for one in found.deployments.values())])
        if found.status == "DEPLOY_FAILED" or LACKING.search(told):
            raise RuntimeError(f"Ray Serve: {told}")
        time.sleep(PAUSE)
    return handle


@contextmanager
def _installed_everywhere() -> Iterator[None]:
    """Has it said in one line where a node lacks what this process has imported; any other fault stays what it is."""
    from ray.exceptions import RayError

    try:
        yield
    except (RuntimeError, RayError) as error:
        found = LACKING.search(str(error))
        if found is None:
            raise
        raise InputError(
            f"--address: a node of the Ray cluster lacks what runs here ({found[1].strip()})",
            "install 'swag-ray[serve]' on every node, the version that runs here",
        ) from error


def _leave(name: str) -> None:
    """Takes an application off a cluster, and Serve with it where that was the last one."""
    from ray import serve

    serve.delete(name)
    if not serve.status().applications:
        serve.shutdown()


class _Replica:
    def __init__(self, kept: list[Any]) -> None:
        import ray

        _keep_to_loopback()  # before Serve opens a port, which it does once this is made
        factory, parts = ray.get(kept[0])
        self.refused: InputError | None = None
        try:
            self.work: Work = factory(*parts)
        except InputError as error:  # Serve would try thrice and tell a stack
            self.refused = error

    def problem(self) -> tuple[str, str] | None:
        """Returns why there is no function to call, or None."""
        return (self.refused.problem, self.refused.advice) if self.refused else None

    async def __call__(self, *arguments: Any) -> Any:
        return await asyncio.to_thread(self.work, *arguments)


def _keep_to_loopback() -> None:
    """Has the port by which Serve's replicas ask each other, ours never, listen on the loopback interface alone where
    the whole node does. Serve opens it on every interface and has no setting for it.
    """
    import ray
    from ray.serve._private import replica

    host = ray.util.get_node_ip_address()
    if not host.startswith("127."):
        return  # a node of a cluster, which has ports of Ray open to the others anyway
    module: Any = replica
    add_port = getattr(module, "add_port_to_grpc_server", None)
    if add_port is None:
        raise RuntimeError(f"Ray {ray.__version__} opens the replicas' port another way than on one interface")
    module.add_port_to_grpc_server = lambda server, _: add_port(server, f"{host}:0")
