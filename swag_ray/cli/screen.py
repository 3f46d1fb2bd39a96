"""The terminal's side of the commands: bars and tables with rich; nothing here computes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from swag_ray.cli.bars import TerminalProgress
from swag_ray.cli.process import terminal_kept_for_us
from swag_ray.config import Config
from swag_ray.progress import Progress
from swag_ray.record.files import POOL_FILE, REPORT_FILE
from swag_ray.record.run_metrics import RoundMetrics, RunMetrics

if TYPE_CHECKING:
    from swag_ray.run.finished import Run


class RunScreen:
    """What `swag-ray run` shows. Args: quiet: show nothing at all."""

    def __init__(self, quiet: bool) -> None:
        self.console = Console(quiet=quiet, soft_wrap=True)
        self.progress: Progress = Progress() if quiet else TerminalProgress(self.console)

    def header(self, config: Config) -> None:
        d = config.dataset
        data = escape(d.root or d.pool_root or d.manifest or d.kind)
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
        if row.round and row.head_on is not None:
            parts.append(f"head {_weight(row.head_weight)}" if row.head_on else "head off")
        if row.roc_auc is not None:
            parts.append(f"test ROC-AUC {row.roc_auc:.4f}")
        self.console.print("  " + " · ".join(parts), highlight=False)

    def summary(self, run: Run) -> None:
        """The final table and where everything is."""
        m = RunMetrics.read(run.metrics)
        for warning in m.warnings:
            self.progress.warning(warning)
        own = m.incremental
        if own.roc_auc is not None or own.conformal.threshold is not None:  # else no test image has a label
            self.console.print(_figures(m))
        d, t = m.delta_vs_seed_only, m.totals
        wrong = f", {t.ever_admitted_anomalies} of them anomalies" if t.ever_admitted_anomalies is not None else ""
        parts = [f"score used: {_score_used(m)}", f"{t.ever_admitted} images admitted{wrong}"]
        if d.roc_auc is not None:
            gain = f"{d.roc_auc:+.4f} (95 % {d.low:+.4f} to {d.high:+.4f})"
            parts = [f"against seed-only, on this split: {gain}", *parts]
        self.console.print(" · ".join([*parts, *(["pool exhausted"] if t.exhausted else [])]), highlight=False)
        if (found := m.localisation).pixel_roc_auc is not None:
            figures = f"pixel ROC-AUC {found.pixel_roc_auc:.4f}, PRO {_text(found.pro, '.4f')}"
            self.console.print(f"heatmaps against the masks of {found.images} test images: {figures}", highlight=False)
        for line in _changes(run):
            self.console.print(line, highlight=False, markup=False)
        place = escape(f"{run.address}/{REPORT_FILE}")
        if t.admitted_anomalies is not None:
            self.console.print(f"{m.timing.total:.0f} s · report: {place}", highlight=False)
            return
        self.console.print(f"{m.timing.total:.0f} s", highlight=False)
        for line in _answer(m, f"{run.address}/{POOL_FILE}", f"{run.address}/{REPORT_FILE}"):
            self.console.print(line, highlight=False, markup=False)


def _changes(run: Run) -> list[str]:
    """What is otherwise than in the run that the folder held before, if there was one."""
    from swag_ray.report.page.markup import THIN
    from swag_ray.report.run.changes import changes_lines

    return [] if run.changes is None else [line.replace(THIN, " ") for line in changes_lines(run.changes)]


def _answer(m: RunMetrics, ranked: str, report: str) -> list[str]:
    """The last lines of a run that nobody told anything of its pool: what was asked, and where it stands."""
    from swag_ray.report.page.markup import THIN
    from swag_ray.report.run.answer import look_abnormal

    return [
        "",
        look_abnormal(m, m.dataset.split.get("pool", 0)).replace(THIN, " "),
        f"ranked, the most suspicious first: {ranked}",
        f"the report, with heatmaps of them:  {report}",
    ]


def _figures(m: RunMetrics) -> Table:
    """The detectors' figures on the test images, "-" where there is none."""
    table = Table(title=None, header_style="bold")
    for column in ("", "ROC-AUC", "PR-AUC", "recall", "false positives", "FPR (nominal)"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=not column)
    for name, figures in [*m.baselines.items(), ("incremental", m.incremental)]:
        c = figures.conformal
        rate = None if c.rate_test_normals is None else f"{c.rate_test_normals:.3f} ({c.rate_nominal:.2f})"
        decided = [_text(c.recall, ".3f"), _text(c.fp, "d"), rate or "-"]
        if not m.can_flag:  # zeros would read as the detector's doing; a warning says why
            decided = ["-"] * 3
        table.add_row(
            name, _text(figures.roc_auc, ".4f"), _text(figures.pr_auc, ".4f"), *decided,
            style="bold" if name == "incremental" else None,
        )  # fmt: skip
    return table


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _score_used(m: RunMetrics) -> str:
    """What the detector's score is, and of a fused one the weights of its arms."""
    weights = [f"{name} {_weight(arm.weight)}" for name, arm in m.arms.items() if arm.weight]
    used = str(m.incremental.score_used)
    return f"{used} ({', '.join(weights)})" if used == "fused" and weights else used


def _weight(weight: float | None) -> str:
    return "on" if weight is None else f"{weight:.2f}"


@contextmanager
def run_screen(*, quiet: bool) -> Iterator[RunScreen]:
    """A screen for one run; third-party warnings and Ray's own chatter stay out of it."""
    with terminal_kept_for_us():
        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it logs that there is no home folder for its cache
        yield RunScreen(quiet)
