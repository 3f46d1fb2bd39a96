"""A local Ray is this account's alone: nothing outside the machine reaches it, and nobody else reads its session."""

from __future__ import annotations

import stat
from ipaddress import ip_address
from pathlib import Path

import pytest
import ray


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_every_process_listens_on_the_loopback_interface_alone() -> None:
    import psutil  # Ray carries it along

    ray.get(ray.remote(num_cpus=0)(lambda: 0).remote())  # so that there is a worker
    me = psutil.Process()
    listening = []
    for process in (me, *me.children(recursive=True)):
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                address = ip_address(connection.laddr.ip)
                listening.append((process.name(), getattr(address, "ipv4_mapped", None) or address))
    names = {name for name, _ in listening}
    assert {"gcs_server", "raylet"} <= names, "nothing was looked at"
    assert [(name, str(address)) for name, address in listening if not address.is_loopback] == []


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_its_session_is_readable_by_its_owner_alone() -> None:
    session = Path(ray._private.worker._global_node.get_session_dir_path())  # no public function tells
    files = [path for path in session.rglob("*.log") if path.is_file()]
    assert files and {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
