"""The token that a request shows. It is never on a command line, where every account of the machine could read it."""

from __future__ import annotations

import hmac
import os
import re
import secrets
from pathlib import Path

from swag_ray.errors import InputError, reason_of

VARIABLE = "SWAG_RAY_TOKEN"
LEAST, MOST = 16, 4096  # characters
SHAPE = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # of a bearer token (RFC 6750, 2.1)


def given_token(file: Path | None) -> str | None:
    """Returns the token in a file, else in SWAG_RAY_TOKEN, which no process started from here on inherits; None where
    neither is there.

    Raises:
        InputError: the file cannot be read, or what was given is no token.
    """
    variable = os.environ.pop(VARIABLE, None)
    if file is not None:
        try:
            return _checked(file.read_text(encoding="utf-8"), f"--token-file: '{file}'")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--token-file: cannot read '{file}' ({reason_of(error)})") from error
    return _checked(variable, VARIABLE) if variable is not None else None


def fresh_token() -> str:
    """Returns a token that nobody can guess."""
    return secrets.token_urlsafe(32)


def shows(header: str | None, token: str) -> bool:
    """Whether an `Authorization` header shows the token; takes as long wherever the two part."""
    scheme, _, shown = (header or "").partition(" ")
    same = hmac.compare_digest(shown.strip().encode(errors="replace"), token.encode())
    return same and scheme.lower() == "bearer"


def _checked(text: str, called: str) -> str:
    token = text.strip()
    if not LEAST <= len(token) <= MOST or not SHAPE.fullmatch(token):
        raise InputError(
            f"{called} holds no token: one is {LEAST} or more letters, digits and . _ ~ + / -",
            "make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    return token
