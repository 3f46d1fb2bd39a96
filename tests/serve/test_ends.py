"""By which signals the service ends; tests/serve/test_lost_node.py has one ended by a closed terminal."""

from __future__ import annotations

import errno
import io
import signal

import pytest
from uvicorn import Config, Server

from swag_ray.serve import watch
from swag_ray.serve.serve import _signals_noted


@pytest.mark.parametrize(("before", "ends"), [(signal.default_int_handler, True), (signal.SIG_IGN, False)])
def test_a_closed_terminal_ends_it_but_under_nohup(before: signal.Handlers, ends: bool) -> None:
    kept, server = signal.signal(signal.SIGHUP, before), Server(Config("nowhere"))
    try:
        with _signals_noted(server) as noted:
            signal.raise_signal(signal.SIGHUP)
        assert noted == [signal.SIGHUP] * ends and server.should_exit is ends
        assert signal.getsignal(signal.SIGHUP) is before
    finally:
        signal.signal(signal.SIGHUP, kept)


class Closed(io.StringIO):
    """A terminal that is no more."""

    def flush(self) -> None:
        raise OSError(errno.EIO, "Input/output error")


def test_a_log_that_nobody_reads_stops_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Closed())
    watch.to_stderr("a line")
