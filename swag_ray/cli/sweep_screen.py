"""The terminal's side of `sweep`: a live table on a terminal, a line a trial elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from swag_ray.cli.bars import TerminalProgress
from swag_ray.config.sweep import SweepConfig
from swag_ray.progress import Progress
from swag_ray.record.files import SWEEP_REPORT_FILE
from swag_ray.report.sweep.read import short_names
from swag_ray.wording import plural

if TYPE_CHECKING:
    from swag_ray.sweep.sweep import Sweep

LATEST = 12  # ended trials shown beside those that run


class SweepScreen:
    """What `swag-ray sweep` shows. Use as a context manager.

    Args:
        console: quiet shows nothing; no terminal, a line a finished trial.
    """

    def __init__(self, console: Console, sweep: SweepConfig) -> None:
        self.console, self.sweep = console, sweep
        self.progress: Progress = _TrialsProgress(self) if not console.quiet else Progress()
        self._rows: dict[int, dict[str, Any]] = {}
        self._started: dict[int, float] = {}
        self._live: Live | None = None
        self._bars = Bars(TextColumn("trials"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console)
        self._task = self._bars.add_task("trials", total=None)

    def __enter__(self) -> SweepScreen:
        count = len(self.sweep.repetitions())
        where = f"each point {count} times, over datasets and seeds" if count > 1 else "each point once"
        where = f"{self.sweep.algorithm} · {where}"
        if not self.sweep.search and not self.sweep.datasets:
            seeds = self.sweep.random_seeds
            where = f"{plural(len(seeds), 'split')}, random seeds {seeds[0]} to {seeds[-1]}"
        self.console.print(f"[bold]{self.sweep.name}[/] · {where}", highlight=False)
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """The trials begin."""
        if self.console.is_terminal and not self.console.quiet:
            self._live = Live(get_renderable=self._view, console=self.console, refresh_per_second=2, transient=True)
            self._live.start()

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def expect(self, total: int) -> None:
        self._bars.update(self._task, total=total)

    def report(self, report: dict[str, Any]) -> None:
        """A round's figures, or a trial's end."""
        number = int(report["trial"])
        self._started.setdefault(number, time.perf_counter())
        self._rows.pop(number, None)  # in the order of their last reports
        self._rows[number] = report
        if report["status"] != "running":
            self._bars.advance(self._task)
            if self._live is None:
                self.console.print("  " + escape(self._line(report)), highlight=False)

    def summary(self, done: Sweep) -> None:
        """How many ended how, and where everything is."""
        counts = [f"{done.count(status)} {status}" for status in ("done", "stopped", "failed") if done.count(status)]
        left = done.planned - done.table.num_rows
        counts += [f"{left} left"] if left > 0 else []
        for row in done.table.to_pylist():
            if row["status"] == "failed":
                self.console.print(f"[red]failed:[/] trial {row['name']}: {escape(str(row['error']))}", highlight=False)
        place = escape(str(done.directory / SWEEP_REPORT_FILE))
        self.console.print(f"{', '.join(counts)} of {done.planned} trials · report: {place}", highlight=False)

    def _line(self, report: dict[str, Any]) -> str:
        point = ", ".join(f"{field} {value}" for field, value in self._point(report).items())
        parts = [f"trial {int(report['trial']):04d}", report["dataset"] or "", f"seed {report['random_seed']}", point]
        if report["status"] == "failed":
            parts.append(f"failed: {report.get('error')}")
        else:
            parts += [self._figure(report), f"{report.get('seconds', 0):.0f} s"]
        return " · ".join(part for part in parts if part)

    def _point(self, report: dict[str, Any]) -> dict[str, Any]:
        """The searched fields; a trial whose process died reports what it was given, and no point."""
        given = {field: report[field] for field in self.sweep.search if field in report}
        return dict(json.loads(report["point"])) if "point" in report else given

    @staticmethod
    def _figure(report: dict[str, Any]) -> str:
        value = report.get("incremental.roc_auc", report.get("last_round.roc_auc"))
        return "" if value is None else f"test ROC-AUC {value:.4f}"

    def _view(self) -> RenderableType:
        shown = Table(header_style="bold")
        metric = self.sweep.metric
        *fields, goal = short_names([*self.sweep.search, metric])
        for column in ("trial", "dataset", "seed", *fields, "", "round", goal, "test ROC-AUC", "s"):
            shown.add_column(column, justify="right")
        rows = list(self._rows.values())  # another thread draws than reports
        running = sorted((row for row in rows if row["status"] == "running"), key=lambda row: int(row["trial"]))
        ended = [row for row in rows if row["status"] != "running"][-LATEST:]
        for row in [*ended, *running]:
            status, point = row["status"], self._point(row)
            auc = row.get("incremental.roc_auc", row.get("last_round.roc_auc"))
            seconds = row.get("seconds", time.perf_counter() - self._started[int(row["trial"])])
            shown.add_row(
                f"{int(row['trial']):04d}", escape(row["dataset"] or "-"), str(row["random_seed"]),
                *(escape(str(point.get(field, ""))) for field in self.sweep.search), status,
                f"{row.get('last_round.round', '')}", _number(row.get(metric)), _number(auc), f"{seconds:.0f}",
                style={"running": "cyan", "failed": "red"}.get(status),
            )  # fmt: skip
        return Group(shown, self._bars)


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4f}"


class _TrialsProgress(TerminalProgress):
    """The phases before the trials as a run shows them; the trials themselves in the table."""

    def __init__(self, screen: SweepScreen) -> None:
        super().__init__(screen.console)
        self._screen = screen
        self._trials = False

    @contextmanager
    def phase(self, name: str, text: str) -> Iterator[None]:
        if name != "trials":
            with super().phase(name, text):
                yield
            return
        with Progress.phase(self, name, text):
            self._trials = True
            self._screen.start()
            try:
                yield
            finally:
                self._screen.stop()
                self._trials = False

    def expect(self, total: int) -> None:
        if self._trials:
            self._screen.expect(total)
        else:
            super().expect(total)

    def advance(self, count: int = 1) -> None:
        if not self._trials:  # the table and its lines say it
            super().advance(count)
