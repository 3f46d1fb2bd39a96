"""A finished run, and the service of its detector with its one replica in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from swag_ray.detector.bundle import bundle_files, digest_of, load_detector
from swag_ray.serve.answer import Answer, Answering, Wish, answering
from swag_ray.serve.app import Rules, application
from tests.score.conftest import directory, finished, tests

__all__ = ["directory", "finished", "tests"]  # as fixtures, of the tests beside
TOKEN = "0123456789abcdef"
SHOWN = {"Authorization": f"Bearer {TOKEN}"}


class Nobody(Exception):
    """No replica can answer."""


@dataclass
class InThisProcess:
    """Answers as a replica does; waits for `held` first where that is set, and raises `raised` instead."""

    answer: Answering
    wanted: int = 1
    lost: int = 0
    held: asyncio.Event | None = None
    raised: Exception | None = None
    asked: list[Wish] = field(default_factory=list)

    async def ask(self, data: bytes, wish: Wish) -> Answer:
        self.asked.append(wish)
        if self.held is not None:
            await self.held.wait()
        if self.raised is not None:
            raise self.raised
        return await asyncio.to_thread(self.answer, data, wish)

    async def running(self) -> int:
        return self.wanted


@dataclass
class Service:
    """The application, with what it was made of."""

    rules: Rules
    answers: InThisProcess
    lines: list[str] = field(default_factory=list)

    def but(self, **changes: Any) -> Service:
        """The same under other rules."""
        return Service(replace(self.rules, **changes), replace(self.answers, asked=[]))

    def client(self, shown: Mapping[str, Any] = SHOWN) -> httpx.AsyncClient:
        """A client that shows these headers."""
        app: Any = application(self.rules, self.answers, self.lines.append)
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service", headers=shown)

    def __call__(self, method: str, path: str, *, shown: Mapping[str, Any] = SHOWN, **options: Any) -> httpx.Response:
        async def one() -> httpx.Response:
            async with self.client(shown) as client:
                return await client.request(method, path, **options)

        return asyncio.run(one())


@pytest.fixture(scope="session")
def answers_of() -> Callable[[Path], Answering]:
    """What answers for the bundle in a folder; a backbone is built once."""
    known: dict[Path, Answering] = {}

    def make(folder: Path) -> Answering:
        if folder not in known:
            known[folder] = answering(bundle_files(folder), None, load_detector(folder).rate)
        return known[folder]

    return make


@pytest.fixture
def service(finished: Path, answers_of: Callable[[Path], Answering]) -> Service:
    folder = finished / "detector"
    about = {"detector": digest_of(folder), "name": "tiny"}
    rules = Rules(about, {}, TOKEN, most=200_000, unanswered=Nobody)
    return Service(rules, InThisProcess(answers_of(folder)))
