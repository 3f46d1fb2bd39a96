"""A bad input keeps its advice apart, through pickling too; every OSError's reason is the system's own words."""

from __future__ import annotations

import pickle
import socket
from pathlib import Path

import pyarrow as pa
import pyarrow.fs
import pytest

from swag_ray.errors import InputError, StorageError, reason_of
from swag_ray.features.shards import DamagedShard


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
