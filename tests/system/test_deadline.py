"""Work is done, fails as it fails, or is given up in time."""

from __future__ import annotations

import time

import pytest

from swag_ray.system.deadline import run_with_timeout


def test_done_in_time() -> None:
    done: list[int] = []
    run_with_timeout(30, lambda: done.append(1))
    assert done == [1]


def test_its_own_error_comes_out() -> None:
    with pytest.raises(ZeroDivisionError):
        run_with_timeout(30, lambda: print(1 / 0))


def test_given_up_in_time() -> None:
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer within"):
        run_with_timeout(0.1, lambda: time.sleep(20))
    assert time.monotonic() - start < 10
