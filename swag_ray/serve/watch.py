"""Around every request: its id, its line in the log, and a fault of ours kept from the client.

A line tells nothing of whom an image shows and nothing that a client sent: no path, no query, no header, no name.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from swag_ray.masking import masked
from swag_ray.serve.metrics import Metrics

Log = Callable[[str], None]

QUIET = ("/health", "/ready", "/metrics")  # asked for every few seconds by machines
SCORE = "/score"
REQUEST = "swag_ray.request"  # the request's id, in its scope
LINGER_SECONDS = 1.0  # that a refused client may go on sending before its connection is closed


class Watch:
    """An ASGI application around another.

    Args:
        app: what answers.
        detector: digest of the detector, for the lines.
        metrics: to count in.
        log: takes a line.
    """

    def __init__(self, app: ASGIApp, detector: str, metrics: Metrics, log: Log) -> None:
        self.app, self.detector, self.metrics, self.log = app, detector, metrics, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        seen: dict[str, int] = {"bytes": 0, "status": 0, "more": scope["method"] not in ("GET", "HEAD")}
        request, start = secrets.token_hex(8), time.perf_counter()

        async def received() -> Message:
            message = await receive()
            seen["bytes"] += len(message.get("body", b""))
            seen["more"] = message.get("more_body", False)
            return message

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] >= 400 and seen["more"] and not _waits_for_leave(scope):
                    await _linger(received, seen)
                seen["status"] = message["status"]
                message = {**message, "headers": [*message["headers"], (b"x-request-id", request.encode())]}
            await send(message)

        scores = scope["path"] == SCORE and scope["method"] == "POST"
        if scores:
            self.metrics.in_flight.inc()
        try:
            await self.app({**scope, REQUEST: request}, received, answered)
        except Exception as error:
            self._fault(request, error)  # answered by then
        finally:
            seconds = time.perf_counter() - start
            if scores:
                self.metrics.in_flight.dec()
                self.metrics.requests.labels(seen["status"]).inc()
                self.metrics.seconds.observe(seconds)
            if scope["path"] not in QUIET or seen["status"] >= 500:
                self._line(request, seen["status"], seen["bytes"], seconds)

    def _line(self, request: str, status: int, received: int, seconds: float) -> None:
        self.log(
            f"time={_now()} request={request} status={status} bytes={received} seconds={seconds:.3f} "
            f"detector={self.detector}"
        )

    def _fault(self, request: str, error: Exception) -> None:
        trace = "".join(traceback.format_exception(error))
        self.log(masked(f"time={_now()} request={request} fault\n{trace.rstrip()}"))


async def _linger(receive: Receive, seen: dict[str, int]) -> None:
    """Lets a client go on sending for a moment: it reads no answer while it does, and would be told of a broken
    connection instead of the reason.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while seen["more"]:
                await receive()


def _waits_for_leave(scope: Scope) -> bool:
    return any(name == b"expect" for name, _ in scope["headers"])


def to_stderr(line: str) -> None:
    """Writes a line of the log; one write, so that lines do not mix. Where nobody reads any more, a terminal that was
    closed, requests are answered all the same.
    """
    with suppress(OSError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
