"""What is here: software, disks, the store, the token, and what a local Ray would offer."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from swag_ray.config import Config
from swag_ray.config.sections import ClusterConfig
from swag_ray.doctor import cluster as ray_side
from swag_ray.doctor.cluster import local_ray, object_store, token
from swag_ray.doctor.examine import machine_findings, temporary_space
from swag_ray.doctor.machine import Disk, Machine, disk
from swag_ray.doctor.software import describe_faiss, describe_torch, packages
from swag_ray.doctor.store import store as store_findings
from swag_ray.experiment.source import list_images
from swag_ray.store.store import Store
from swag_ray.wording import size
from tests.doctor.inputs import MACHINE, put_features, said
from tests.support.small_disk import SmallDisk

Folder = Callable[..., Config]
Small = Callable[[str], SmallDisk]


@pytest.mark.parametrize(
    ("count", "text"),
    [(12, "12 bytes"), (1500, "1.5 KB"), (61_616, "62 KB"), (25.3e9, "25.3 GB"), (2e12, "2.0 TB"), (0, "0 bytes")],
)
def test_sizes_in_words(count: float, text: str) -> None:
    assert size(count) == text


def test_what_is_installed_here_is_enough() -> None:
    (found,) = packages()
    assert found.state == "ok" and "Python 3" in found.text and "faiss-" in found.text and "torch 2" in found.text


def test_limits_are_told_beside_what_the_machine_has() -> None:
    limited = Machine(cores=64, core_limit=1.5, memory=10**11, memory_limit=2 * 10**9, memory_free=10**9)
    assert [said(f) for f in machine_findings(limited)] == [
        "ok: 64 on this machine, of which the container or job may use 1.5",
        "ok: 100.0 GB on this machine, of which the container or job may use 2.0 GB; 1.0 GB free",
    ]
    assert [said(f) for f in machine_findings(MACHINE)] == [
        "ok: 4 on this machine", "ok: 8.0 GB on this machine; 6.0 GB free",
    ]  # fmt: skip


def test_a_small_or_full_temporary_disk_is_noted(small_disk: Small, tmp_path: Path) -> None:
    small = small_disk("1m")
    found = temporary_space(str(small.path))
    assert found.state == "note" and "1.0 MB free" in found.text and "RAY_TMPDIR" in found.advice
    (small.path / "fill").write_bytes(b"x" * 1_020_000)
    assert "95%" in temporary_space(str(small.path)).text


def test_a_disk_is_found_before_the_folder_is_made(tmp_path: Path) -> None:
    found = disk(tmp_path / "not" / "yet")
    assert found.folder == tmp_path and 0 < found.free <= found.total


def test_a_store_is_looked_at_and_never_made(tmp_path: Path) -> None:
    (found,) = store_findings(str(tmp_path / "store"), needed=True)
    assert found.state == "ok" and "does not exist yet" in found.text and "free" in found.text
    assert not (tmp_path / "store").exists()


def test_what_a_store_keeps(folder: Folder) -> None:
    config = folder()
    put_features(config, list_images(config, Store(config.store)), 4)
    (found,) = store_findings(config.store, needed=True)
    assert found.state == "ok" and "writable" in found.text and "features: 1 set, 24" in found.text


@pytest.mark.parametrize("needed", [True, False])
def test_a_store_that_cannot_be_used(tmp_path: Path, small_disk: Small, needed: bool) -> None:
    (tmp_path / "file").write_text("x")
    read_only = small_disk("64k")
    (read_only.path / "kept").mkdir()
    read_only.remount("ro")
    roots = [tmp_path / "file", read_only.path / "kept", read_only.path / "not" / "yet", "gs://bucket"]
    for root in roots:
        (found,) = store_findings(str(root), needed=needed)
        assert found.state == ("problem" if needed else "note"), root
        assert found.text.startswith("store: ") and str(root) in found.text
        assert "Traceback" not in found.text and "\n" not in found.text


@pytest.mark.parametrize(
    ("mode", "variable", "in_file", "joining", "state", "text"),
    [
        (None, False, False, False, "ok", "no cluster token lies here; RAY_AUTH_MODE is not set"),
        (None, False, False, True, "note", "get one from whoever started the cluster"),
        (None, False, True, True, "ok", "~/.ray/auth_token"),
        ("token", True, True, True, "ok", "lies in RAY_AUTH_TOKEN; RAY_AUTH_MODE is token"),
        ("token", False, False, True, "problem", "RAY_AUTH_MODE is token, but no token lies here"),
        ("disabled", True, False, True, "note", "so it is not shown to clusters"),
    ],
)  # fmt: skip
def test_the_token_is_found_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    mode: str | None, variable: bool, in_file: bool, joining: bool, state: str, text: str,
) -> None:  # fmt: skip
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if mode:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    if variable:
        monkeypatch.setenv("RAY_AUTH_TOKEN", "s3cret")
    if in_file:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("s3cret")
    found = token(joining=joining)
    assert found.state == state and text in said(found) and "s3cret" not in said(found)


def test_gpus_in_words() -> None:
    assert said(describe_torch([], "CUDA 13.0", driver=False)) == "ok: sees 0 GPUs; built for CUDA 13.0"
    one = describe_torch([("H200", 150 * 10**9)], "CUDA 13.0", driver=True)
    assert said(one) == "ok: sees 1 GPU: H200 (150.0 GB); built for CUDA 13.0"
    hidden = describe_torch([], None, driver=True)
    assert hidden.state == "note" and "the CPU alone" in hidden.text and "CUDA_VISIBLE_DEVICES" in hidden.advice
    assert said(describe_faiss(True, 1, 1)) == "ok: GPU build, sees 1 GPU"
    assert said(describe_faiss(False, 0, 0)) == "ok: CPU build, sees 0 GPUs"
    assert "install faiss-gpu" in said(describe_faiss(False, 0, 2)) and describe_faiss(False, 0, 2).state == "note"


@pytest.mark.parametrize("free", [0, 40 << 20, 79 << 20, 80 << 20, 81 << 20, 500 << 20])
@pytest.mark.parametrize("memory", [10**9, 10**11])
@pytest.mark.parametrize("asked", [200 << 20, 2 * 10**10])
def test_a_size_that_is_advised_is_accepted_and_fits(asked: int, memory: int, free: int) -> None:
    """75 MB were advised where /dev/shm was smaller: the config refuses them, and they would not have fitted."""
    for found in object_store(asked, memory, Disk(Path("/dev/shm"), free, free)):
        for number in re.findall(r"set it to (\d+)", found.advice):
            assert ClusterConfig(object_store_mb=int(number)).object_store_mb
            assert not list(object_store(int(number) << 20, memory, Disk(Path("/dev/shm"), free, free)))


def test_object_stores_that_do_not_fit() -> None:
    shared = Disk(Path("/dev/shm"), 64 << 20, 64 << 20)
    assert not list(object_store(60 << 20, 10**9, shared))
    assert not list(object_store(10**9, 10**10, None))
    (slow,) = object_store(200 << 20, 10**9, shared)
    assert slow.state == "note" and "slow" in slow.text and slow.advice.startswith("enlarge /dev/shm")
    (refused,) = object_store(2 * 10**10, 10**11, shared)
    assert refused.state == "problem" and "Ray refuses" in refused.text
    (much,) = object_store(2 * 10**10, 10**9, shared)
    assert much.state == "problem" and "more than the memory" in much.text
    (close,) = object_store(25_340_000_000, 25_310_000_000, None)
    assert "25.34 GB are more than the memory, 25.31 GB" in close.text
    (closer,) = object_store((64 << 20) + 1, 10**9, shared)
    assert "67.108865 MB do not fit into /dev/shm, 67.108864 MB free" in closer.text


def test_more_cores_than_ray_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job's limit below the top of the cgroup tree, which Ray does not check_source at."""
    half = Machine(cores=64, core_limit=0.5, memory=10**12, memory_limit=None, memory_free=None)
    monkeypatch.setattr(ray_side, "local_defaults", lambda: (64, 10**8))
    assert any("set cluster.cpus to 1" in f.advice for f in local_ray(ClusterConfig(), half))
    assert not any(f.state == "note" for f in local_ray(ClusterConfig(cpus=1), half))


def test_what_is_quick_is_told_before_torch_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from swag_ray.doctor import examine\n"
        "for f in examine(): print(f.topic, *({'torch', 'timm', 'faiss'} & sys.modules.keys()), sep='|')\n"
        "import ray; print(ray.is_initialized())"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True, timeout=120)
    *lines, ray_runs = done.stdout.split("\n")[:-1]
    assert ray_runs == "False"
    heavy = {line.split("|")[0] for line in lines if "|" in line}
    assert heavy == {"torch", "faiss"}
    assert {"packages", "cores", "memory", "temporary files", "store", "token", "local Ray"} <= set(lines)
