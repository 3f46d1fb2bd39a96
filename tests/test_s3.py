"""Stores and run directories on s3://, against a real S3 server on loopback."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from swag_ray import s3
from swag_ray.config import Config, load_config, to_yaml
from swag_ray.data.shards import DamagedShard, read_shard, write_shard
from swag_ray.errors import InputError, StorageError
from swag_ray.pruning import contents, prune
from swag_ray.remote_directory import fetched, run_folder
from swag_ray.run import run_experiment
from swag_ray.stages import MARKER, Result, Store
from tests.commands import Command, figures
from tests.s3_server import Server
from tests.test_resume import Driver

pytest.importorskip("moto")
boto3 = pytest.importorskip("boto3")
KEY = "0" * 24
SHORT: dict[str, Any] = {"rounds": 1, "controls": []}
WITHIN = 15.0  # seconds in which a bad address must be refused


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@dataclass(frozen=True)
class Bucket:
    """A bucket of this test alone, and what is in it as another client sees it."""

    client: Any
    name: str

    def address(self, prefix: str) -> str:
        return f"s3://{self.name}/{prefix}"

    def objects(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        found = [item["Key"] for page in pages for item in page.get("Contents", [])]
        return [key for key in found if not key.endswith("/")]

    def read(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)


@pytest.fixture
def bucket(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Bucket]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": server.url, "HOME": str(tmp_path / "home"),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=server.url, region_name="us-east-1")
    bucket = Bucket(client, f"bucket-{abs(hash(request.node.nodeid))}")
    client.create_bucket(Bucket=bucket.name)
    server.asked.clear()
    yield bucket
    server.fails, server.region = lambda method, path: None, None


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
    assert {row["kind"] for row in contents(store)} <= {"tmp"}, "counted as a leftover"
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
    assert prune(store, days=1, features=True, remove=True) == {"entries": 0, "bytes": 0}
    assert "3 entries" in command("store", "prune", "--store", store.root, "--older-than", 0, "--yes").out
    assert bucket.objects() == ["some/other", f"some/store/features/{'f' * 24}/a.parquet"]
    prune(store, days=0, features=True, remove=True)
    assert contents(store) == [] and bucket.objects() == ["some/other"]


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


# Run directories


@pytest.fixture
def config(tiny: Callable[..., Config]) -> Config:
    return tiny()


def work(address: str, config: Config, files: dict[str, str]) -> None:
    """What a run does to its directory."""
    with run_folder(address) as folder:
        (folder.path / "config.yaml").write_text(to_yaml(config))
        with folder.published():
            for name, text in files.items():
                (folder.path / name).parent.mkdir(exist_ok=True)
                (folder.path / name).write_text(text)


WHOLE = {"metrics.json": "{}", "report.html": "<html>", "detector/arrays.npz": "a", "plots/roc.svg": "<svg/>"}


def test_a_run_is_sent_with_its_figures_last(bucket: Bucket, server: Server, config: Config) -> None:
    address = bucket.address("runs/one")
    work(address, config, WHOLE)
    written = [path.removeprefix(f"/{bucket.name}/runs/one/") for path in server.written("runs/one")]
    assert written[0] == "config.yaml" and written[-1] == "metrics.json"
    assert set(written) == {"config.yaml", *WHOLE}
    work(address, config, {"metrics.json": "{}", "plots/pr.svg": "<svg/>"})
    assert "runs/one/plots/roc.svg" not in bucket.objects() and "runs/one/report.html" in bucket.objects()
    with fetched(address, "report", "metrics.json", "plots/") as folder:
        assert sorted(p.name for p in folder.rglob("*") if p.is_file()) == ["metrics.json", "pr.svg"]


def test_a_run_that_breaks_off_keeps_its_claim_and_is_not_complete(bucket: Bucket, config: Config) -> None:
    address = bucket.address("runs/one")
    work(address, config, WHOLE)
    with pytest.raises(KeyboardInterrupt), run_folder(address) as folder:
        (folder.path / "config.yaml").write_text(to_yaml(config))
        with folder.published():
            raise KeyboardInterrupt
    assert "runs/one/config.yaml" in bucket.objects()
    with pytest.raises(InputError, match="two"), run_folder(bucket.address("runs/two")) as folder:
        (folder.path / "config.yaml").write_text(to_yaml(config))
        with folder.published():
            assert bucket.objects("runs/two/") == ["runs/two/config.yaml"]
            raise InputError(f"gate: no, says '{folder.path}'")
    assert bucket.objects("runs/two/") == [], "a bad input leaves no claim behind"


def test_one_process_at_a_time_works_here(bucket: Bucket, config: Config) -> None:
    with (
        run_folder(bucket.address("runs/one")),
        pytest.raises(InputError, match="a run is at work in 's3://"),
        run_folder(bucket.address("runs/one")),
    ):
        pass


def test_what_is_not_a_run_of_this_config_is_left_alone(
    bucket: Bucket, server: Server, config: Config, command: Command, tmp_path: Path, no_ray: None
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    bucket.put("foreign/thesis.docx", b"years of work")
    bucket.put("other/config.yaml", to_yaml(config.model_copy(update={"random_seed": 7})).encode())
    server.asked.clear()
    complaint = command("run", path, "--out", bucket.address("foreign")).complaint
    assert "holds something else ('thesis.docx')" in complaint
    complaint = command("run", path, "--out", bucket.address("other")).complaint
    assert f"'{bucket.address('other')}' holds a run of another config (random_seed is 7 there" in complaint
    assert "holds no run" in command("run", "--resume", bucket.address("nothing")).complaint
    assert "holds no run" in command("report", bucket.address("nothing")).complaint
    assert "no such bucket" in command("run", path, "--out", "s3://bucket-of-nobody/run").complaint
    assert "no such bucket" in command("run", path, "--set", "store=s3://bucket-of-nobody/store").complaint
    assert "is not a path or an s3://" in command("run", path, "--out", "gs://bucket/run").complaint
    assert {method for method, _ in server.asked} <= {"GET", "HEAD"}


# A whole run


@pytest.fixture
def tiny_run(tiny: Callable[..., Config], bucket: Bucket, tmp_path: Path) -> Path:
    """The config file of a short run whose store is on s3://."""
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(tiny(**SHORT, store=bucket.address("store"))))
    return path


