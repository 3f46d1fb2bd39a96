"""The command line: parse, call, print. What a command does is in the module it calls; heavy imports happen there."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from swag_ray.cli.dataset_commands import AsJson, Set, datasets_check
from swag_ray.cli.detector_commands import Quiet, calibrate, card, drift, score
from swag_ray.cli.exit import as_one_line, flushed, interruptible, usage_error
from swag_ray.cli.init_command import init
from swag_ray.cli.process import prepare_process
from swag_ray.cli.reproduce_command import reproduce
from swag_ray.cli.serve_command import serve
from swag_ray.errors import InputError

if TYPE_CHECKING:
    from swag_ray.config import Config

app = typer.Typer(
    name="swag-ray", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Incremental anomaly detection on medical images: few normals, a large unlabelled pool, no anomaly labels.",
)  # fmt: skip

config_app = typer.Typer(no_args_is_help=True, help="Show what a config resolves to, or every field there is.")

datasets_app = typer.Typer(no_args_is_help=True, help="Look at a dataset before running on it.")

store_app = typer.Typer(no_args_is_help=True, help="List or prune what the store keeps.")

app.add_typer(config_app, name="config")

app.add_typer(datasets_app, name="datasets")

app.add_typer(store_app, name="store")


def main() -> NoReturn:
    """Entry point: exit codes 0 done, 1 failed, 2 bad input, 130 interrupted."""
    try:
        prepare_process()
        code = app(standalone_mode=False) or 0  # Typer hands an interruption on as the code 130
    except InputError as error:
        print(f"swag-ray: {as_one_line(error)}", file=sys.stderr)
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:
        code = usage_error(error)
    if code == 130:
        print("swag-ray: interrupted; the same command goes on from the last complete stage", file=sys.stderr)
    sys.exit(flushed(int(code)))


@contextmanager
def _config_file(
    command: str, config: str | None, out: str | None, resume: str | None
) -> Iterator[tuple[str, str | None]]:
    """The config to read and where to write, from CONFIG and --out or from --resume."""
    if (config is None) == (resume is None):
        raise InputError(f"{command}: give either a CONFIG or --resume DIR")
    if resume is None:
        yield str(config), out
        return
    if out is not None and out.rstrip("/") != resume.rstrip("/"):
        raise InputError(f"{command}: --resume DIR already says where", "leave --out away")
    from swag_ray.record.files import CONFIG_FILE, SWEEP_FILE
    from swag_ray.record.remote import local_copy

    name = {"run": CONFIG_FILE, "sweep": SWEEP_FILE}[command]
    with local_copy(resume, "--resume", name) as folder:
        if not (folder / name).is_file():
            raise InputError(f"--resume: '{resume}' holds no {command} (no {name})")
        yield str(folder / name), resume


@app.command()
def run(
    config: Annotated[
        str | None, typer.Argument(metavar="[CONFIG]", help="YAML config or a shipped one's name; not with --resume.")
    ] = None,
    set_: Set = None,
    out: Annotated[
        str | None, typer.Option(help="Run directory or s3:// address (default: runs/NAME, or NAME-2 ...).")
    ] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with the run in this directory.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run of another config in that directory.")
    ] = False,
    address: Annotated[str | None, typer.Option(help="Join a running Ray cluster: `auto` or HOST:PORT.")] = None,
    repeat: Annotated[
        int | None, typer.Option(metavar="N", help="Run on N splits (random_seed and those that follow) and compare.")
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Write where the time went; the report shows it.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run the whole incremental experiment of a config, or go on with one."""
    from swag_ray.cli.screen import run_screen
    from swag_ray.config import load_config

    if repeat is not None:
        _refuse_beside_repeat(resume is not None, profile, overwrite)
    with _config_file("run", config, out, resume) as (file, out):
        loaded = load_config(file, set_ or [])
    if repeat is not None:
        from swag_ray.cli.repeat_screen import run_repeated

        if not run_repeated(loaded, repeat, out, address=address, quiet=quiet, as_json=as_json):
            raise typer.Exit(1)
        return
    with run_screen(quiet=quiet or as_json) as screen, interruptible(screen.progress):
        from swag_ray.run.run import run_experiment

        screen.header(loaded)
        done = run_experiment(
            loaded, out, overwrite=overwrite, address=address, profile=profile,
            progress=screen.progress, on_round=screen.round,
        )  # fmt: skip
        screen.summary(done)
    if as_json:
        print(json.dumps(done.metrics))


def _refuse_beside_repeat(resume: bool, profile: bool, overwrite: bool) -> None:
    for given, option, advice in (
        (resume, "--resume", "give the same --repeat again: it goes on"),
        (profile, "--profile", "profile a single run"),
        (overwrite, "--overwrite", "choose another --out: a sweep's folder is never replaced"),
    ):
        if given:
            raise InputError(f"run: --repeat and {option} do not go together", advice)


