"""`python -m tests.benchmarks [--quick] [--only NAME ...] [--out bench.json]`: run families, print a table.

Every family runs in a process of its own with one BLAS thread, as the actors do: what one leaves in memory or threads
does not weigh on the next, and a family that fails costs only its own rows.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.measure import REPOSITORY, Bench, Skip, machine

# In this order: what the whole runs extract, the later families read.
FAMILIES = (
    "startup", "extraction", "scoring", "whole_run", "coreset", "knn", "gate", "head", "actors", "nodes", "sweep",
    "pool_size", "service", "peers",
)  # fmt: skip
LEFT_OUT = ("peers",)  # needs an installation of another package: only when named


def main() -> int:
    arguments = _arguments()
    if arguments.worker:
        return _worker(arguments)
    console = Console() if sys.stdout.isatty() else Console(width=140)
    started = time.perf_counter()
    rows: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="swag-ray-bench-") as scratch:
        for name in arguments.only or [f for f in FAMILIES if f not in LEFT_OUT]:
            console.print(f"[dim]{time.perf_counter() - started:6.0f} s[/]  {name} ...", highlight=False)
            answer = _run_family(name, arguments, Path(scratch))
            rows += answer["rows"]
            if answer["skipped"]:
                skipped[name] = answer["skipped"]
    record = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "quick": arguments.quick,
        "seconds": time.perf_counter() - started, "machine": machine(), "rows": rows, "skipped": skipped,
    }  # fmt: skip
    Path(arguments.out).write_text(json.dumps(record, indent=1) + "\n")
    _show(console, rows, skipped)
    console.print(f"{arguments.out} holds all repetitions; {record['seconds']:.0f} s in all", highlight=False)
    return 1 if any(word.startswith("failed") for word in skipped.values()) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes and one repetition")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=FAMILIES, help=f"of {', '.join(FAMILIES)}")
    parser.add_argument("--out", default="bench.json", help="where all figures go (default: bench.json)")
    parser.add_argument("--store", type=Path, help="keep extracted features here (default: a folder that is removed)")
    parser.add_argument("--xrays", type=Path, help="folder of the X-rays (default: ../shared/data/chest_xray)")
    parser.add_argument("--worker", metavar="NAME", help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _run_family(name: str, arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """One family in its own process; its answer, or why there is none."""
    folder = scratch / name
    folder.mkdir()
    answer = scratch / f"{name}.json"
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks",
        "--worker",
        name,
        "--scratch",
        str(folder),
        "--out",
        str(answer),
    ]
    command += ["--store", str(arguments.store or scratch / "store")]
    command += ["--quick"] if arguments.quick else []
    command += ["--xrays", str(arguments.xrays)] if arguments.xrays else []
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    # A session of its own, so that an interruption here can end all that the family started, and nothing else.
    child = subprocess.Popen(command, cwd=REPOSITORY, env=environment, start_new_session=True)
    try:
        code = child.wait()
    except BaseException:
        os.killpg(child.pid, signal.SIGTERM)
        child.wait()
        raise
    if code or not answer.exists():
        return {"rows": [], "skipped": f"failed with exit code {code}; its error is above"}
    return dict(json.loads(answer.read_text()))


def _worker(arguments: argparse.Namespace) -> int:
    import torch

    torch.set_num_threads(1)
    xrays = arguments.xrays or REPOSITORY.parent / "shared" / "data" / "chest_xray"
    bench = Bench(
        quick=arguments.quick, folder=arguments.scratch, store=arguments.store,
        xrays=xrays.absolute() if xrays.is_dir() else None, cores=os.cpu_count() or 1,
    )  # fmt: skip
    answer: dict[str, Any] = {"rows": [], "skipped": ""}
    try:
        rows = import_module(f"tests.benchmarks.{arguments.worker}").measure(bench)
        answer["rows"] = [row.record() for row in rows]
    except Skip as word:
        answer["skipped"] = str(word)
    Path(arguments.out).write_text(json.dumps(answer))
    return 0


def _show(console: Console, rows: list[dict[str, Any]], skipped: dict[str, str]) -> None:
    table = Table(title="swag-ray benchmarks", title_justify="left", show_lines=False)
    for heading, justify in (
        ("benchmark", "left"), ("ours", "right"), ("reference", "right"), ("ratio (lowest - highest)", "right"),
        ("goal", "right"), ("", "left"),
    ):  # fmt: skip
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    family = ""
    for row in rows:
        if row["family"] != family:
            family = row["family"]
            table.add_section()
        table.add_row(
            f"[bold]{family}[/] {row['name']}" + (f"\n[dim]{row['note']}[/]" if row["note"] else ""),
            _quantity(row["ours"], row["unit"]),
            _quantity(row["reference"], row["unit"]) + (f"\n[dim]{row['against']}[/]" if row["against"] else ""),
            _ratio(row), row["goal"] or "", {None: "", True: "[green]met[/]", False: "[red]missed[/]"}[row["met"]],
        )  # fmt: skip
    console.print(table)
    for name, word in skipped.items():
        console.print(f"[yellow]{name}:[/] {word}", highlight=False)


def _ratio(row: dict[str, Any]) -> str:
    if row["ratio"] is None:
        return ""
    r = {name: f"{value:.3g}" for name, value in row["ratio"].items()}
    return f"{r['median']} x" + (f" ({r['lowest']} - {r['highest']})" if len(row["ours"]) > 1 else "")


def _quantity(values: list[float], unit: str) -> str:
    if not values:
        return ""
    return f"{sorted(values)[len(values) // 2]:.3g} {unit}"


if __name__ == "__main__":
    sys.exit(main())
