"""What a Ray of ours says, and where."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from swag_ray.cluster.session import ray_session

pytestmark = pytest.mark.ray


class DiesOnce:
    """Ends its process at its first task, and comes back."""

    def work(self, note: Path) -> str:
        if not note.exists():
            note.touch()
            os._exit(1)
        return "done"


def kill_a_task(folder: str) -> None:
    with ray_session(cpus=1, object_store_mb=100):
        actor = ray.remote(DiesOnce).options(max_restarts=-1, max_task_retries=-1).remote()  # type: ignore[attr-defined]
        print(ray.get(actor.work.remote(Path(folder) / "note")))


def test_what_ray_says_of_a_killed_task_is_not_on_our_stdout(tmp_path: Path) -> None:
    code = f"from tests.cluster.test_session import kill_a_task; kill_a_task({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
    assert "(raylet) Task DiesOnce.work failed. There are infinite retries remaining" in done.stderr
