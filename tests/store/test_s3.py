"""Stores on s3://, against a real S3 server on loopback."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from swag_ray.errors import StorageError
from swag_ray.features.shards import DamagedShard, read_shard, write_shard
from swag_ray.store import s3
from swag_ray.store.pruning import contents, prune
from swag_ray.store.stages import Result
from swag_ray.store.store import MARKER, Store
from swag_ray.store.use import in_use, note_shards_used
from tests.support.command_line import Command
from tests.support.s3 import Bucket
from tests.support.s3_server import Server

KEY = "0" * 24
WITHIN = 15.0  # seconds in which a bad address must be refused


@pytest.fixture
def store(bucket: Bucket) -> Store:
    return Store(bucket.address("some/store"))


def result(value: float = 1.0) -> Result:
    return Result({"s": np.full(4, value), "image": np.arange(3)}, {"reason": "", "on": True})


def same(a: Result | None, b: Result) -> bool:
    return a is not None and a.info == b.info and all(np.array_equal(a.arrays[n], b.arrays[n]) for n in b.arrays)


def key_of(bucket: Bucket, part: str) -> str:
    (key,) = [key for key in bucket.objects() if part in key]
    return key


def test_a_stage_is_kept_and_its_marker_is_written_last(store: Store, server: Server) -> None:
    store.check_writable()
    server.asked.clear()
    assert store.load("fit", KEY) is None and not store.has("fit", KEY)
    assert same(store.stage("fit", KEY, result), result())
    written = server.written("stages/")
    assert len(written) == 3 and written[-1].endswith(f"/{MARKER}")
    again = Store(store.root)
    assert again.has("fit", KEY) and same(again.load("fit", KEY), result())
    assert same(again.stage("fit", KEY, lambda: result(2)), result()) and again.computed == []


def test_the_server_may_stand_in_the_address(
    store: Store, server: Server, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save("fit", KEY, result())
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    host = server.url.removeprefix("http://")
    there = Store(f"{store.root}/?endpoint_override={host}&scheme=http&region=us-east-1")
    assert there.base == store.base and same(there.load("fit", KEY), result())


def test_a_bucket_of_another_region_is_found_there(store: Store, server: Server) -> None:
    server.region = "eu-west-1"
    assert same(store.stage("fit", KEY, result), result())
    with pytest.raises(StorageError, match=r"^store: cannot reach 's3://.*eu-west-1"):
        Store(f"{store.root}?region=us-east-2").load("fit", KEY)


@pytest.mark.parametrize("stop_at", ["arrays.npz", "info.json", MARKER])
def test_what_was_not_finished_does_not_exist(store: Store, server: Server, bucket: Bucket, stop_at: str) -> None:
    server.fails = lambda method, path: 403 if method == "PUT" and path.endswith(stop_at) else None
    with pytest.raises(StorageError, match=r"^store: cannot write to 's3://.*access"):
        store.save("fit", KEY, result())
    server.fails = lambda method, path: None
    assert not store.has("fit", KEY) and store.load("fit", KEY) is None
    if stop_at != "arrays.npz":  # the first: nothing is there at all
        assert {row["kind"] for row in contents(store)} == {"tmp"}, "counted as a leftover"
    assert same(store.stage("fit", KEY, result), result()) and store.has("fit", KEY)


@pytest.mark.parametrize("part", ["arrays.npz", "info.json", MARKER])
@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: data[:9] + b"?" + data[10:], None])
def test_a_damaged_object_is_computed_again(
    store: Store, bucket: Bucket, part: str, damage: Callable[[bytes], bytes] | None
) -> None:
    store.save("fit", KEY, result())
    key = key_of(bucket, part)
    if damage is None:
        bucket.client.delete_object(Bucket=bucket.name, Key=key)
    else:
        bucket.put(key, damage(bucket.read(key)))
    fresh = Store(store.root)
    assert same(fresh.stage("fit", KEY, result), result()) and len(fresh.computed) == 1
    assert same(Store(store.root).load("fit", KEY), result())


@pytest.mark.parametrize("part", ["arrays.npz", "info.json", MARKER])
@pytest.mark.parametrize("status", [403, 500])
def test_what_cannot_be_read_just_now_is_not_damaged(
    store: Store, server: Server, bucket: Bucket, part: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "ATTEMPTS", 2)
    store.save("fit", KEY, result())
    before = bucket.objects()
    server.fails = lambda method, path: status if path.endswith(part) else None
    with pytest.raises(StorageError, match=r"^store: cannot read 's3://") as complaint:
        Store(store.root).stage("fit", KEY, result)
    assert "\n" not in str(complaint.value)
    server.fails = lambda method, path: None
    assert bucket.objects() == before and same(Store(store.root).load("fit", KEY), result())


def test_a_short_failure_is_waited_out(store: Store, server: Server) -> None:
    left = [503]
    server.fails = lambda method, path: left.pop() if left and "stages" in path else None
    assert same(store.stage("fit", KEY, result), result())
    left += [500]
    assert same(store.load("fit", KEY), result()) and not left


def test_writers_of_one_stage_do_not_hurt_each_other(store: Store, bucket: Bucket) -> None:
    """Results that differ in a bit, as two kinds of machines give them: every reader gets a whole one."""
    barrier, failures = threading.Barrier(4), []

    def write(value: int) -> None:
        mine = Store(store.root)
        try:
            for n in range(6):
                barrier.wait(30)
                mine.save("fit", f"{n:024}", result(value))
                found = mine.load("fit", f"{n:024}")
                assert found is not None and any(same(found, result(v)) for v in range(4))
        except Exception as error:
            failures.append(error)
            barrier.abort()

    writers = [threading.Thread(target=write, args=[value]) for value in range(4)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    assert not failures
    assert [row["entries"] for row in contents(store)] == [6]


def test_shards_are_read_by_column_and_only_damage_is_damage(
    store: Store, server: Server, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "ATTEMPTS", 2)
    path = store.path("features", "f" * 24, "a.parquet")
    table = pa.table({"sha256": ["a", "b"], "stride_8": pa.array([b"12345678" * 9, b"abcdefgh" * 9], pa.binary(72))})
    write_shard(store, path, table)
    assert read_shard(store, path, ["sha256"]).column("sha256").to_pylist() == ["a", "b"]
    server.fails = lambda method, path: 500 if path.endswith(".parquet") else None
    with pytest.raises(StorageError, match=r"^store: cannot read 's3://"):
        read_shard(Store(store.root), path, ["sha256"])
    server.fails = lambda method, path: None
    key = key_of(bucket, "a.parquet")
    whole = bucket.read(key)
    for data in (whole[:-9], whole.replace(b"12345678", b"12345679", 1), b""):
        bucket.put(key, data)
        with pytest.raises(DamagedShard) as damage:
            read_shard(store, path, ["stride_8"])
    damage.value.remove(store)
    assert bucket.objects() == []
    with pytest.raises(DamagedShard):
        read_shard(store, path, ["sha256"])


def test_list_and_prune(store: Store, bucket: Bucket, command: Command) -> None:
    for n in range(3):
        store.save("fit", f"{n:024}", result())
    write_shard(store, store.path("features", "f" * 24, "a.parquet"), pa.table({"sha256": ["a"]}))
    bucket.put("some/other", b"not ours")
    listed = json.loads(command("store", "list", "--store", store.root, "--json").out)
    assert {row["kind"]: row["entries"] for row in listed} == {"fit": 3, f"features/{'f' * 24}": 1}
    assert prune(store, days=1, features=True, remove=True) == {"entries": 0, "bytes": 0, "in_use": 0}
    assert "3 entries" in command("store", "prune", "--store", store.root, "--older-than", 0, "--yes").out
    assert bucket.objects() == ["some/other", f"some/store/features/{'f' * 24}/a.parquet"]
    prune(store, days=0, features=True, remove=True)
    assert contents(store) == [] and bucket.objects() == ["some/other"]


def test_use_is_noted_and_a_run_in_progress_keeps_what_it_uses(
    store: Store, bucket: Bucket, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(2):
        store.save("fit", f"{n:024}", result())
    write_shard(store, store.path("features", "f" * 24, "a.parquet"), pa.table({"sha256": ["a"]}))
    server.asked.clear()
    assert same(store.load("fit", f"{0:024}"), result()) and not server.written(""), "just written: not noted again"
    monkeypatch.setattr("swag_ray.store.store.TOUCHED", -5.0)
    assert same(store.load("fit", f"{0:024}"), result())
    assert [path.rpartition("/")[2] for path in server.written("")] == [MARKER]
    with in_use(store):
        note_shards_used(store, "f" * 24, ["a.parquet"])
        assert prune(store, days=0, features=True, remove=True) == {"entries": 0, "bytes": 0, "in_use": 3}
    assert prune(store, days=0, features=True, remove=True)["entries"] == 3


def test_a_store_that_is_not_there(bucket: Bucket, command: Command) -> None:
    said = command("store", "list", "--store", bucket.address("nothing")).complaint
    assert said == f"store: '{bucket.address('nothing')}' does not exist; give the path or address of a store"


def refused(command: Command, address: str) -> str:
    started = time.monotonic()
    complaint = command("store", "list", "--store", address).complaint
    assert time.monotonic() - started < WITHIN
    return complaint


def test_bad_addresses_are_one_line(command: Command, bucket: Bucket, server: Server) -> None:
    assert "there is no such bucket" in refused(command, "s3://bucket-of-nobody/store")
    assert "names no bucket" in refused(command, "s3://")
    assert "unknown option 'colour'" in refused(command, f"{bucket.address('x')}?colour=red")
    assert "secret" not in refused(command, "s3://key:secret@bucket/store")
    with server.checking_credentials():
        assert "access is denied" in refused(command, bucket.address("store"))
    assert not [path for method, path in server.asked if method == "PUT"], "no bucket is made"


def test_servers_that_do_not_answer_are_one_line(
    command: Command, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "does not answer" in refused(command, bucket.address("store")), "nobody listens"
        silent.listen()
        assert "does not answer" in refused(command, bucket.address("store")), "nobody speaks"


def test_nobody_is_let_in_without_credentials(
    command: Command, bucket: Bucket, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    server.fails = lambda method, path: 403
    assert "give credentials" in refused(command, bucket.address("store"))
