"""Stages: named by what they read, there whole or not at all, the same for everybody who asks."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swag_ray.errors import InputError
from swag_ray.store import stages
from swag_ray.store.pruning import prune
from swag_ray.store.stages import Result, digest, fold_arrays, stage_key
from swag_ray.store.store import MARKER, Store

KEY = "0" * 24


def result(value: float = 1.0) -> Result:
    return Result({"s": np.full(4, value), "image": np.arange(3)}, {"reason": "", "on": True})


def same(a: Result | None, b: Result) -> bool:
    return (
        a is not None
        and a.info == b.info
        and a.arrays.keys() == b.arrays.keys()
        and all(np.array_equal(a.arrays[name], b.arrays[name]) for name in b.arrays)
    )


def folder(root: Path, name: str = "fit") -> Path:
    return root / "stages" / name / KEY


def test_key_depends_on_name_reads_order_before_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    base = stage_key("fit", {"a": 1, "b": [1, 2]}, ["x", "y"])
    assert base == stage_key("fit", {"b": [1, 2], "a": 1}, ("x", "y"))
    others = {
        stage_key("bank", {"a": 1, "b": [1, 2]}, ["x", "y"]),
        stage_key("fit", {"a": 2, "b": [1, 2]}, ["x", "y"]),
        stage_key("fit", {"a": 1, "b": [2, 1]}, ["x", "y"]),
        stage_key("fit", {"a": 1}, ["x", "y"]),
        stage_key("fit", {"a": 1, "b": [1, 2]}, ["y", "x"]),
        stage_key("fit", {"a": 1, "b": [1, 2]}, ["x"]),
    }
    monkeypatch.setitem(stages.VERSIONS, "fit", stages.VERSIONS["fit"] + 1)
    others.add(stage_key("fit", {"a": 1, "b": [1, 2]}, ["x", "y"]))
    assert len(others | {base}) == 8


def test_a_stage_without_a_version_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        stage_key("fits", {})


def test_digest_tells_values_types_and_borders_apart() -> None:
    a = np.arange(6, dtype=np.int32)
    different = [
        digest(a), digest(a.astype(np.int64)), digest(a.reshape(2, 3)), digest(a + 1), digest(a[:3], a[3:]),
        digest("ab", "c"), digest("a", "bc"), digest(["ab", "c"]), digest("abc"), digest(1), digest("1"),
    ]  # fmt: skip
    assert len(set(different)) == len(different)
    assert digest(np.asfortranarray(a.reshape(2, 3))) == digest(a.reshape(2, 3))


def test_computed_once_then_read(tmp_path: Path) -> None:
    store, calls = Store(tmp_path), []

    def compute() -> Result:
        calls.append(1)
        return result()

    first = store.stage("fit", KEY, compute)
    again = Store(tmp_path).stage("fit", KEY, compute)
    assert calls == [1]
    assert same(first, result()) and same(again, result())
    assert store.has("fit", KEY) and not store.has("fit", "1" * 24) and not store.has("bank", KEY)


def test_arrays_come_back_as_they_went_in(tmp_path: Path) -> None:
    arrays = {
        "half": np.linspace(-1, 1, 12, dtype=np.float16).reshape(3, 4), "nan": np.array([np.nan, np.inf, -0.0]),
        "flag": np.array([True, False]), "empty": np.empty((0, 3)), "scalar": np.array(7), "id": np.array(["ä", "bc"]),
    }  # fmt: skip
    Store(tmp_path).save("fit", KEY, Result(arrays, {"n": [1, None, "x"]}))
    loaded = Store(tmp_path).load("fit", KEY)
    assert loaded is not None and loaded.info == {"n": [1, None, "x"]}
    for name, array in arrays.items():
        assert loaded.arrays[name].dtype == array.dtype and loaded.arrays[name].tobytes() == array.tobytes()


def test_nothing_pickled_is_read_or_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(TypeError, match="nothing pickled is kept"):
        store.save("fit", KEY, Result({"x": np.array([{"a": 1}], dtype=object)}))
    assert list(tmp_path.iterdir()) == []
    buffer = io.BytesIO()
    np.savez(buffer, x=np.array([{"a": 1}], dtype=object))
    store.save("fit", KEY, result())
    rewrite(store, buffer.getvalue())
    with pytest.raises(ValueError, match="allow_pickle=False"):
        store.load("fit", KEY)


def rewrite(store: Store, arrays: bytes) -> None:
    """Other content with the right checksum: not damage."""
    place = Path(store.path("stages", "fit", KEY))
    (place / "arrays.npz").write_bytes(arrays)
    marker = json.loads((place / MARKER).read_text())
    marker["files"]["arrays.npz"] = hashlib.sha256(arrays).hexdigest()
    (place / MARKER).write_text(json.dumps(marker))


def test_no_marker_does_not_exist(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save("fit", KEY, result(1))
    (folder(tmp_path) / MARKER).unlink()
    assert not store.has("fit", KEY) and store.load("fit", KEY) is None
    assert same(store.stage("fit", KEY, lambda: result(2)), result(2)), "its remains must not block the stage for good"
    assert same(store.load("fit", KEY), result(2))


@pytest.mark.parametrize("stop_at", [0, 1, 2])
def test_a_kill_while_saving_leaves_nothing_that_looks_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    store, written = Store(tmp_path), []
    real = Path.write_bytes

    def write(path: Path, data: bytes) -> int:
        if len(written) == stop_at:
            real(path, data[: len(data) // 2])
            raise KeyboardInterrupt  # as abrupt as anything that Python can see
        written.append(path)
        return real(path, data)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "write_bytes", write)
        store.save("fit", KEY, result())
    assert Store(tmp_path).load("fit", KEY) is None and not folder(tmp_path).exists()
    assert list((tmp_path / "tmp").iterdir()) == [], "nothing half-written stays"
    assert same(Store(tmp_path).stage("fit", KEY, result), result())


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink])
@pytest.mark.parametrize("file", ["arrays.npz", "info.json", "complete.json"])
def test_a_damaged_result_is_dropped_and_computed_again(
    tmp_path: Path, damage: Callable[[Path], None], file: str
) -> None:
    store = Store(tmp_path)
    store.save("fit", KEY, result())
    damage(folder(tmp_path) / file)
    calls = []

    def compute() -> Result:
        calls.append(1)
        return result()

    assert same(store.stage("fit", KEY, compute), result()) and calls == [1]
    assert same(store.load("fit", KEY), result()) and calls == [1]


@pytest.mark.parametrize("content", ["null", "[]", "{}", '{"files": {"arrays.npz": 3}}', '{"files": []}'])
def test_a_marker_that_says_nothing_is_damage_too(tmp_path: Path, content: str) -> None:
    store = Store(tmp_path)
    store.save("fit", KEY, result(1))
    (folder(tmp_path) / MARKER).write_text(content)
    assert same(store.stage("fit", KEY, lambda: result(2)), result(2))


def test_a_failure_keeps_nothing(tmp_path: Path) -> None:
    def compute() -> Result:
        raise InputError("gate: no")

    with pytest.raises(InputError):
        Store(tmp_path).stage("fit", KEY, compute)
    assert list(tmp_path.rglob("*")) == []


def test_what_is_as_it_was_written_is_never_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours while a stage is read, or a newer version's stage, is no damage."""
    store = Store(tmp_path)
    store.save("fit", KEY, result())

    def broken(*_: Any, **__: Any) -> None:
        raise IndexError("a fault of ours")

    with monkeypatch.context() as patched, pytest.raises(IndexError):
        patched.setattr("numpy.load", broken)
        store.load("fit", KEY)
    assert same(store.load("fit", KEY), result())
    marker = folder(tmp_path) / MARKER
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"format": 2, "files": {"arrays.zarr": "0"}}))
    said = r"^store: '.*' was written by a newer version of swag-ray; update this one, or set another `store`$"
    with pytest.raises(InputError, match=said):
        store.stage("fit", KEY, result)
    assert (folder(tmp_path) / "arrays.npz").exists() and marker.exists()


