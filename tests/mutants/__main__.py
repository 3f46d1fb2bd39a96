"""`python -m tests.mutants [--count 200] [--seed 0] [--only PART ...] [--seconds 30]`: which faults do the tests miss?

The same seed draws the same faults from the same sources, so a run that was stopped goes on with `--skip`. It runs
niced, one trial at a time.
"""

from __future__ import annotations

import argparse
import difflib
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.mutants.operators import Mutant, mutants
from tests.mutants.trial import make_copy, preload, try_mutant
from tests.mutants.which_tests import ROOMS, which_tests

REPOSITORY = Path(__file__).resolve().parents[2]
ALSO_LEFT_OUT = ("__init__.py",)


def main() -> int:
    arguments = _arguments()
    os.nice(15)
    preload()
    drawn = draw(REPOSITORY, arguments.count, arguments.seed, arguments.only)
    count: Counter[str] = Counter()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="swag-ray-mutants-") as scratch:
        copy = make_copy(REPOSITORY, Path(scratch))
        for number, (file, mutant) in enumerate(drawn[arguments.skip :], arguments.skip + 1):
            if arguments.minutes and time.monotonic() - started > 60 * arguments.minutes:
                print(f"{arguments.minutes:g} minutes are over after {number - 1} of {len(drawn)} mutants", flush=True)
                break
            tests = which_tests(copy, file)
            log = Path(scratch) / "log"
            outcome = try_mutant(copy, file, mutant.source, tests, arguments.seconds, log)
            count[outcome] += 1
            if outcome != "caught":
                print(f"{outcome}: {file}:{mutant.line} ({mutant.name})", flush=True)
                print("".join(_diff(copy / file, mutant)), flush=True)
            elif arguments.verbose:
                print(f"caught: {file}:{mutant.line} {mutant.before!r} -> {mutant.after!r}", flush=True)
    tried = sum(count.values())
    shares = ", ".join(f"{outcome} {number} ({number / tried:.0%})" for outcome, number in count.most_common())
    print(f"{tried} mutants in {time.monotonic() - started:.0f} s: {shares}")
    return 0


def draw(root: Path, count: int, seed: int, only: list[str]) -> list[tuple[str, Mutant]]:
    """Draws mutants from the science: the four rooms, of `experiment` the evaluation alone.

    Args:
        root: of the repository.
        count: how many, at most.
        seed: of the draw.
        only: parts of file names, of which one must occur; empty for all.
    """
    files = [path for room in ROOMS if room != "experiment" for path in sorted((root / "swag_ray" / room).glob("*.py"))]
    files.append(root / "swag_ray" / "experiment" / "evaluate.py")
    names = [str(path.relative_to(root)) for path in files if path.name not in ALSO_LEFT_OUT]
    kept = [name for name in names if not only or any(part in name for part in only)]
    found = [(name, mutant) for name in kept for mutant in mutants((root / name).read_text(encoding="utf-8"))]
    return random.Random(seed).sample(found, min(count, len(found)))


def _diff(file: Path, mutant: Mutant) -> list[str]:
    """The lines that differ."""
    before, after = file.read_text(encoding="utf-8").splitlines(), mutant.source.splitlines()
    lines = difflib.unified_diff(before, after, n=0, lineterm="")
    return [f"    {line}\n" for line in lines if not line.startswith(("---", "+++", "@@"))]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="how many mutants are drawn (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default 0)")
    parser.add_argument("--skip", type=int, default=0, help="of the mutants drawn, the first that are not tried again")
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", help="files whose name holds one of these")
    parser.add_argument(
        "--seconds",
        type=float,
        default=30,
        help="for the tests of one mutant (default 30, and as much again for one that hangs)",
    )
    parser.add_argument(
        "--minutes", type=float, default=0, help="no new mutant is tried after so long (default: all are)"
    )
    parser.add_argument("--verbose", action="store_true", help="print the caught ones too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