@pytest.mark.ray
@pytest.mark.cluster
def test_a_run_on_s3_is_killed_goes_on_and_ends_as_one_on_a_disk(
    tiny: Callable[..., Config], tiny_run: Path, local_ray: None, bucket: Bucket, server: Server, command: Command,
    tmp_path: Path, request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    address = bucket.address("runs/one")
    Driver(tiny_run, address).kill_when(lambda: bool(server.written("/store/features/")))
    assert bucket.objects("runs/") == ["runs/one/config.yaml"]
    kept = bucket.objects("store/features/")
    server.asked.clear()
    last = Driver(tiny_run, address)
    assert last.process.wait() == 0, last.process.communicate()[1]
    rewritten = {path.removeprefix(f"/{bucket.name}/") for path in server.written("/store/")}
    assert kept and not rewritten & set(kept)
    metrics = json.loads(bucket.read("runs/one/metrics.json"))
    local = run_experiment(tiny(**SHORT), tmp_path / "local")
    assert figures(metrics) == figures(local.metrics)
    names = {p.relative_to(local.directory).as_posix() for p in local.directory.rglob("*") if p.is_file()}
    assert {key.removeprefix("runs/one/") for key in bucket.objects("runs/one/")} == names

    server.asked.clear()
    request.getfixturevalue("no_ray")
    again = run_experiment(load_config(tiny_run), bucket.address("runs/two"))
    assert again.address == bucket.address("runs/two") and (again.directory / "report.html").is_file()
    assert server.written("/store/stages/") == server.written("/store/features/") == [], "nothing is computed twice"
    assert figures(json.loads(bucket.read("runs/two/metrics.json"))) == figures(again.metrics) == figures(metrics)

    page = bucket.read("runs/one/report.html")
    bucket.client.delete_object(Bucket=bucket.name, Key="runs/one/report.html")
    assert command("report", address).out == f"{address}/report.html\n"
    assert bucket.read("runs/one/report.html") == page
    image = next((tmp_path / "home").rglob("test/*/*.png"))
    scores = []
    for run in (address, f"{address}/detector", local.directory):
        assert command("score", run, image, "--out", tmp_path / "scores.csv", "-q").code == 0
        scores.append((tmp_path / "scores.csv").read_text().splitlines()[1].split(",")[:4])
    assert scores[0] == scores[1] == scores[2]
