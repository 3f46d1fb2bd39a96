"""What the body of a request takes while it is read."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest
from starlette.requests import Request
from starlette.types import Message

from swag_ray.serve.body import Room, read_image

SIZE, PART = 2**22, 2**16
HEAD = b'--b\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\n'


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=b", "image/png"])
def test_a_body_is_held_twice_at_most_and_once_when_it_is_read(kind: str) -> None:
    """By what comes in parts, as from a socket; a form was there three times, and one copy was counted."""
    left = [HEAD, *[None] * (SIZE // PART), b"\r\n--b--\r\n"] if "form" in kind else [None] * (SIZE // PART)

    async def receive() -> Message:
        part = left.pop(0)
        return {"type": "http.request", "body": bytes(PART) if part is None else part, "more_body": bool(left)}

    async def measured() -> tuple[bytes, int, int]:
        tracemalloc.start()  # here, for a loop takes some to start
        try:
            return await read_image(Request(scope, receive), 2 * SIZE, room), *tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    room = Room(2 * SIZE)
    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", kind.encode())]}
    image, now, most = asyncio.run(measured())
    assert image == bytes(SIZE) and room.left == SIZE
    assert most < 2.3 * SIZE and now < 1.2 * SIZE
