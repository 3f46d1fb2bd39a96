"""An S3 server of its own on loopback, spoken to over HTTP, that can be told to be unwell."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Server:
    """moto's S3, whose requests are noted and may be made to fail.

    Attributes:
        url: what AWS_ENDPOINT_URL takes.
        asked: (method, path) of every request so far.
        fails: given method and path, the HTTP status to answer instead, or None.
        region: where all buckets are said to be, if they are anywhere.
    """

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log(self, type: str, message: str, *args: Any) -> None:
                pass

        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=Quiet)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.asked: list[tuple[str, str]] = []
        self.fails: Callable[[str, str], int | None] = lambda method, path: None
        self.region: str | None = None
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.asked.append((method, path))
        status = self.fails(method, path)
        if self.region is not None and f"/{self.region}/s3/" not in environ.get("HTTP_AUTHORIZATION", ""):
            status = 301
        if status is None:
            return self._moto(environ, start_response)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        region = [("x-amz-bucket-region", self.region)] if status == 301 else []
        start_response(f"{status} Unwell", [("Content-Length", "0"), *region])
        return [b""]

    def written(self, part: str) -> list[str]:
        """Paths under which something was put so far, of those that hold this text."""
        return [path for method, path in self.asked if method == "PUT" and part in path and not path.endswith("/")]

    @contextmanager
    def checking_credentials(self) -> Iterator[None]:
        """Only known users are let in, and there is none."""
        self._tell("reset-auth", b"0")
        try:
            yield
        finally:
            self._tell("reset-auth", b"inf")

    def _tell(self, what: str, data: bytes) -> None:
        request = urllib.request.Request(f"{self.url}/moto-api/{what}", data, {"Content-Type": "text/plain"})
        urllib.request.urlopen(request, timeout=10).close()

    def stop(self) -> None:
        self._server.shutdown()
