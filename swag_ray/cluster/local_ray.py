"""Starts a Ray of our own on this machine, and leaves nothing of it behind."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from swag_ray.cluster.surroundings import PREFIX, check_limits, reason_and_advice, session_place
from swag_ray.errors import InputError, reason_of
from swag_ray.system.files import private_files

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
UV_PACKING, UV_HOOK = "RAY_ENABLE_UV_RUN_RUNTIME_ENV", "RAY_RUNTIME_ENV_HOOK"
START_SECONDS = 150.0
OUTSIDE_NODES = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
LOOPBACK = "127.0.0.1"


@contextmanager
def local_ray(cpus: int | None, gpus: int | None, object_store_mb: int | None) -> Iterator[None]:
    """Starts a local Ray; its session lies in a folder that this account alone may read and that goes with it.

    Args:
        cpus, gpus, object_store_mb: its size; None is what is there.

    Raises:
        InputError: it cannot start here; why, and what to do.
    """
    import ray  # whoever waits for a config's first fault should not wait for Ray

    check_limits(0 if object_store_mb is None else object_store_mb * 2**20)
    place = session_place()
    try:
        os.makedirs(place.folder, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=PREFIX, dir=place.folder)
    except OSError as error:
        raise InputError(
            f"cluster: no folder for Ray's session can be made in '{place.folder}' ({reason_of(error)})",
            "set RAY_TMPDIR to a folder that you may write",
        ) from error
    try:
        with _own_token():
            try:
                with working_folder_kept(), private_files(), loopback_alone(), _patience():
                    _init(cpus, gpus, object_store_mb, folder)
                    _check_privacy()
                yield
            finally:
                ray.shutdown()  # asks for the token until its end
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _init(cpus: int | None, gpus: int | None, object_store_mb: int | None, folder: str) -> None:
    import ray

    try:
        # "local" always, so that a stray RAY_ADDRESS in the environment is not joined by accident.
        ray.init(
            address="local", num_cpus=cpus, num_gpus=gpus, include_dashboard=False, log_to_driver=False,
            object_store_memory=object_store_mb * 2**20 if object_store_mb else None,
            logging_level=logging.ERROR, configure_logging=True, _temp_dir=folder, _node_ip_address=LOOPBACK,
        )  # fmt: skip
    except ValueError as error:
        raise InputError(
            f"cluster: Ray cannot start with cluster.cpus, gpus, object_store_mb as set: {reason_of(error)}"
        ) from error
    except Exception as error:
        if not _of_surroundings(error):
            raise
        reason, advice = reason_and_advice(error)
        raise InputError(f"cluster: Ray cannot start on this machine: {reason}", advice) from error
    with suppress(OSError):
        os.chmod(folder, 0o700)  # Ray opens it to everybody


def _check_privacy() -> None:
    """Makes sure that Ray did as it was told by ways that are not public.

    Raises:
        RuntimeError: this version of Ray did not.
    """
    import ray

    context = ray.get_runtime_context()
    if not ray.util.get_node_ip_address().startswith("127."):
        raise RuntimeError(f"Ray {ray.__version__} does not listen on the loopback interface alone")
    if context.runtime_env.get("working_dir"):
        raise RuntimeError(f"Ray {ray.__version__} packs the working folder into its session")


@contextmanager
def loopback_alone() -> Iterator[None]:
    """Has Ray that starts listen on the loopback interface alone, where nothing outside this machine reaches it, and
    Ray that joins look there.

    Ray does so for any node that is not to be part of a cluster, its default on macOS and Windows; elsewhere it
    replaces a loopback address that it is given by one of the machine's own.
    """
    from ray._private import ray_constants

    found, before = getattr(ray_constants, "ENABLE_RAY_CLUSTER", True), os.environ.get(OUTSIDE_NODES)
    os.environ[OUTSIDE_NODES] = "0"  # for the processes that Ray starts
    ray_constants.ENABLE_RAY_CLUSTER = False  # read from the environment once, maybe before we were there
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = found
        del os.environ[OUTSIDE_NODES]
        if before is not None:
            os.environ[OUTSIDE_NODES] = before


@contextmanager
def working_folder_kept() -> Iterator[None]:
    """Keeps Ray from packing the working folder, X-rays and all, into its session when it sees `uv run` above us.

    All that the workers need is installed, with uv or without.
    """
    from ray._private import ray_constants

    found = getattr(ray_constants, UV_PACKING, None)  # read from the environment once, maybe before we were there
    hook = os.environ.get(UV_HOOK, "")
    setattr(ray_constants, UV_PACKING, False)
    if "uv_runtime_env" in hook:
        del os.environ[UV_HOOK]
    try:
        yield
    finally:
        setattr(ray_constants, UV_PACKING, found)
        if hook:
            os.environ[UV_HOOK] = hook


@contextmanager
def _patience() -> Iterator[None]:
    """Gives the processes START_SECONDS to come up. Ray gives them 30, without a setting; a busy machine needs more."""
    from ray._private import services

    until = time.monotonic() + START_SECONDS
    ask: Any = getattr(services, "get_node", None)

    def ask_on(*arguments: Any) -> Any:
        while True:
            try:
                return ask(*arguments)
            except RuntimeError:  # not there yet
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    services.get_node = ask_on
    try:
        yield
    finally:
        services.get_node = ask


def _of_surroundings(error: Exception) -> bool:
    """Whether the machine is to blame: what Ray says of it comes as these, or as a plain Exception."""
    from ray.exceptions import RayError

    return isinstance(error, OSError | RuntimeError | MemoryError | RayError) or type(error) is Exception


@contextmanager
def _own_token() -> Iterator[None]:
    """Gives the session a token of its own, by the environment, unless one is given there. Ray would write one into the
    home folder, which may be absent, another account's or read-only, and readable to everybody.
    """
    given = bool(os.environ.get(TOKEN)) or os.access(os.environ.get(TOKEN_PATH, ""), os.R_OK)
    if given or os.environ.get(MODE, "token").lower() != "token":
        forget_token()
        yield
        return
    before: dict[str, Any] = {name: os.environ.get(name) for name in (TOKEN, TOKEN_PATH)}
    os.environ[TOKEN] = secrets.token_hex(32)
    os.environ.pop(TOKEN_PATH, None)
    forget_token()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        # Not forgotten here: a thread of Ray's core that finds no token any more aborts the process.


def forget_token() -> None:
    """Has Ray's core, which remembers the last token, look for one again."""
    with suppress(ImportError, AttributeError):
        from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # not public

        AuthenticationTokenLoader.instance().reset_cache()
