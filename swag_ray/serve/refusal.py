"""Why a request gets no score: a status and one line, which is all that a client is told."""

from __future__ import annotations

from collections.abc import Mapping

RETRY_SECONDS = 1


class Refusal(Exception):
    """A request that is answered with an error.

    Attributes:
        status: of HTTP.
        reason: one line for the client; quotes nothing that the client sent.
        headers: of the answer.
    """

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, reason)
        self.status, self.reason, self.headers = status, reason, dict(headers or {})


def busy(reason: str) -> Refusal:
    """Returns the refusal of a request that may be sent again."""
    return Refusal(503, reason, {"Retry-After": str(RETRY_SECONDS)})
