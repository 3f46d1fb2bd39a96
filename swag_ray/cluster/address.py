"""Whether a Ray cluster answers at an address and takes our token: Ray itself goes on trying for many minutes."""

from __future__ import annotations

import logging
import os
import re
import socket
from contextlib import suppress
from pathlib import Path

from swag_ray.errors import InputError, reason_of
from swag_ray.system.deadline import run_with_timeout

SECONDS = 5.0
# How every HTTP/2 connection is opened (RFC 9113, 3.4), with the empty SETTINGS frame that a client owes.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
SETTINGS = 4  # type of the frame that the server's side opens with


def check_address(address: str) -> str:
    """Returns HOST:PORT of the Ray cluster that answers at an address and takes our token, within seconds.

    Args:
        address: `auto` or HOST:PORT.

    Raises:
        InputError: no such address, nobody there who speaks Ray's protocol, or another token.
    """
    target = _found_by_ray() if address == "auto" else address
    match = re.fullmatch(r"\[?([^\s/]+?)\]?:(\d{1,5})", target)
    if match is None or not 0 < int(match[2]) < 65536:
        raise InputError(f"--address: '{target}' is no address of a Ray cluster", "give `auto` or HOST:PORT")
    try:
        run_with_timeout(2 * SECONDS, lambda: _greet(match[1], int(match[2])))
    except OSError as error:
        raise no_cluster(target, error) from error
    _show_token(target)
    return target


def use_token() -> None:
    """Show the token for clusters that lies on this machine, unless RAY_AUTH_MODE says otherwise.

    Nobody else may read it from then on.
    Ray does so for clusters that it starts, not for those that it joins. One that asks for none takes it too.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)  # it would warn of what is wanted here
    with suppress(OSError, RuntimeError):  # no such file or no home; another account's is not ours to change
        token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
        if token.stat().st_mode & 0o077:  # Ray writes it as the umask has it
            token.chmod(0o600)
    with suppress(ImportError):  # not a public function
        from ray._private.authentication import authentication_token_setup

        authentication_token_setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def on_loopback_alone(address: str) -> bool:
    """Whether a cluster listens on this machine's loopback interface and nowhere else, as a local Ray of ours does."""
    from ray.util import get_node_ip_address

    host, _, port = address.rpartition(":")
    if host not in ("127.0.0.1", "localhost"):
        return False
    try:
        socket.create_connection((get_node_ip_address(), int(port)), timeout=SECONDS).close()
    except OSError:
        return True
    return False


def no_cluster(address: str, error: Exception) -> InputError:
    """The one line for an address at which no cluster could be joined."""
    return InputError(
        f"--address: no Ray cluster could be joined at '{address}' ({reason_of(error)})",
        "start one with `ray start --head`, "
        "and if it uses token authentication set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or ~/.ray/auth_token) here",
    )


def _show_token(target: str) -> None:
    """Ask what needs a token. `ray.init` tries for 20 seconds with a wrong one, then says only that it failed."""
    from ray import exceptions

    use_token()
    try:
        from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
        from ray._raylet import GcsClient  # type: ignore[attr-defined]  # neither is public
    except ImportError:
        return  # `ray.init` will see
    try:
        ensure_token_if_auth_enabled(create_token_if_missing=False)  # without any, the client would end the process
        GcsClient(address=target)
    except exceptions.AuthenticationError as error:
        reason = error.message.partition(". ")[0].removeprefix("RPC error: ")
        raise InputError(
            f"--address: the Ray cluster at '{target}' cannot be joined ({reason})",
            "set RAY_AUTH_MODE=token and put the token of that cluster into RAY_AUTH_TOKEN or ~/.ray/auth_token",
        ) from error
    except exceptions.RayError as error:
        raise no_cluster(target, error) from error


def _found_by_ray() -> str:
    """The cluster that `auto` means: the one in RAY_ADDRESS, or the one started on this machine."""
    from ray._private import services  # no public function tells

    try:
        found = services.canonicalize_bootstrap_address("auto")
    except (ConnectionError, ValueError) as error:
        raise no_cluster("auto", error) from error
    if found is None:
        raise no_cluster("auto", ConnectionError("none runs on this machine"))
    return str(found)


def _greet(host: str, port: int) -> None:
    try:
        connection = socket.create_connection((host, port), timeout=SECONDS)
    except UnicodeError as error:  # of a label that is empty or too long
        raise ConnectionError("that is no name of a host") from error
    with connection:
        if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
            return  # an encrypted greeting is Ray's own business
        connection.sendall(PREFACE)
        answer = connection.recv(9)
    if len(answer) < 4 or answer[3] != SETTINGS:
        raise ConnectionError("what answers there is not Ray")
