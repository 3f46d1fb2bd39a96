"""Amounts in words, for messages, screens and pages."""

from __future__ import annotations

UNITS = ((1e12, "TB", 1), (1e9, "GB", 1), (1e6, "MB", 0), (1e3, "KB", 0))  # bytes, its name, decimals from ten on


def size(amount: float, more: int = 0) -> str:
    """Returns bytes in words: "61 KB", "25.3 GB"; `more` decimals are added."""
    for unit, name, decimals in UNITS:
        if amount >= unit:
            return f"{amount / unit:.{more + (decimals if amount >= 10 * unit else 1)}f} {name}"
    return f"{amount:.0f} bytes"


def unequal_sizes(first: float, second: float) -> tuple[str, str]:
    """Returns two amounts of bytes in words, with as many decimals as show that they differ."""
    texts = ((size(first, more), size(second, more)) for more in range(12))
    return next((pair for pair in texts if pair[0] != pair[1]), (size(first), size(second)))


def duration(seconds: float, space: str = " ") -> str:
    """Returns a time in words: "59.4 s", "2 min 05 s", "1 h 02 min".

    Args:
        space: what stands between a number and its unit.
    """
    if seconds < 59.95:
        return f"{seconds:.1f}{space}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{space}h {minutes:02d}{space}min" if hours else f"{minutes}{space}min {rest:02d}{space}s"


def clause(count: int, thing: str, one: str, many: str) -> str:
    """Returns what is said of so many things: "1 image is blank", "2 images are blank"."""
    return f"{plural(count, thing)} {one if count == 1 else many}"


def plural(count: float, thing: str) -> str:
    """Returns a count and what it counts: "1 node", "1,200 images", "2.5 CPUs"."""
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {thing}{'' if count == 1 else 's'}"
