"""The mutation tool: which faults it makes, that they compile, and that a trial tells caught from survived."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.__main__ import draw
from tests.mutants.operators import mutants
from tests.mutants.which_tests import which_tests

SOURCE = '''
def share(values: list[float | None], least: int = 2) -> float:
    """Not -1 + 2."""
    if len(values) < least:
        raise ValueError(f"{least - 1} is too few: {1 + 1}")
    return sum(v for v in values if v is not None) / len(values)
'''
MEAN = "sum(v for v in values if v is not None) / len(values)"


def changes(source: str) -> set[tuple[str, str]]:
    return {(mutant.before, mutant.after) for mutant in mutants(source)}


def test_expressions_are_changed_and_neither_annotations_nor_messages() -> None:
    assert changes(SOURCE) == {
        ("2", "(3)"),
        ("len(values) < least", "(len(values) <= least)"), ("len(values) < least", "(len(values) > least)"),
        ("v is not None", "(v is None)"),
        (MEAN, "(sum((v for v in values if v is not None)) * len(values))"),
        (MEAN, "(-(sum((v for v in values if v is not None)) / len(values)))"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("source", "change"),
    [
        ("x = a + b * c", ("b * c", "(b / c)")),
        ("x += 1", ("x += 1", "x -= 1")),
        ("x = a and b", ("a and b", "(a or b)")),
        ("x = ~a", ("~a", "(a)")),
        ("x = 0.5", ("0.5", "(1.0)")),
        ("x = True", ("True", "(False)")),
        ("x = np.minimum(a, b)", ("np.minimum(a, b)", "(np.maximum(a, b))")),
        ("x = a.std(axis=1, ddof=1)", ("a.std(axis=1, ddof=1)", "(a.std(axis=1))")),
        ("x = a.std(axis=1, ddof=1)", ("a.std(axis=1, ddof=1)", "(a.std(ddof=1, axis=0))")),
        ("x = np.searchsorted(a, b, side='left')",
         ("np.searchsorted(a, b, side='left')", "(np.searchsorted(a, b, side='right'))")),
        ("x = np.setdiff1d(a, b)", ("np.setdiff1d(a, b)", "(np.setdiff1d(b, a))")),
        ("x = a[n:]", ("a[n:]", "(a[:n])")),
        ("x = a if b else c", ("b", "(not b)")),
        ("def f():\n    return a, b", ("a, b", "((b, a))")),
        ("x = 'é' if a < b else c", ("a < b", "(a <= b)")),
    ],
)  # fmt: skip
def test_every_operator(source: str, change: tuple[str, str]) -> None:
    assert change in changes(source)


def test_the_side_that_reshape_finds_out_is_left_alone() -> None:
    assert changes("x = a.reshape(-1, n)") == {("a.reshape(-1, n)", "(a.reshape(n, -1))")}
    assert changes("x = a[-1]") == {("1", "(2)"), ("-1", "(1)")}


def test_mutants_of_the_science_differ_in_one_place_and_compile(repository: Path) -> None:
    drawn = draw(repository, 150, 0, [])
    assert drawn == draw(repository, 150, 0, []) != draw(repository, 150, 1, [])
    for file, mutant in drawn:
        compile(mutant.source, file, "exec")
        source = (repository / file).read_text(encoding="utf-8")
        assert len(mutant.source) - len(source) == len(mutant.after) - len(mutant.before) and mutant.source != source
    assert {file for file, _ in draw(repository, 9, 0, ["core/gate"])} == {"swag_ray/core/gate.py"}


def test_the_file_s_own_tests_are_asked_first(repository: Path) -> None:
    asked = which_tests(repository, "swag_ray/core/whitening.py")
    assert asked[0] == "tests/core/test_whitening.py" and "tests/models/test_fold_bank.py" in asked
    assert which_tests(repository, "swag_ray/experiment/evaluate.py")[0] == "tests/experiment/test_figures.py"
    assert all((repository / name).is_file() for name in asked)


TRIAL = """
import sys
from pathlib import Path
from tests.mutants import trial
trial.HANGS = 8
root, log = Path(sys.argv[1]), Path(sys.argv[2])
copy = trial.make_copy(root, log.parent)
for body in ("return x + x", "return x * 3", "while True: pass"):
    source = f"def twice(x: int) -> int:\\n    {body}\\n"
    print(trial.try_mutant(copy, "swag_ray/twice.py", source, ["tests/test_twice.py"], 5, log))
"""


def test_a_trial_tells_caught_survived_and_timed_out(repository: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    for folder in ("swag_ray", "tests", "configs"):
        (small / folder).mkdir(parents=True)
        (small / folder / "__init__.py").touch()
    (small / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    text = "def twice(x: int) -> int:\n    return 2 * x\n"
    (small / "swag_ray" / "twice.py").write_text(text)
    test = "from swag_ray.twice import twice\n\ndef test_twice():\n    assert twice(2) == 4\n"
    (small / "tests" / "test_twice.py").write_text(test)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", TRIAL, small, scratch / "log"],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split("\n")[:3] == ["survived", "caught", "timed out"], done.stderr
    assert (small / "swag_ray" / "twice.py").read_text() == text, "the tree itself is never written to"
    assert (scratch / "copy" / "swag_ray" / "twice.py").read_text() == text
