"""Which test files are asked about a source file, those that know it best first."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

ROOMS = ("core", "models", "methods", "experiment")
BETWEEN = ("features",)  # imports from the rooms, and is imported by them
# Where a file's own tests have another name; two where the first takes next to no time.
BEST = {
    "swag_ray/experiment/evaluate.py": ("tests/experiment/test_figures.py",),
    "swag_ray/methods/auxiliary_fit.py": ("tests/methods/test_fused.py",),
    "swag_ray/methods/bank_fit.py": ("tests/models/test_fold_bank.py",),
    "swag_ray/methods/contrast_fit.py": ("tests/methods/test_fused.py",),
    "swag_ray/methods/heads.py": ("tests/methods/test_fused.py",),
    "swag_ray/methods/published_fit.py": ("tests/methods/test_published_fit.py", "tests/methods/test_fold_scores.py"),
    "swag_ray/models/tasks.py": ("tests/methods/test_folds.py",),
}
IMPORT = re.compile(r"^\s*(?:from (swag_ray[\w.]*) import (\([^)]*\)|[^\n(]*)|import (swag_ray[\w.]*))", re.MULTILINE)


def which_tests(root: Path, file: str) -> list[str]:
    """Test files of the four rooms, relative to the root: the file's own, those that import it, those of its importers.

    Args:
        root: of the repository or a copy.
        file: of the package, relative to the root.
    """
    tests = [path for room in ROOMS for path in sorted((root / "tests" / room).glob("test_*.py"))]
    sources = [path for room in (*ROOMS, *BETWEEN) for path in sorted((root / "swag_ray" / room).glob("*.py"))]
    own = root / "tests" / Path(file).relative_to("swag_ray").with_name(f"test_{Path(file).name}")
    best = [root / name for name in BEST.get(file, ())]
    found = [path for path in dict.fromkeys([*best, own]) if path in tests]
    asked, known = [root / file], {root / file}
    while asked:  # breadth first: near importers before far ones
        names = {_name(root, path) for path in asked}
        found += [path for path in tests if _imports(path) & names and path not in found]
        asked = [path for path in sources if _imports(path) & names and path not in known]
        known |= set(asked)
    return [str(path.relative_to(root)) for path in found]


def _name(root: Path, path: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts)


@cache
def _imports(path: Path) -> frozenset[str]:
    """Dotted names of all modules of the package that a file imports, and of what it takes from them."""
    names: set[str] = set()
    for package, taken, module in IMPORT.findall(path.read_text(encoding="utf-8")):
        names.add(package or module)
        names |= {f"{package}.{name}" for name in re.findall(r"\w+", taken.split(" as ")[0])}
    return frozenset(names)
