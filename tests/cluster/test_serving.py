"""Replicas of a function on Ray Serve: what it raises, what kills it, what it cannot be made of."""

from __future__ import annotations

import asyncio
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from swag_ray.cluster.serving import MAX_DEATHS, Replicas, Unanswered, Work, replicas
from swag_ray.errors import InputError

pytestmark = [pytest.mark.ray, pytest.mark.cluster]


def halves(of: int) -> Work:
    """Divides a number, and dies of 13."""

    def work(by: int) -> tuple[float, int]:
        if by == 13:
            os._exit(1)
        return of / by, os.getpid()

    return work


def refuses(reason: str) -> Work:
    raise InputError(reason, "mend it")


def faulty() -> Work:
    raise ZeroDivisionError("a fault of ours")


def serving(factory: Any, *parts: Any, name: str = "test") -> Any:
    return replicas(factory, parts, name=name, count=1, address=None)


@pytest.mark.usefixtures("local_ray")
def test_a_request_that_kills_is_given_up_and_others_are_answered() -> None:
    async def ask(found: Replicas) -> None:
        whole, first = await found.ask(2)
        assert whole == 21.0 and await found.running() == 1
        with pytest.raises(ZeroDivisionError):
            await found.ask(0)
        with pytest.raises(Unanswered, match=f"{MAX_DEATHS} were lost"):
            await found.ask(13)
        whole, second = await found.ask(4)
        assert whole == 10.5 and second != first and found.lost == MAX_DEATHS

    with serving(halves, 42) as found:
        asyncio.run(ask(found))


@pytest.mark.usefixtures("local_ray")
def test_what_cannot_be_made_is_told_and_nothing_stays() -> None:
    from ray import serve

    with pytest.raises(InputError, match="no good; mend it"), serving(refuses, "no good"):
        raise AssertionError("it is served")
    assert serve.status().applications == {}


@pytest.mark.usefixtures("local_ray")
def test_two_services_of_one_cluster_answer_each_for_itself_and_end_alone() -> None:
    async def ask(found: Replicas) -> float:
        whole, _ = await found.ask(2)
        return float(whole)

    with serving(halves, 42, name="first") as first:
        with serving(halves, 10, name="second-host.example-127.0.0.1-8000") as second:
            assert [asyncio.run(ask(found)) for found in (first, second)] == [21.0, 5.0]
        assert asyncio.run(ask(first)) == 21.0


@pytest.mark.usefixtures("local_ray")
def test_a_node_without_what_runs_here_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that came after Ray's start, which its processes do not find."""
    (tmp_path / "here_alone.py").write_text("def part(): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    part = import_module("here_alone").part
    told = r"'here_alone'\); install 'swag-ray\[serve\]' on every node"
    with pytest.raises(InputError, match=told), serving(halves, part):
        raise AssertionError("it is served")
    with pytest.raises(RuntimeError, match="ZeroDivisionError: a fault of ours"), serving(faulty):
        raise AssertionError("it is served")
