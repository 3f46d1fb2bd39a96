"""`s3://` addresses: which server is meant, how long it is waited for, and what its complaints mean.

Credentials, region and server are found as other AWS tools find them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,
AWS_PROFILE, ~/.aws or the machine's role; AWS_REGION; AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL. Server and region may
stand in the address instead, which then means the same on every node:

    s3://BUCKET/PREFIX?endpoint_override=HOST:PORT&scheme=http&region=REGION
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from pyarrow import fs

from swag_ray.errors import InputError, StorageError
from swag_ray.masking import without_secrets

OPTIONS = ("endpoint_override", "scheme", "region")
# A bucket that is not there or a server that does not answer is told within seconds. Work that has begun is given
# longer: a busy server takes its time, and one that restarts is back within some.
FIRST = {"connect_timeout": 3.0, "request_timeout": 3.0}
LATER, ATTEMPTS = {"connect_timeout": 5.0, "request_timeout": 20.0}, 6

_NETWORK = "check AWS_ENDPOINT_URL, AWS_REGION and the network; the same command goes on afterwards"
_CREDENTIALS = (
    "give credentials that may list, read, write and delete there "
    "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the machine's role)"
)
_KNOWN = {
    "NO_SUCH_BUCKET": ("there is no such bucket", "make the bucket, or correct the address"),
    "NETWORK_CONNECTION": ("the server does not answer", _NETWORK),
    "ACCESS_DENIED": ("access is denied", _CREDENTIALS),
    "INVALID_ACCESS_KEY_ID": ("the access key is unknown there", _CREDENTIALS),
    "INVALID_CLIENT_TOKEN_ID": ("the access key is unknown there", _CREDENTIALS),
    "UNRECOGNIZED_CLIENT": ("the access key is unknown there", _CREDENTIALS),
    "SIGNATURE_DOES_NOT_MATCH": ("the secret key is not that of the access key", _CREDENTIALS),
    "EXPIRED_TOKEN": ("the credentials have expired", _CREDENTIALS),
}


@dataclass(frozen=True)
class Address:
    """Attributes: bucket; path: bucket and prefix, as pyarrow spells it; options: of `OPTIONS`, those that are set."""

    bucket: str
    path: str
    options: dict[str, str]


def parse(address: str, called: str) -> Address:
    """Take an address apart; `called` is the option or field that it was given as.

    Raises:
        InputError: it names no bucket, holds credentials, or has an option that there is not.
    """
    place, _, query = address.removeprefix("s3://").partition("?")
    bucket, *rest = place.split("/")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if without_secrets(address) != address or "@" in options.get("endpoint_override", ""):  # not repeated
        raise InputError(f"{called}: an s3:// address holds no credentials", "set AWS_ACCESS_KEY_ID or AWS_PROFILE")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{2,62}", bucket):
        raise InputError(f"{called}: '{address}' names no bucket", "write s3://BUCKET/PREFIX")
    unknown = sorted(options.keys() - set(OPTIONS))
    if unknown:
        raise InputError(
            f"{called}: '{address}' has an unknown option '{unknown[0]}'", f"there are {', '.join(OPTIONS)}"
        )
    return Address(bucket, "/".join([bucket, *filter(None, rest)]), _server() | options)


def connect(address: Address, shown: str, called: str) -> fs.FileSystem:
    """The file system of an address, once its bucket has answered.

    Raises:
        InputError: there is no such bucket.
        StorageError: nobody answers, or access is denied. Either is told within seconds.
    """
    options = dict(address.options)
    try:
        try:
            found = _open(options, 2, FIRST).get_file_info(address.bucket)
        except OSError as error:
            elsewhere = re.search(r"bucket is located in '([^']+)'", str(error))
            if elsewhere is None or "region" in address.options:
                raise
            options["region"] = elsewhere[1]
            found = _open(options, 2, FIRST).get_file_info(address.bucket)
    except OSError as error:
        reason, advice = complaint(error)
        raise StorageError(f"{called}: cannot reach '{shown}' ({reason})", advice) from error
    if found.type == fs.FileType.NotFound:
        reason, advice = _KNOWN["NO_SUCH_BUCKET"]
        raise InputError(f"{called}: cannot reach '{shown}' ({reason})", advice)
    return _open(options, ATTEMPTS, LATER)


def complaint(error: OSError) -> tuple[str, str]:
    """Why an operation on S3 failed and what to do, in a few words each."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    code = re.search(r"AWS Error (\w+)", text)
    if code is not None and code[1] in _KNOWN:
        return _KNOWN[code[1]]
    # Names that the SDK does not know come in the text, behind the code UNKNOWN.
    said = next((known for name, known in _KNOWN.items() if name.replace("_", "").lower() in text.lower()), None)
    plain = re.sub(r"^.*AWS Error (.+?) during (\w+) operation: ", r"\1 in \2: ", text)
    return said or (re.sub(r" ?\(Request ID:.*", "", plain), "the same command goes on afterwards")


def gone(error: OSError) -> bool:
    """Whether an object vanished between being looked at and being read."""
    return "AWS Error NO_SUCH_KEY" in str(error)


def _server() -> dict[str, str]:
    """The endpoint in the environment, which pyarrow reads for its own addresses only."""
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not url:
        return {}
    scheme, separator, host = url.rstrip("/").rpartition("://")
    if "@" in host:  # not repeated
        raise InputError(
            "AWS_ENDPOINT_URL: the server's address holds no credentials",
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        )
    return {"endpoint_override": host} | ({"scheme": scheme} if separator else {})


def _open(options: dict[str, str], attempts: int, seconds: dict[str, float]) -> fs.FileSystem:
    # Delayed: a small object is one request, whole or not at all, and a kill leaves no half upload behind.
    retry = fs.AwsStandardS3RetryStrategy(max_attempts=attempts)
    return fs.S3FileSystem(**options, **seconds, retry_strategy=retry, allow_delayed_open=True)
