"""What `swag-ray score` shows while it works: a bar on standard error, as the table may go to standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from swag_ray.cli.process import terminal_kept_for_us
from swag_ray.progress import Progress


@contextmanager
def score_screen(*, quiet: bool) -> Iterator[Progress]:
    """Yields the progress to tell; silent where nobody looks."""
    with terminal_kept_for_us():
        if quiet or not sys.stderr.isatty():
            yield Progress()
            return
        from rich.console import Console

        from swag_ray.cli.bars import TerminalProgress

        yield TerminalProgress(Console(stderr=True, soft_wrap=True))
