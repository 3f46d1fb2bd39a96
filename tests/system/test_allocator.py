"""What a process keeps of freed memory, measured on real processes: settings of the C library hold until the end."""

from __future__ import annotations

import ctypes
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from swag_ray.system.allocator import give_back_freed_memory, keep_freed_memory

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")

BEGIN = """
import json, resource
import pyarrow as pa
from swag_ray.system.allocator import give_back_freed_memory, keep_freed_memory

def held():
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * resource.getpagesize() / 2**20

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

"""

# Blocks that glibc maps one by one unless told otherwise, whatever it has seen before: more than 32 MB.
BATCHES = """
before = held()
batch = b"x" * 2**26
del batch
kept, first = held() - before, faults()
for _ in range(5):
    batch = b"x" * 2**26
    del batch
print(json.dumps([kept, faults() - first]))
"""

# The last block stands above the others, so that glibc cannot shorten its heap by itself.
SCATTERED = """
before = held()
blocks = [b"x" * 100_000 for _ in range(1000)]
del blocks[:-1]
freed = held() - before
give_back_freed_memory()
print(json.dumps([freed, held() - before]))
"""

ARROW = """
def column():
    return pa.array(range(2**20)).take(pa.array(range(2**20)))

old = column()
give_back_freed_memory()
before = held()
columns = [column() for _ in range(8)]
full = held() - before
assert all(c.equals(old) for c in columns)
del columns, old
give_back_freed_memory()
print(json.dumps([pa.default_memory_pool().backend_name, full, held() - before]))
"""


def told(code: str) -> list[Any]:
    """What this prints at last, in a process of its own; sizes in MB."""
    done = subprocess.run([sys.executable, "-c", BEGIN + code], stdout=subprocess.PIPE, text=True, check=True)
    found: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture
def arrows_pool() -> Iterator[None]:
    """Arrow's memory pool stays the other tests' own."""
    pool = pa.default_memory_pool()
    yield
    pa.set_memory_pool(pool)


@glibc
def test_a_workers_batches_use_the_same_memory_again() -> None:
    usual, _ = told(BATCHES)
    kept, faults = told("keep_freed_memory()" + BATCHES)
    assert usual < 5, "this test needs a C library that gives such blocks back"
    assert kept > 60 and faults < 100, "five batches of 16,384 pages each"


@glibc
def test_a_driver_gives_back_what_it_no_longer_holds() -> None:
    freed, left = told(SCATTERED)
    assert freed > 90, "this test needs memory that is freed and not given back"
    assert left < 10


@glibc
def test_arrows_memory_is_given_back_too_and_its_columns_stay() -> None:
    allocator, full, left = told(ARROW)
    assert allocator == "system"
    assert full > 60 and left < 10


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_no_c_library_is_looked_for_on_other_systems(
    arrows_pool: None, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    def refuse(name: str | None) -> None:
        raise AssertionError("the C library was opened")

    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    keep_freed_memory()
    give_back_freed_memory()
    assert pa.default_memory_pool().backend_name == "system"


def test_a_c_library_without_these_calls_is_left_alone(arrows_pool: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    keep_freed_memory()
    give_back_freed_memory()
    assert pa.default_memory_pool().backend_name == "system"
