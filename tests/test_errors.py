"""A bad input keeps its advice apart, through pickling too; every OSError's reason is the system's own words."""

from __future__ import annotations

import errno
import pickle
import socket
from pathlib import Path

import pyarrow as pa
import pyarrow.fs
import pytest

from swag_ray.errors import InputError, StorageError, reason_of, remedy_of
from swag_ray.features.shards import DamagedShard
from swag_ray.record.files import explain_write_errors
from swag_ray.store.store import Store


def test_the_message_is_the_problem_and_then_the_advice() -> None:
    assert (
        str(InputError("--out: no folder 'a'; really", "make it first"))
        == "--out: no folder 'a'; really; make it first"
    )
    assert str(InputError("no folder 'a'")) == "no folder 'a'"


@pytest.mark.parametrize(
    "error", [InputError("a"), StorageError("store: a; b", "c"), DamagedShard("features/x.parquet", "checksum")]
)
def test_problem_and_advice_survive_the_way_out_of_an_actor(error: InputError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error) and str(back) == str(error)
    assert (back.problem, back.advice) == (error.problem, error.advice)


def test_a_reason_is_the_systems_own_words(tmp_path: Path) -> None:
    with pytest.raises(OSError) as plain:
        (tmp_path / "absent").read_bytes()
    assert reason_of(plain.value) == "No such file or directory"
    with pytest.raises(OSError) as wrapped:  # Arrow puts path and detail around it
        pa.fs.LocalFileSystem().open_input_file(str(tmp_path / "absent"))
    assert "Detail" in str(wrapped.value) and reason_of(wrapped.value) == "No such file or directory"


def test_a_reason_of_another_numbering_is_not_read_as_the_systems() -> None:
    assert reason_of(socket.gaierror(1, "Name or service not known")) == "Name or service not known"


def test_a_reason_is_one_line_of_any_exception() -> None:
    assert reason_of(PermissionError(0, "'/a' is read-only")) == "'/a' is read-only"
    assert reason_of(ValueError("\nfirst\nsecond")) == "first"
    assert reason_of(TimeoutError()) == "TimeoutError"


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "gain access there"), (errno.EPERM, "gain access there"), (errno.EROFS, "gain access there"),
        (errno.ENOSPC, "free space there"), (errno.EDQUOT, "free space there"), (errno.ENOTDIR, "mend that"),
    ],
)  # fmt: skip
def test_the_remedy_is_that_of_the_fault(tmp_path: Path, number: int, remedy: str) -> None:
    """No space is freed for a permission, and no access gained on a full disk."""
    error = OSError(number, "as the system says")
    assert remedy_of(error) == remedy
    for doing in ("write to", "read", "remove from"):
        said = str(Store(tmp_path).storage_error(error, doing))
        assert said.endswith(f"; {remedy} or set another `store`")
    with pytest.raises(StorageError, match=f"; {remedy}, or choose another folder$"), explain_write_errors(tmp_path):
        raise error


def test_a_refusal_without_a_number_is_one_of_access() -> None:
    assert remedy_of(PermissionError(0, "'/a' is read-only")) == "gain access there"
