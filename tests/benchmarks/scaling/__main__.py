"""`python -m tests.benchmarks.scaling`: writes clusters/SCALING.md from the record beside this file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.benchmarks.measure import REPOSITORY
from tests.benchmarks.scaling.model import Bench, MissingRows
from tests.benchmarks.scaling.page import page

RECORD = Path(__file__).with_name("bench.json")


def main() -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    try:
        text = page(Bench(record))
    except MissingRows as error:
        sys.exit(f"scaling: {error}")
    (REPOSITORY / "clusters" / "SCALING.md").write_text(text, encoding="utf-8")
    print("clusters/SCALING.md written")


main()
