"""`swag-ray serve` in a process of its own, as a user starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.support.processes import descendants, wait_until_gone

PATIENCE = 150.0  # seconds; Ray on a busy machine


class Served:
    """A service that listens. A context manager, which ends it.

    Attributes:
        url, token: as it says them.
        log: file of its stderr.
    """

    def __init__(self, folder: Path, run_dir: Path, *options: object) -> None:
        self.log = folder / "log"
        out = folder / "out"
        command = [sys.executable, "-m", "swag_ray.cli", "serve", str(run_dir), "--port", "0", *map(str, options)]
        with out.open("w") as stdout, self.log.open("w") as stderr:
            self.process = subprocess.Popen(
                command, stdout=stdout, stderr=stderr, env=dict(os.environ), preexec_fn=_as_in_a_terminal
            )
        self.descendants: dict[int, str] = {}
        try:
            deadline = time.monotonic() + PATIENCE
            while "curl" not in (said := out.read_text()):
                assert self.process.poll() is None and time.monotonic() < deadline, said + self.log.read_text()
                time.sleep(0.1)
        except BaseException:
            self.process.kill()
            raise
        url, token = re.search(r"at (http://\S+),", said), re.search(r"SWAG_RAY_TOKEN=(\S+)  #", said)
        assert url and token, said
        self.url, self.token = url[1], token[1]

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.end()

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}, timeout=PATIENCE)

    def end(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Ends it as an init system does, sees that nothing of it is left, and returns its exit code."""
        self.descendants = descendants(self.process.pid)
        self.process.send_signal(by)
        try:
            code = self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        assert wait_until_gone(list(self.descendants)) == []
        return code


def _as_in_a_terminal() -> None:
    """Minds a closed terminal, though the tests may run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