@app.command()
def sweep(
    config: Annotated[
        str | None, typer.Argument(metavar="[CONFIG]", help="Sweep's YAML or a shipped one's name; not with --resume.")
    ] = None,
    set_: Set = None,
    out: Annotated[str | None, typer.Option(help="Sweep directory (default: sweeps/NAME).")] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with the sweep in this directory.")] = None,
    address: Annotated[str | None, typer.Option(help="Join a running Ray cluster: `auto` or HOST:PORT.")] = None,
    wait: Annotated[float, typer.Option(help="Minutes to ask and wait for a node that holds a trial.")] = 0.0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run many trials around one config, over datasets and seeds, or go on with them."""
    from swag_ray.cli.screen import run_screen
    from swag_ray.config.sweep import load_sweep

    with _config_file("sweep", config, out, resume) as (file, out):
        loaded = load_sweep(file, set_ or [])
    with run_screen(quiet=quiet or as_json) as screen, interruptible(screen.progress):
        from swag_ray.cli.sweep_screen import SweepScreen
        from swag_ray.sweep.sweep import run_sweep

        with SweepScreen(screen.console, loaded) as live:
            done = run_sweep(
                loaded, out, address=address, wait=60 * wait, progress=live.progress, on_report=live.report
            )
        live.summary(done)
    if as_json:
        print(json.dumps(done.table.to_pylist()))
    if done.count("failed"):
        raise typer.Exit(1)


@app.command()
def report(
    run_dir: Annotated[str, typer.Argument(metavar="RUN", help="Run directory or its s3:// address.")],
) -> None:
    """Write report.html and the model cards of a run directory again."""
    from swag_ray.report.run.page import report_again

    print(report_again(run_dir))


for command in (init, score, calibrate, drift, serve, card, reproduce):
    app.command()(command)


datasets_app.command("check")(datasets_check)


@app.command()
def doctor(
    config: Annotated[str | None, typer.Argument(metavar="[CONFIG]", help="Config of a run or sweep to check.")] = None,
    set_: Set = None,
    address: Annotated[
        str | None, typer.Option(help="Look at a running Ray cluster: `auto` or HOST:PORT; default: this machine.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what this machine or cluster has, what a config needs of it, and what would not fit."""
    from swag_ray.cli.screen import run_screen
    from swag_ray.cli.tables import show_finding

    if set_ and config is None:
        raise InputError("doctor: --set changes a CONFIG", "give one")
    loaded = _run_configs(config, set_ or []) if config is not None else []
    with run_screen(quiet=as_json) as screen:
        from swag_ray.doctor import examine

        found = []
        for finding in examine(*loaded, address=address):
            found.append(finding)
            show_finding(screen.console, finding)
    wrong = [finding for finding in found if finding.state == "problem"]
    if as_json:
        print(json.dumps({"findings": [finding.plain() for finding in found], "problems": len(wrong)}))
    if not wrong:
        return
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    first = InputError(f"doctor: {wrong[0].text}{more}", wrong[0].advice or "see above")
    if loaded or address is not None:
        raise first  # what was asked for does not go with what is here
    print(f"swag-ray: {first}", file=sys.stderr)
    raise typer.Exit(1)


def _run_configs(path: str, overrides: list[str]) -> list[Config]:
    """A run's config, or of a sweep a trial's on each dataset."""
    from swag_ray.config import load_config
    from swag_ray.config.shipped import find_config
    from swag_ray.config.text import read_yaml

    if "base" not in read_yaml(find_config(path)):
        return [load_config(path, overrides)]
    from swag_ray.config.sweep import load_examples  # imports what the doctor may find missing

    return load_examples(path, overrides)


@config_app.command("show")
def config_show(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="YAML config.")],
    set_: Set = None,
    as_json: AsJson = False,
) -> None:
    """Print the resolved config: every field that the run would read."""
    from swag_ray.config import load_config, resolved, to_yaml

    loaded = load_config(config, set_ or [])
    if as_json:
        print(json.dumps(resolved(loaded)))
    else:  # into a file too it must be a config: where it would not be UTF-8, other letters are escaped
        print(to_yaml(loaded, escaped=not sys.stdout.encoding.lower().startswith("utf")), end="")


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema of the config: every field with its range, default and meaning."""
    from swag_ray.config import schema

    print(json.dumps(schema(), indent=2))


StoreOption = Annotated[str, typer.Option("--store", help="Path or s3:// address.")]


@store_app.command("list")
def store_list(store: StoreOption = "~/.cache/swag-ray", as_json: AsJson = False) -> None:
    """List what the store keeps, by kind: entries and size."""
    from swag_ray.cli.tables import show_store
    from swag_ray.store.pruning import contents
    from swag_ray.store.store import Store

    found = contents(Store(store))
    print(json.dumps(found)) if as_json else show_store(store, found)


@store_app.command("prune")
def store_prune(
    store: StoreOption = "~/.cache/swag-ray",
    older_than: Annotated[float, typer.Option(help="Days since an entry was last used.")] = 30.0,
    features: Annotated[bool, typer.Option("--features", help="Remove feature shards too, not only stages.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it only say what would go.")] = False,
) -> None:
    """Remove old stages (and with --features old feature shards). Whatever is needed again is computed again."""
    from swag_ray.store.pruning import prune
    from swag_ray.store.store import Store

    removed = prune(Store(store), days=older_than, features=features, remove=yes)
    verb = "removed" if yes else "would remove (add --yes)"
    kept = f"; {removed['in_use']} more are in use by a run in progress and stay" if removed["in_use"] else ""
    print(f"{verb}: {removed['entries']} entries, {removed['bytes'] / 1e6:.1f} MB{kept}")
