"""The terminal, and what reads our output, get what we say; what other code writes past Python goes elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from swag_ray.cli.screen import run_screen
from swag_ray.errors import InputError


def chatter() -> None:
    """As Ray's core and the processes that it starts write."""
    for number in (1, 2):
        os.write(number, b"[raylet] text\n")
        subprocess.run([sys.executable, "-c", f"import os; os.write({number}, b'a child of its\\n')"], check=True)


@pytest.mark.parametrize("quiet", [False, True])
def test_stdout_holds_our_output_only(quiet: bool, capfd: pytest.CaptureFixture[str]) -> None:
    print("before")
    with run_screen(quiet=quiet) as screen:
        chatter()
        screen.console.print("a round")
        print("a complaint", file=sys.stderr)
        chatter()
    print('{"json": 1}')
    out, err = capfd.readouterr()
    assert out == "before\n" + ("" if quiet else "a round\n") + '{"json": 1}\n' and err == "a complaint\n"


def test_what_was_said_is_kept_where_it_may_explain_a_fault(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="of ours"), run_screen(quiet=True):
        chatter()
        raise ValueError("of ours")
    out, err = capfd.readouterr()
    log = Path(err.split()[-1])
    assert out == "" and log.read_text().count("[raylet] text") == 2
    log.unlink()
    with pytest.raises(InputError), run_screen(quiet=True):
        raise InputError("gate: no")
    assert capfd.readouterr() == ("", "")


def test_a_reader_that_went_away_is_no_failure() -> None:
    code = """if True:
        from swag_ray.cli.screen import run_screen
        with run_screen(quiet=False) as screen:
            for line in range(9999):
                screen.console.print("a round", highlight=False)
    """
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert program.stdout is not None and program.stdout.readline() == "a round\n"
    program.stdout.close()
    assert "Traceback" not in program.communicate(timeout=60)[1]
