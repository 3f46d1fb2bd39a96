"""Secrets out of what is written or shown: passwords in addresses, tokens, keys.

`masked` is for texts (messages, what other libraries say), `without_secrets` for configs. Every `InputError`, every
config file and both reports go through them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

MASK = "***"
SHORTEST = 8  # characters of a value that is taken for a secret wherever it stands; shorter ones are words

_NAME = (
    r"(?:api|access|private|secret|auth|account)[_-]?key|token|secret|passw|passphrase|credential|signature|authorization"
    r"|(?<![a-z])(?:pwd|sig)(?![a-z])"
)
# What such a name ends in where its value is no secret: `api_key_file`, AWS_ACCESS_KEY_ID, RAY_AUTH_TOKEN_PATH.
_SECRET_NAME = re.compile(rf"(?i)(?:{_NAME})(?!.*(?:file|path|dir|mode|_id|expire\w*)$)")
# USER:PASSWORD@ or TOKEN@ of an address. A password may hold "/" and "@", as keys made by machines do; and an address
# that was taken for a path has lost a slash.
_USER = re.compile(r"(\w:/{1,2})(?:[^\s'\"/]+|[^\s'\"]*:[^\s'\"]*)@")
# NAME=VALUE in an address or a command line, NAME='VALUE' in printed arguments, 'NAME': 'VALUE' in a printed table, and
# NAME: VALUE in YAML, where only a value with a digit is taken for more than a word of a sentence.
_PAIR = re.compile(
    rf"(?i)([\w.-]*(?:{_NAME})\w*(?:['\"]?\s?[=:]\s?(?=['\"])|=))"
    rf"('[^']*'?|\"[^\"]*\"?|[^\s&;'\"]+)"
)
_YAML_PAIR = re.compile(rf"(?i)([\w.-]*(?:{_NAME})\w*: )(?=[^\s'\"]*\d)([^\s'\"]{{{SHORTEST},}})")
_BEARER = re.compile(rf"(?i)(\bbearer )[\w.~+/=-]{{{SHORTEST},}}")


def is_secret(name: str) -> bool:
    """Whether a setting or variable of this name holds a secret: `api_key`, `tracking_token`, AWS_SECRET_ACCESS_KEY."""
    return _SECRET_NAME.search(name) is not None


def masked(text: str) -> str:
    """Returns a text with `***` in place of its secrets.

    Those are user and password in an address, values given to a name that `is_secret`, and the values that such
    variables of this process's environment have, wherever they stand.
    """
    text = _without_pairs(text)
    for value in _environment():
        text = text.replace(value, MASK)
    return text


def without_secrets(value: Any, name: str = "") -> Any:
    """Returns a config's value with `***` in place of its secrets; what holds none comes back as it is.

    Args:
        value: plain JSON types.
        name: the field that holds it.
    """
    if isinstance(value, Mapping):
        return {key: without_secrets(held, name if is_secret(name) else str(key)) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(held, name) for held in value]
    if value is None or isinstance(value, bool):
        return value
    if is_secret(name):
        return MASK
    return _without_pairs(value) if isinstance(value, str) else value


def _without_pairs(text: str) -> str:
    text = _BEARER.sub(rf"\1{MASK}", _USER.sub(rf"\1{MASK}@", text))
    for pattern in (_PAIR, _YAML_PAIR):
        text = pattern.sub(_with_mask, text)
    return text


def _with_mask(found: re.Match[str]) -> str:
    name, value = found[1], found[2]
    if not is_secret(name.rstrip("=:'\" ")):
        return found[0]
    quote = value[0] if value[0] in "'\"" else ""
    return f"{name}{quote}{MASK}{quote}"


def _environment() -> Iterator[str]:
    for name, value in os.environ.items():
        if len(value) >= SHORTEST and is_secret(name) and not os.path.exists(value):
            yield value