def test_two_writers_of_one_stage_agree(tmp_path: Path) -> None:
    """Both computed it; the second to finish leaves the first's result in place."""
    barrier, failures = threading.Barrier(4), []

    def write() -> None:
        store = Store(tmp_path)
        barrier.wait()
        try:
            for _ in range(20):
                store.save("fit", KEY, result())
                assert same(store.load("fit", KEY), result())
        except Exception as error:
            failures.append(error)

    writers = [threading.Thread(target=write) for _ in range(4)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    assert not failures
    assert list((tmp_path / "tmp").iterdir()) == [], "the loser tidies up"


def test_unwritable_store_is_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(InputError, match=r"^store: cannot write to"):
        Store(blocked).check_writable()
    with pytest.raises(InputError, match=r"^store: cannot write to"):
        Store(blocked).save("fit", KEY, result())


def test_pruned_halfway_is_no_obstacle(tmp_path: Path) -> None:
    """Pruning takes the marker first; a stage caught in between is computed again."""
    store = Store(tmp_path)
    store.save("fit", KEY, result())
    assert prune(store, days=0, features=False, remove=True)["entries"] == 1
    assert store.load("fit", KEY) is None
    store.save("fit", KEY, result())
    record = json.loads((folder(tmp_path) / MARKER).read_text())
    assert record["stage"] == "fit"


def test_fold_arrays_sorts_names_by_fold() -> None:
    flat = {"fold0.raw.8": np.zeros(1), "fold1.raw.8": np.ones(2), "fold1.image": np.arange(2)}
    first, second = fold_arrays(flat, 2)
    assert list(first) == ["raw.8"] and sorted(second) == ["image", "raw.8"]
