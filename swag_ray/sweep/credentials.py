"""The secrets of a sweep's loggers: used from the environment, never written down."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from swag_ray.config.sweep import SweepConfig
from swag_ray.errors import InputError
from swag_ray.masking import MASK

# Where each library looks for a secret that it is not given.
VARIABLES = {"wandb.api_key": "WANDB_API_KEY", "mlflow.tracking_token": "MLFLOW_TRACKING_TOKEN"}
ADDRESSES = ("mlflow.tracking_uri", "mlflow.registry_uri")
USER, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"


def with_secrets_in_environment(sweep: SweepConfig) -> SweepConfig:
    """Moves the loggers' secrets into this process's environment; Ray Tune pickles what a logger is given.

    A sweep that goes on is read from its sweep.yaml, which holds `***` in their place: the environment must have them.

    Raises:
        InputError: a secret that is neither given nor in the environment, and how to give it.
    """
    loggers: dict[str, Any] = {name: dict(arguments) for name, arguments in sweep.loggers.items()}
    for name, field, value in list(_texts(loggers)):
        path = f"{name}.{field}"
        if path in VARIABLES:
            if value == MASK:
                _require(path, VARIABLES[path])
            else:
                os.environ[VARIABLES[path]] = value
            del loggers[name][field]
        elif path in ADDRESSES and "@" in value:
            loggers[name][field] = _without_user(path, value)
        elif MASK in value:
            raise _missing(path)
    return sweep.model_copy(update={"loggers": loggers})


def _texts(loggers: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    for name, arguments in loggers.items():
        for field, value in arguments.items():
            if isinstance(value, str):
                yield name, field, value


def _without_user(path: str, address: str) -> str:
    scheme, _, rest = address.partition("://")
    account, _, server = rest.rpartition("@")
    if account == MASK:
        if not os.environ.get("MLFLOW_TRACKING_TOKEN"):
            _require(path, USER, PASSWORD)
        return f"{scheme}://{server}"
    user, _, password = account.partition(":")
    os.environ[USER], os.environ[PASSWORD] = unquote(user), unquote(password)
    if urlsplit(f"{scheme}://{server}").hostname is None:
        raise InputError(f"loggers.{path}: is no address", "write https://HOST, and the account in " + USER)
    return f"{scheme}://{server}"


def _require(path: str, *variables: str) -> None:
    if not all(os.environ.get(name) for name in variables):
        raise _missing(path, *variables)


def _missing(path: str, *variables: str) -> InputError:
    again = f"give it again with --set loggers.{path}"
    return InputError(
        f"loggers.{path}: a sweep's directory keeps no secret",
        f"set {' and '.join(variables)}, or {again}" if variables else again,
    )
