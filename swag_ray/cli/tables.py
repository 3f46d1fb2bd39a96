"""Tables of `datasets check`, `doctor` and `store list`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from swag_ray.wording import plural

if TYPE_CHECKING:
    from swag_ray.doctor.finding import Finding
    from swag_ray.images.check import Description
    from swag_ray.score.drift import Course


MARKS = {"ok": "[green]ok     [/]", "note": "[yellow]note   [/]", "problem": "[bold red]problem[/]"}
UNREADABLE_SHOWN = 10
IS = {True: "anomaly", False: "normal", None: "unknown"}

ODD = {
    "deep": "16-bit images", "bits": "bits in use of 16", "blank": "blank images", "inverted": "inverted images",
    "look_alikes": "images of other bytes that look the same",
}  # fmt: skip


def show_check(found: Description) -> None:
    """The tables of `datasets check`."""
    console = Console(soft_wrap=True)
    console.print(f"[bold]{escape(str(found.root))}[/]", highlight=False)
    table = Table(header_style="bold")
    for column in ("split", "class", "is", "images", "groups", "unreadable", "width", "height"):
        table.add_column(column, justify="right" if column in ("images", "groups", "unreadable") else "left")
    for row in found.classes:
        name = escape(f"{row.class_name} / {row.kind}" if row.kind else row.class_name)
        table.add_row(
            row.split, name, IS[row.label], str(row.images), str(row.groups),
            str(row.unreadable), _spread(row.widths), _spread(row.heights),
        )  # fmt: skip
    console.print(table)
    facts = {
        **found.counts,
        **{ODD[name]: count for name, count in found.odd.items()},
        **{f"ignored {name}": count for name, count in found.ignored.items()},
    }
    for name, count in facts.items():
        if count:
            console.print(f"  {name.replace('_', ' ')}: {count}", highlight=False, markup=False)
    if found.split_counts is not None and found.contamination is not None:
        s = found.split_counts
        highest = int(1000 * found.contamination) / 1000  # rounded down: the number named must be accepted
        console.print(
            f"  a default split: {s['seed']} seeds, a pool of {s['pool']} with {highest:.1%} anomalies"
            f" (the highest dataset.contamination), {s['test']} test images",
            highlight=False,
        )
    elif found.split_counts is not None:
        s = found.split_counts
        console.print(
            f"  {s['seed']} seeds, a pool of {s['pool']} of which labels are unknown, {s['test']} test images",
            highlight=False,
        )
    for path, reason in list(found.unreadable.items())[:UNREADABLE_SHOWN]:
        console.print(f"[yellow]unreadable:[/] {escape(f'{path}: {reason}')}", highlight=False)
    left = len(found.unreadable) - UNREADABLE_SHOWN
    if left > 0:
        console.print(f"[yellow]unreadable:[/] and {left} more; --json lists all", highlight=False)
    for warning in found.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False)


def show_finding(console: Console, found: Finding) -> None:
    """A line of `doctor`: mark, topic, what was found, what to do; below it the cluster's nodes."""
    text = escape("; ".join(part for part in (found.text, found.advice) if part))
    console.print(f"{MARKS[found.state]}  [bold]{found.topic:<15}[/]  {text}", highlight=False)
    if not found.nodes:
        return
    table = Table(header_style="bold")
    for column in ("node", "CPUs", "GPUs", "memory, GB", "object store, GB"):
        table.add_column(column, justify="left" if column == "node" else "right")
    for node in found.nodes:
        table.add_row(
            escape(node.name) + ("  (head)" if node.head else ""), f"{node.cpus:g}", f"{node.gpus:g}",
            f"{node.memory / 1e9:.1f}", f"{node.object_store / 1e9:.1f}",
        )  # fmt: skip
    console.print(table)


def show_course(found: Course, place: str) -> None:
    """The table of `drift`, a block of images a line, and what it comes to."""
    console = Console(soft_wrap=True)
    table = Table(header_style="bold")
    for column in ("until", "images", "shift, sd", "an alarm from", "abnormal, at a guess", ""):
        table.add_column(column, justify="left" if column in ("until", "") else "right")
    for time, block in found.blocks:
        a, limit = block.alignment.shift / found.sd, block.limit * block.sd / found.sd
        table.add_row(
            f"{time:%Y-%m-%d %H:%M}", str(block.images), f"{a:+.2f}", f"{limit:.2f}",
            f"{block.alignment.contamination:.0%}", "[bold red]shifted[/]" if block.alarm else "",
        )  # fmt: skip
    if found.blocks:
        console.print(table)
    if found.alarms:
        time, block = found.alarms[0]
        verdict = (
            f"shifted against {place} from the images before {time:%Y-%m-%d %H:%M} on; a threshold set before does not "
            "hold: swag-ray calibrate"
        )
    elif found.blocks:
        verdict = f"no shift against {place} that chance does not explain"
    else:
        verdict = f"too few images to tell: {found.block} fill a block"
    waiting = f"{plural(found.images, 'image')}, {found.waiting} of them in no block yet"
    console.print(f"{waiting}: {verdict}", highlight=False)


def show_store(root: str, rows: list[dict[str, Any]]) -> None:
    """The table of `store list`."""
    console = Console(soft_wrap=True)
    table = Table(title=escape(root), header_style="bold", title_justify="left")
    for column in ("kind", "entries", "MB", "newest, days", "oldest, days"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for row in rows:
        table.add_row(
            row["kind"],
            str(row["entries"]),
            f"{row['bytes'] / 1e6:.1f}",
            f"{row['newest_days']:.1f}",
            f"{row['oldest_days']:.1f}",
        )
    console.print(table)
    console.print(f"{sum(row['bytes'] for row in rows) / 1e6:.1f} MB in all", highlight=False)


def _spread(values: tuple[int, float, int] | None) -> str:
    if values is None:
        return "-"
    low, middle, high = values
    return f"{low}" if low == high else f"{low} to {high}, median {middle:g}"
