"""A stream of chunks: each is done once, an error of the work is the caller's, and what kills its actor is given up."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swag_ray.cluster.session import Session
from swag_ray.cluster.streaming import stream_chunks
from swag_ray.errors import InputError, StorageError

pytestmark = pytest.mark.ray
TWO = Session(2, 0, 2, extractors=2)


def lengths(shared: dict[str, Any]) -> Callable[[Any], Any]:
    """Work that says how many letters `shared` and a chunk have, and which actor it is."""
    if "refuse" in shared:
        raise InputError("bundle: no", "give another")

    def work(chunk: tuple[Path, ...]) -> tuple[int, int, int]:
        if chunk == (Path("bad"),):
            raise StorageError("disk: full", "make room")
        if chunk == (Path("kills"),):
            with Path(shared["tries"]).open("a") as file:
                file.write("x")
            os._exit(1)
        return len(shared["text"]), sum(len(str(place)) for place in chunk), os.getpid()

    return work


def chunks(*others: str, count: int = 30) -> list[tuple[int, str, Any]]:
    """The first has a name that is no UTF-8, as a place."""
    places = [Path(os.fsdecode(b"\xff")), *(Path("x" * i) for i in range(1, count)), *map(Path, others)]
    return [(7 * number, f"chunk {place}", (place,)) for number, place in enumerate(places)]


def test_every_chunk_once(local_ray: None) -> None:
    found = dict(stream_chunks(lengths, {"text": "a" * 3_000_000}, chunks(), TWO))
    assert {number: answer[:2] for number, answer in found.items()} == {
        7 * i: (3_000_000, max(1, i)) for i in range(30)
    }
    assert len({pid for _, _, pid in found.values()}) <= 2 and os.getpid() not in {pid for _, _, pid in found.values()}


def test_what_the_user_must_mend(local_ray: None) -> None:
    with pytest.raises(InputError, match=r"^bundle: no; give another$"):
        list(stream_chunks(lengths, {"refuse": True}, chunks(), TWO))
    with pytest.raises(StorageError, match=r"^disk: full; make room$"):
        list(stream_chunks(lengths, {"text": ""}, chunks("bad"), TWO))


@pytest.mark.cluster
@pytest.mark.timeout(300)
def test_a_chunk_that_kills_its_actor_is_given_up(local_ray: None, tmp_path: Path) -> None:
    shared = {"text": "", "tries": str(tmp_path / "tries")}
    with pytest.raises(InputError, match=r"^cluster: chunk kills was killed 5 times, most likely for want of memory"):
        list(stream_chunks(lengths, shared, chunks("kills", count=3), TWO))
    assert (tmp_path / "tries").read_text() == "xxxxx"
