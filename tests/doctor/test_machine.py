"""Cores and memory by the system's files, of machines, containers and jobs of a scheduler."""

from __future__ import annotations

import os
from pathlib import Path

from swag_ray.doctor.machine import Machine, read_machine

GB = 10**9


def system(root: Path, files: dict[str, str], total_kb: int = 16_000_000, free_kb: int | None = 12_000_000) -> Path:
    """A tree like the system's own, with these files under sys/fs/cgroup or proc."""
    free = f"MemAvailable:   {free_kb} kB\n" if free_kb is not None else ""
    for name, text in {"proc/meminfo": f"MemTotal:       {total_kb} kB\n{free}HugePages_Total:  0\n", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_this_machine() -> None:
    found = read_machine()
    assert found.cores == os.cpu_count() and 1 <= found.usable_cores <= found.cores
    assert 10**8 < found.usable_memory <= found.memory
    assert found.memory_free is None or 0 <= found.memory_free <= found.usable_memory


def test_no_limits(tmp_path: Path) -> None:
    for files in (
        {},
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n", "sys/fs/cgroup/memory.max": "max\n"},
        {
            "proc/self/cgroup": "4:memory:/\n3:cpu,cpuacct:/\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    ):
        found = read_machine(system(tmp_path, files), cores=8, affinity=8)
        assert found == Machine(8, None, 16_384_000_000, None, 12_288_000_000)
        assert (found.usable_cores, found.usable_memory) == (8, 16_384_000_000)


def test_a_container(tmp_path: Path) -> None:
    """Its files lie at the top of what is mounted, whatever path it has outside."""
    files = {
        "proc/self/cgroup": "0::/../docker/abc\n", "sys/fs/cgroup/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/memory.max": f"{2 * GB}\n", "sys/fs/cgroup/memory.current": f"{GB}\n",
        "sys/fs/cgroup/memory.stat": "anon 7\ninactive_file 300000000\nactive_file 200000000\n",
    }  # fmt: skip
    found = read_machine(system(tmp_path, files), cores=8, affinity=8)
    assert found == Machine(8, 1.5, 16_384_000_000, 2 * GB, GB + 500_000_000)
    assert (found.usable_cores, found.usable_memory) == (1, 2 * GB)


def test_a_job_of_a_scheduler(tmp_path: Path) -> None:
    """The lowest limit on the way up counts, for cores and for memory each its own."""
    files = {
        "proc/self/cgroup": "0::/slurm/job_7/step\n",
        "sys/fs/cgroup/slurm/cpu.max": "max 100000\n", "sys/fs/cgroup/slurm/job_7/cpu.max": "400000 100000\n",
        "sys/fs/cgroup/slurm/job_7/step/cpu.max": "600000 100000\n",
        "sys/fs/cgroup/slurm/memory.max": f"{4 * GB}\n", "sys/fs/cgroup/slurm/memory.current": "0\n",
        "sys/fs/cgroup/slurm/job_7/memory.max": f"{8 * GB}\n",
    }  # fmt: skip
    found = read_machine(system(tmp_path, files), cores=64, affinity=64)
    assert (found.core_limit, found.memory_limit, found.memory_free) == (4.0, 4 * GB, 4 * GB)
    assert read_machine(tmp_path, cores=64, affinity=3).usable_cores == 3, "taskset or a cpuset"


def test_version_1_of_cgroups(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "9:name=systemd:/\n4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": f"{3 * GB}\n",
        "sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes": f"{2 * GB}\n",
        "sys/fs/cgroup/memory/docker/abc/memory.stat": f"total_inactive_file {GB}\ninactive_file 5\n",
    }  # fmt: skip
    found = read_machine(system(tmp_path, files, free_kb=None), cores=8, affinity=8)
    assert (found.core_limit, found.memory_limit, found.memory_free) == (0.5, 3 * GB, None)
    assert found.usable_cores == 1, "Ray would count none"
    assert read_machine(system(tmp_path, files), cores=8, affinity=8).memory_free == 2 * GB
