"""`swag-ray serve`."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from swag_ray.cli.detector_commands import Run
from swag_ray.cli.exit import other_ends


def serve(
    run_dir: Run,
    host: Annotated[str, typer.Option(help="Where to listen; another needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 takes a free one.")] = 8000,
    replicas: Annotated[int | None, typer.Option(help="How many answer (default: one a core, or four a GPU).")] = None,
    site: Annotated[Path | None, typer.Option(help="SITE.json of `calibrate`: flag by that place's p-values.")] = None,
    rate: Annotated[float | None, typer.Option(help="Share of normals to flag; default: the run's.")] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token (default: SWAG_RAY_TOKEN, or a fresh one).")
    ] = None,
    max_mb: Annotated[float, typer.Option(help="Largest image, in MB.")] = 64.0,
    address: Annotated[str | None, typer.Option(help="Join a running Ray cluster: `auto` or HOST:PORT.")] = None,
) -> None:
    """Answer over HTTP what a run's detector says of images, until Ctrl-C; see docs/serve.md."""
    from swag_ray.cli.process import terminal_kept_for_us
    from swag_ray.serve.serve import Settings
    from swag_ray.serve.serve import serve as serve_until_told
    from swag_ray.serve.watch import to_stderr

    settings = Settings(host, port, replicas, site, rate, token_file, max_mb, address)
    for number in other_ends():
        signal.signal(number, signal.default_int_handler)  # before it listens, an end as by Ctrl-C
    try:
        with terminal_kept_for_us():
            ended_by = serve_until_told(run_dir, settings, lambda line: print(line, flush=True), to_stderr)
    except KeyboardInterrupt:
        ended_by = signal.SIGINT
    with suppress(OSError):  # of a terminal that was closed
        print("swag-ray: the service has ended", file=sys.stderr, flush=True)
    if ended_by != signal.SIGTERM:
        raise SystemExit(130)
