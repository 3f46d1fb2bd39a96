"""Progress of a run on a terminal: bars there, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from swag_ray.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars


class TerminalProgress(Progress):
    """Shows phases on a rich console.

    Args:
        console: where to write; bars are drawn only when it is a terminal.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self._warned: set[str] = set()
        self._bars: Bars | None = None
        self._task: int | None = None
        self._total, self._done, self._shown, self._text = 0, 0, 0.0, ""

    @contextmanager
    def phase(self, name: str, text: str) -> Iterator[None]:
        self._total, self._done, self._shown, self._text = 0, 0, time.perf_counter(), text
        with super().phase(name, text):
            if not self.console.is_terminal:
                self.console.print(text, highlight=False)
                yield
                return
            from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bars

            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            with Bars(*columns, console=self.console, transient=True) as self._bars:
                self._task = self._bars.add_task(text, total=None)
                yield
            self._bars = None

    def expect(self, total: int) -> None:
        self._total, self._done = total, 0
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, total=total, completed=0)  # type: ignore[arg-type]

    def advance(self, count: int = 1) -> None:
        self._done += count
        if self._bars is not None and self._task is not None:
            self._bars.advance(self._task, count)  # type: ignore[arg-type]
        elif self._total and not self.console.is_terminal and time.perf_counter() - self._shown > 10:
            self._shown = time.perf_counter()
            self.console.print(f"  {self._text}: {self._done} of {self._total}", highlight=False)

    def warning(self, text: str) -> None:
        if text in self._warned:  # a summary goes through all of them again
            return
        self._warned.add(text)
        from rich.markup import escape

        self.console.print(f"[yellow]warning:[/] {escape(text)}", highlight=False)
