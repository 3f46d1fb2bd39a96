"""The terminal's side of the commands: bars and tables with rich; nothing here computes."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from swag_ray.cli.bars import TerminalProgress
from swag_ray.config import Config
from swag_ray.errors import InputError
from swag_ray.progress import Progress
from swag_ray.record.files import REPORT_FILE
from swag_ray.record.run_metrics import RoundMetrics, RunMetrics

if TYPE_CHECKING:
    from swag_ray.run.run import Run


class RunScreen:
    """What `swag-ray run` shows. Args: quiet: show nothing at all."""

    def __init__(self, quiet: bool) -> None:
        self.console = Console(quiet=quiet, soft_wrap=True)
        self.progress: Progress = Progress() if quiet else TerminalProgress(self.console)

    def header(self, config: Config) -> None:
        data = escape(config.dataset.root or config.dataset.kind)
        self.console.print(
            f"[bold]{config.name}[/] · {config.method} · {data} · seed {config.random_seed}", highlight=False
        )

    def round(self, row: RoundMetrics) -> None:
        """Prints one line per row of the loop, as soon as it is there."""
        parts = [f"round {row.round}" if row.round else "row 0  "]
        if row.round:
            wrong = f" ({row.admitted_anomalies} anomalies)" if row.admitted_anomalies is not None else ""
            parts.append(f"admitted {row.admitted}{wrong} of {row.candidates} candidates")
        if row.rejects is not None:
            purity = f", purity {row.rejects_purity:.3f}" if row.rejects_purity is not None else ""
            parts.append(f"rejects {row.rejects}{purity}")
        parts.append(f"test ROC-AUC {row.roc_auc:.4f}")
        self.console.print("  " + " · ".join(parts), highlight=False)

    def summary(self, run: Run) -> None:
        """The final table and where everything is."""
        m = RunMetrics.read(run.metrics)
        for warning in m.warnings:
            self.console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False)
        table = Table(title=None, header_style="bold")
        for column in ("", "ROC-AUC", "PR-AUC", "recall", "false positives", "FPR (nominal)"):
            table.add_column(column, justify="left" if not column else "right", no_wrap=not column)
        for name, figures in [*m.baselines.items(), ("incremental", m.incremental)]:
            c = figures.conformal
            table.add_row(
                name, f"{figures.roc_auc:.4f}", f"{figures.pr_auc:.4f}", f"{c.recall:.3f}", str(c.fp),
                f"{c.rate_test_normals:.3f} ({c.rate_nominal:.2f})",
                style="bold" if name == "incremental" else None,
            )  # fmt: skip
        self.console.print(table)
        d, t = m.delta_vs_seed_only, m.totals
        wrong = f", {t.ever_admitted_anomalies} of them anomalies" if t.ever_admitted_anomalies is not None else ""
        self.console.print(
            f"against seed-only: {d.roc_auc:+.4f} (95 % {d.low:+.4f} to {d.high:+.4f}) · "
            f"score used: {m.incremental.score_used} · {t.ever_admitted} images admitted{wrong}"
            + (" · pool exhausted" if t.exhausted else ""),
            highlight=False,
        )
        place = escape(f"{run.address}/{REPORT_FILE}")
        self.console.print(f"{m.timing.total:.0f} s · report: {place}", highlight=False)


@contextmanager
def run_screen(*, quiet: bool) -> Iterator[RunScreen]:
    """A screen for one run; third-party warnings and Ray's own chatter stay out of it."""
    with warnings.catch_warnings(), _stderr_kept_for_us() as log:
        warnings.simplefilter("ignore")
        try:
            yield RunScreen(quiet)
        except (InputError, KeyboardInterrupt):
            log.unlink(missing_ok=True)
            raise
        except BaseException:
            print(f"swag-ray: what Ray and other libraries said is in {log}", file=sys.stderr)
            raise
        log.unlink(missing_ok=True)


@contextmanager
def _stderr_kept_for_us() -> Iterator[Path]:
    """Ray's C++ core writes straight to file descriptor 2: give it a file, and keep the terminal for Python's
    stderr.
    """
    handle, name = tempfile.mkstemp(prefix="swag-ray-", suffix=".log")
    terminal = os.dup(2)
    ours, sys.stderr = sys.stderr, os.fdopen(os.dup(2), "w", buffering=1)
    os.dup2(handle, 2)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        sys.stderr.close()
        sys.stderr = ours
