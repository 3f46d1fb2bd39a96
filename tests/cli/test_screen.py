"""What `run` shows: each warning once."""

from __future__ import annotations

import io

from rich.console import Console

from swag_ray.cli.bars import TerminalProgress


def test_a_warning_is_printed_once() -> None:
    """The summary goes through all warnings again, those that came while the run went on among them."""
    out = io.StringIO()
    progress = TerminalProgress(Console(file=out, soft_wrap=True))
    for text in ("the seeds are few", "the head stayed off", "the seeds are few"):
        progress.warning(text)
    assert out.getvalue().splitlines() == ["warning: the seeds are few", "warning: the head stayed off"]
