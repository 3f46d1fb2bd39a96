"""A Ray head of its own, by `ray start --head` as on a cluster's first machine; ended by process, never by `ray stop`,
which ends every Ray on the machine.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import descendants, kill, wait_until_gone

RAY = [sys.executable, "-m", "ray.scripts.scripts"]


@dataclass(frozen=True)
class Head:
    """A head that runs.

    Attributes:
        address: HOST:PORT, for `--address`.
        dashboard: its URL, for `ray job submit`.
        environment: of a shell beside it, in which `--address auto` means this head.
    """

    address: str
    dashboard: str
    environment: dict[str, str]

    def call(
        self, *command: object, seconds: float = 120, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A command in such a shell; `environment` replaces variables, and "" removes one."""
        there = {k: v for k, v in (self.environment | (environment or {})).items() if v}
        return subprocess.run(
            [str(word) for word in command],
            env=there,
            cwd=there["PWD"],
            capture_output=True,
            text=True,
            timeout=seconds,
        )


@contextmanager
def head(
    *options: str | Callable[[str], str], environment: dict[str, str] | None = None, object_store_mb: int = 200
) -> Iterator[Head]:
    """`ray start --head --block` with these options (or functions of the address); all of it ends with the block."""
    port, dashboard, client, agent = free_ports(4)
    ours = {"RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"}
    with tempfile.TemporaryDirectory(prefix="head", ignore_cleanup_errors=True) as folder:  # short: sockets lie in it
        there = {k: v for k, v in os.environ.items() if k not in ours} | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PWD": folder,
            "RAY_TMPDIR": folder,  # where `auto` looks
            "RAY_AUTH_MODE": "disabled",  # whatever token lies on this machine
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        there |= environment or {}
        ports = [f"--port={port}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
        command = [*RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1", *ports]
        command += [f"--dashboard-agent-listen-port={agent}", f"--object-store-memory={object_store_mb * 2**20}"]
        command += [option if isinstance(option, str) else option(f"127.0.0.1:{port}") for option in options]
        log = Path(folder) / "head.log"
        with log.open("w") as file:
            process = subprocess.Popen(command, env=there, cwd=folder, stdout=file, stderr=file)
        try:
            found = Head(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}", there)
            _wait_for(log, process)
            yield found
        finally:
            all_of_it = [process.pid, *descendants(process.pid)]
            process.send_signal(signal.SIGTERM)
            for pid in wait_until_gone(all_of_it, 2):
                kill(pid)
            process.wait(timeout=30)


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _wait_for(log: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while "Ray runtime started" not in log.read_text():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.2)
