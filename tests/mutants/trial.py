"""One mutant's trial: its tests in a process of their own, forked from one that holds the heavy libraries already."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COPIED = ("swag_ray", "tests", "configs", "pyproject.toml")
# None of ours: the child must import the package from the copy, with the fault in it.
HEAVY = (
    "numpy", "pandas", "pyarrow.compute", "pyarrow.parquet", "torch", "faiss", "scipy.stats", "sklearn.metrics",
    "hypothesis", "pydantic", "pytest", "ray",
)  # fmt: skip
HANGS = 30  # seconds
FAILED = (1, 2)  # of pytest: a test failed, or the files could not even be imported


def make_copy(repository: Path, scratch: Path) -> Path:
    """Returns a copy of what the tests need; the real X-rays are not beside it, so tests that want them skip."""
    copy = scratch / "copy"
    copy.mkdir()
    for name in COPIED:
        source = repository / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    return copy


def preload() -> None:
    """Imports what every trial needs and no fault is in."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in HEAVY:
        importlib.import_module(name)
    assert not any(name.split(".")[0] == "swag_ray" for name in sys.modules), "the package would be the unchanged one"


def try_mutant(copy: Path, file: str, source: str, tests: Sequence[str], seconds: float, log: Path) -> str:
    """Returns `caught`, `survived` or `timed out`: what the tests say of the file with this text.

    Args:
        copy: from `make_copy`; the file is as it was afterwards.
        file: of the package, relative to the copy.
        source: its text for this trial.
        tests: test files, in order; the first failure ends the trial.
        seconds: after these no further test is begun; a test that runs `HANGS` longer has timed out.
        log: what pytest says.
    """
    path = copy / file
    unchanged = path.read_text(encoding="utf-8")
    path.write_text(source, encoding="utf-8")
    try:
        child = os.fork()
        if child == 0:
            _run_tests(copy, tests, seconds, log)
        code = _wait(child, seconds + HANGS)
    finally:
        path.write_text(unchanged, encoding="utf-8")
    if code is None:
        return "timed out"
    return "caught" if code in FAILED or code < 0 else "survived" if code == 0 else f"pytest ended with {code}"


def _run_tests(copy: Path, tests: Sequence[str], seconds: float, log: Path) -> None:
    """Never returns."""
    code = 3
    try:
        os.setsid()  # so that whatever the tests start ends with them
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(copy)
        # Nothing compiled is kept: two texts of one length and second would be taken for each other.
        sys.dont_write_bytecode = True
        # By its __init__.py: an editable install leaves swag_ray/configs beside what the tests need.
        sys.path[:] = [str(copy), *(p for p in sys.path if not (Path(p or ".") / "swag_ray" / "__init__.py").is_file())]
        for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
            del sys.modules[name]
        import hypothesis
        import pytest

        # Nobody reads the smallest example, and to look for it takes longer than all the rest. The profile of
        # tests/conftest.py is made of the one that is loaded by then.
        plain = [phase for phase in hypothesis.Phase if phase.name not in ("shrink", "explain")]
        hypothesis.settings.register_profile("mutants", phases=plain)
        hypothesis.settings.load_profile("mutants")
        options = ["-x", "-q", "--hypothesis-seed=0", "-p", "no:cacheprovider", f"--basetemp={log.parent / 'tmp'}"]
        budget = _Budget(time.monotonic() + seconds)
        code = int(pytest.main([*options, *tests], plugins=[budget]))
        code = 0 if budget.spent and code not in FAILED[:1] else code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class _Budget:
    """A pytest plugin that begins no test after a time."""

    def __init__(self, end: float) -> None:
        self.end = end
        self.spent = False

    def pytest_runtest_logfinish(self) -> None:
        if self.session.testsfailed == 0 and time.monotonic() > self.end:
            self.spent, self.session.shouldstop = True, "the time is up"

    def pytest_sessionstart(self, session: Any) -> None:
        self.session = session


def _wait(child: int, seconds: float) -> int | None:
    """Returns how the child ended: its exit code, a signal as a negative number, None where its time was up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
