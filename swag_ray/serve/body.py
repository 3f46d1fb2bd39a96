"""Reads the image of a request: no more of it than allowed, nothing of it to disk, and no name that came with it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from swag_ray.serve.refusal import Refusal, busy

FIELD = "image"  # of a form
FORM = "multipart/form-data"
SECONDS = 60.0  # for a body to come in; a film over a slow line needs ten


class Room:
    """Bytes of bodies that this process may hold at a time. Beside them there is one more, of the body that is being
    put together or the form that is being parsed, for both are done in one go.

    Args:
        most: of all requests together.
    """

    def __init__(self, most: int) -> None:
        self.left = most

    def take(self, count: int) -> None:
        """Raises Refusal where there is no room for so many more."""
        if count > self.left:
            raise busy("too many large images at once")
        self.left -= count

    def give(self, count: int) -> None:
        self.left += count


async def read_image(request: Request, most: int, room: Room) -> bytes:
    """Returns the image that a request carries: its body, or the file `image` of a form. What it took of the room is
    the caller's to give back: so many bytes as are returned, and none if it raises.

    Raises:
        Refusal: too large, too slow, not there, or no room now.
    """
    try:
        async with asyncio.timeout(SECONDS):
            parts = await _read(request, most, room)
    except TimeoutError:
        raise Refusal(408, f"the image did not come within {SECONDS:g} seconds") from None
    except ClientDisconnect:
        raise Refusal(499, "the client went away") from None
    if not request.headers.get("content-type", "").lower().startswith(FORM):
        return b"".join(parts)
    held = sum(map(len, parts))
    try:
        image = await _of_form(request.headers, parts, held)
    except BaseException:
        room.give(held)
        raise
    room.give(held - len(image))
    return image


async def _read(request: Request, most: int, room: Room) -> deque[bytes]:
    """The body as it comes, refused before it is here as a whole where it is too large."""
    stated = request.headers.get("content-length")
    if stated is not None and stated.isdigit() and int(stated) > most:
        raise _too_large(most)
    parts: deque[bytes] = deque()
    held = 0
    try:
        async for part in request.stream():
            if held + len(part) > most:
                raise _too_large(most)
            room.take(len(part))
            held += len(part)
            parts.append(part)
    except BaseException:
        room.give(held)
        raise
    return parts


async def _of_form(headers: Headers, parts: deque[bytes], held: int) -> bytes:
    """The file of a form that came in these parts, of `held` bytes; they are used up, each is freed once it is read."""

    async def each() -> AsyncGenerator[bytes, None]:
        while parts:
            yield parts.popleft()
        yield b""

    parser = MultiPartParser(headers, each(), max_files=1, max_fields=0)
    parser.spool_max_size = held + 1  # more goes to a file in a folder that others share
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError):
        raise Refusal(400, f"a form carries one file, called {FIELD}, and nothing else") from None
    try:
        found = form.get(FIELD)
        if not isinstance(found, UploadFile):
            raise Refusal(400, f"the form has no file called {FIELD}")
        return await found.read()
    finally:
        await form.close()


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"larger than {most / 1e6:g} MB, the most that this service takes")
