"""What a request meets: an ASGI application that says who may ask what, and has replicas answer. It knows no Ray."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from swag_ray.serve.answer import Answer, Wish
from swag_ray.serve.body import Room, read_image
from swag_ray.serve.metrics import TYPE, Metrics
from swag_ray.serve.refusal import Refusal, busy
from swag_ray.serve.token import shows
from swag_ray.serve.watch import REQUEST, SCORE, Log, Watch

WAITING = 16  # requests a replica that may be under way; the last of them waits a second or two
HELD = 16  # largest images that may be in memory at a time, beside which smaller ones find room
YES, NO = ("true", "1"), ("false", "0")
WORDS = {404: "no such path", 405: "no such method here"}


class Answers(Protocol):
    """Who answers: `cluster/serving.Replicas`, or a process of a test."""

    wanted: int
    lost: int

    async def ask(self, data: bytes, wish: Wish) -> Any:
        """Returns an `Answer`. Raises what `unanswered` names where nobody can answer now."""

    async def running(self) -> int:
        """Returns how many are up."""


@dataclass(frozen=True)
class Rules:
    """The rules of a service.

    Attributes:
        about: what `GET /` says; `detector` is its digest.
        missing: what the detector cannot tell, by its name in the query, and why.
        token: that requests show.
        most: bytes of a request's body.
        unanswered: what is raised where no replica can answer now.
    """

    about: Mapping[str, Any]
    missing: Mapping[str, str]
    token: str
    most: int
    unanswered: type[Exception]


def application(rules: Rules, answers: Answers, log: Log) -> ASGIApp:
    """Returns the service.

    Args:
        rules: of the service.
        answers: who answers.
        log: takes the lines of its log.
    """
    metrics = Metrics()
    service = _Service(rules, answers, metrics)
    routes = [
        Route("/", service.about, methods=["GET"]), Route("/health", service.health, methods=["GET"]),
        Route("/ready", service.ready, methods=["GET"]), Route("/metrics", service.measures, methods=["GET"]),
        Route(SCORE, service.score, methods=["POST"]),
    ]  # fmt: skip
    handlers: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
        Refusal: _refused, HTTPException: _unrouted, Exception: _faulty,
    }  # fmt: skip
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Watch(app, str(rules.about["detector"]), metrics, log)


class _Service:
    def __init__(self, rules: Rules, answers: Answers, metrics: Metrics) -> None:
        self.rules, self.answers, self.metrics = rules, answers, metrics
        self.room, self.waiting, self.lost = Room(HELD * rules.most), 0, 0

    async def about(self, request: Request) -> Response:
        self._admit(request)
        return JSONResponse(dict(self.rules.about))

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        running = await self.answers.running()
        body = {"ready": running > 0, "replicas": running, "wanted": self.answers.wanted}
        return JSONResponse(body, status_code=200 if running else 503)

    async def measures(self, request: Request) -> Response:
        self._admit(request)  # on loopback too, where a proxy hands on what anybody asks
        self.metrics.replicas.set(await self.answers.running())
        self.metrics.lost.inc(self.answers.lost - self.lost)
        self.lost = self.answers.lost
        return Response(self.metrics.text(), headers={"content-type": TYPE})

    async def score(self, request: Request) -> Response:
        self._admit(request)
        wish = _wish(request)
        for name, reason in self.rules.missing.items():
            if getattr(wish, name):
                raise Refusal(501, reason)
        if self.waiting >= WAITING * self.answers.wanted:
            raise busy("too many requests at once")
        self.waiting += 1
        try:
            image = await read_image(request, self.rules.most, self.room)
            try:
                answer = await self.answers.ask(image, wish)
            except self.rules.unanswered as error:
                raise busy(str(error)) from None
            finally:
                self.room.give(len(image))
        finally:
            self.waiting -= 1
        return self._response(answer)

    def _response(self, answer: Answer) -> Response:
        if answer.status == 200:
            self.metrics.flagged.inc(bool(answer.fields["above_threshold"]))
            self.metrics.strange.inc(answer.fields["out_of_domain"] is not None)
            return JSONResponse(dict(answer.fields))
        self.metrics.unreadable.inc(answer.status == 422)
        raise Refusal(answer.status, answer.reason)

    def _admit(self, request: Request) -> None:
        if not shows(request.headers.get("authorization"), self.rules.token):
            raise Refusal(
                401, "no token, or a wrong one: send it as Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
            )


def _wish(request: Request) -> Wish:
    """What the query asks for."""
    query = request.query_params
    if len(query) != len(query.multi_items()) or set(query) - {"heatmap", "nearest", "frame"}:
        raise Refusal(400, "the query takes heatmap=true, nearest=true and frame=1, 2 ..., each once")
    frame = query.get("frame")
    if frame is not None and not re.fullmatch("[1-9][0-9]{0,7}", frame):
        raise Refusal(400, "frame is a number from 1 on")
    return Wish(_flag(query, "heatmap"), _flag(query, "nearest"), None if frame is None else int(frame))


def _flag(query: Mapping[str, str], name: str) -> bool:
    value = query.get(name, "false").lower()
    if value not in YES + NO:
        raise Refusal(400, f"{name} is true or false")
    return value in YES


async def _refused(request: Request, refusal: Refusal) -> Response:
    return JSONResponse({"error": refusal.reason}, status_code=refusal.status, headers=refusal.headers)


async def _unrouted(request: Request, error: HTTPException) -> Response:
    reason = WORDS.get(error.status_code, "a bad request")
    return JSONResponse({"error": reason}, status_code=error.status_code, headers=error.headers)


async def _faulty(request: Request, error: Exception) -> Response:
    reason = f"a fault of the service; its log tells under {request.scope[REQUEST]}"
    return JSONResponse({"error": reason}, status_code=500)
