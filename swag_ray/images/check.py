"""What `swag-ray datasets check` finds out about an image set: plain figures, nothing printed."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa

from swag_ray.errors import InputError, reason_of
from swag_ray.images.decode import AS_STORED, Reading, read_grey
from swag_ray.images.deep import bits_in_use, range_warnings, white_of
from swag_ray.images.image_error import ImageError
from swag_ray.images.image_reader import ImageReader
from swag_ray.images.layout import class_folders, find_layout, find_undivided
from swag_ray.images.listing import Listing
from swag_ray.images.oddities import THUMBNAIL, Looks, inverted, join_twins, looks_of, oddity_warnings, typical_image
from swag_ray.images.places import Place
from swag_ray.images.split import flagging_warnings, make_split


@dataclass(frozen=True)
class ClassFigures:
    """One class of one split.

    Attributes:
        kind: sort of anomaly, where the set names sorts.
        label: whether it is anomalous; None: unknown.
        images: listed; `unreadable` of them cannot be decoded.
        widths, heights (pixels), file_bytes: smallest, median and largest of the readable images; None without any.
    """

    split: str
    class_name: str
    kind: str | None
    label: bool | None
    images: int
    groups: int
    unreadable: int
    widths: tuple[int, float, int] | None
    heights: tuple[int, float, int] | None
    file_bytes: tuple[int, float, int] | None


@dataclass(frozen=True)
class Description:
    """An image set as found.

    Attributes:
        classes: a row per split, class and kind.
        image_sizes: "W x H" -> readable images, most frequent first.
        unreadable: path -> reason, in the order of the table.
        ignored, counts: as in `Listing`.
        split_counts: as in `Split`, of the readable images; None when they cannot be split (the reason is a warning).
        contamination, highest_contamination: shares of anomalies in the pool; None likewise.
        odd: what is doubtful -> images: deep (16 bits a sample; `bits` of them in use), blank, inverted, look_alikes.
        warnings: of the listing, then of the split, then of the images.
    """

    root: Place
    classes: tuple[ClassFigures, ...]
    image_sizes: dict[str, int]
    unreadable: dict[str, str]
    ignored: dict[str, int]
    counts: dict[str, int]
    split_counts: dict[str, int] | None
    contamination: float | None
    highest_contamination: float | None
    odd: dict[str, int]
    warnings: tuple[str, ...]


def describe(
    listing: Listing,
    *,
    seed_fraction: float,
    folds: int,
    contamination: float | None = None,
    random_seed: int = 0,
    false_positive_rate: float = 0.05,
    reading: Reading = AS_STORED,
    threads: int = 2,
) -> Description:
    """Decodes every image of `listing` and tries the split. Unreadable images are reported, never raised.

    Args:
        listing: the images.
        seed_fraction, folds, contamination, random_seed: of the split that is tried.
        false_positive_rate: at which a run would flag images.
        reading: what a config says of reading; the greatest sample is found here.
        threads: that decode.
    """
    table = listing.table
    paths = table["path"].to_pylist()
    deep = [paths[row] for row in listing.deep]
    bits_N = bits_in_use(
        [listing.root / path for path in deep], threads=threads, advance=lambda images: None, lenient=True
    )
    found, looks = read_images(listing, reading=replace(reading, white=white_of(bits_N)), threads=threads)
    lines = list(listing.warnings)
    readable_N = np.array([isinstance(size, tuple) for size in found], np.bool_)
    readable = table.filter(pa.array(readable_N))
    readable_looks = looks.take(np.flatnonzero(readable_N))
    joined, twin_rows, twin_lines = join_twins(readable, readable_looks)
    try:
        split = make_split(
            joined,
            seed_fraction=seed_fraction,
            folds=folds,
            contamination=contamination,
            random_seed=random_seed,
        )
        lines += [*split.warnings, *flagging_warnings(split.counts, false_positive_rate)]
    except InputError as error:
        split = None
        lines.append(str(error))
    odd, odd_lines = _odd_images(readable, readable_looks, twin_rows)
    if bits_N.any():
        odd = {"deep": int(np.count_nonzero(bits_N)), "bits": white_of(bits_N).bit_length()} | odd
    lines += range_warnings(deep, bits_N, white_of(bits_N)) + odd_lines + twin_lines
    sizes = Counter(size for size in found if isinstance(size, tuple))
    return Description(
        root=listing.root,
        classes=_class_figures(table, found),
        image_sizes={f"{width} x {height}": count for (width, height), count in sizes.most_common()},
        unreadable={path: size for path, size in zip(paths, found, strict=True) if isinstance(size, str)},
        ignored=listing.ignored,
        counts=listing.counts,
        split_counts=split.counts if split else None,
        contamination=split.contamination if split else None,
        highest_contamination=split.highest_contamination if split else None,
        odd=odd,
        warnings=tuple(lines),
    )


def read_images(
    listing: Listing, *, reading: Reading = AS_STORED, threads: int = 2
) -> tuple[list[tuple[int, int] | str], Looks]:
    """Decodes every row's image.

    Args:
        listing: the images.
        reading: of the set.
        threads: that decode.

    Returns:
        (width, height) in pixels of each image, or the reason why it cannot be used; what it looks like, if it can.

    Raises:
        InputError: too little memory to decode an image.
    """
    import torch  # noqa: F401 (once, before threads ask for it at the same time)

    looks, reader = looks_of((), listing.table.num_rows), ImageReader(reading.frames)

    def size(row: int, path: str) -> tuple[int, int] | str:
        try:
            # At a thumbnail's size: decoding finds all faults, resizing none.
            decoded = read_grey(reader.read(listing.root / path), THUMBNAIL, reading.of(path))
        except ImageError as error:
            return str(error)
        except MemoryError:
            advice = "run where there is more memory"
            raise InputError(f"memory: too little to decode images like '{path}'", advice) from None
        except OSError as error:
            return reason_of(error)
        looks.put(row, decoded.image_1HW[0].numpy(), decoded.width, decoded.height)
        return decoded.width, decoded.height

    # read_grey silences warnings too, but two threads that enter and leave such blocks undo each other's.
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("ignore")
        return list(pool.map(size, *zip(*enumerate(listing.table["path"].to_pylist()), strict=True))), looks


def _odd_images(table: pa.Table, looks: Looks, twin_rows: list[list[int]]) -> tuple[dict[str, int], list[str]]:
    """What is doubtful of these images, all of them readable: counts, and lines for the user."""
    if "role" in table.column_names:
        trusted_N = np.array([role == "seed" for role in table["role"].to_pylist()], np.bool_)
    else:
        normal_N = np.array([label is False for label in table["label"].to_pylist()], np.bool_)
        trusted_N = normal_N & (np.array(table["split"].to_pylist()) == "train")
    trusted = np.flatnonzero(trusted_N)
    inverted_N = inverted(looks, typical_image(looks.take(trusted)))
    counts = {
        "blank": int(looks.blank_N.sum()), "inverted": int(inverted_N.sum()), "look_alikes": sum(map(len, twin_rows)),
    }  # fmt: skip
    lines = oddity_warnings(table["path"].to_pylist(), looks.blank_N, inverted_N, twin_rows)
    return {name: count for name, count in counts.items() if count}, lines


def guess_classes(root: Place, normal: str = "normal", *, undivided: bool = False) -> tuple[str, list[str]]:
    """Returns (normal, anomalies) for a root given without a config: the class called `normal`, and all other classes.

    Args:
        normal: name of the normal class's folder, in upper or lower case.
        undivided: whether the class folders are in one place, without train and test.

    Raises:
        InputError: no such layout, or no class of that name.
    """
    root = root.expanduser().absolute() if isinstance(root, Path) else root
    layout = find_undivided(root, normal) if undivided else find_layout(root)
    parts = [part for part in (layout.train, layout.test) if part is not None]
    names = list(dict.fromkeys(name for part in parts for name in class_folders(part)))
    called = [name for name in names if name.casefold() == normal.casefold()]
    if not called:
        found = ", ".join(names) or "none"
        wanted = "NORMAL" if normal == "normal" else normal
        raise InputError(
            f"dataset.normal: no class folder called {wanted} in {layout.train} ({found})", "name the normal class"
        )
    anomalies: dict[str, str] = {}
    for name in names:
        if name not in called:
            anomalies.setdefault(name.casefold(), name)
    return (normal if normal in called else called[0]), list(anomalies.values())


def _class_figures(table: pa.Table, found: Sequence[tuple[int, int] | str]) -> tuple[ClassFigures, ...]:
    rows: dict[tuple[str, str, str | None, bool | None], list[int]] = defaultdict(list)
    columns = [table[name].to_pylist() for name in ("split", "class_name", "kind", "label")]
    for row, key in enumerate(zip(*columns, strict=True)):
        rows[key].append(row)
    groups, file_bytes = table["group"].to_pylist(), table["file_bytes"].to_pylist()
    figures = []
    # Train before test, normal before anomaly before unknown, as people read them.
    order = {False: 0, True: 1, None: 2}
    for key in sorted(rows, key=lambda key: (key[0] != "train", order[key[3]], key[1], key[2] or "")):
        read = [(row, size) for row in rows[key] if isinstance(size := found[row], tuple)]
        split, class_name, kind, label = key
        figures.append(
            ClassFigures(
                split=split,
                class_name=class_name,
                kind=kind,
                label=label,
                images=len(rows[key]),
                groups=len({groups[row] for row in rows[key]}),
                unreadable=len(rows[key]) - len(read),
                widths=_spread([size[0] for _, size in read]),
                heights=_spread([size[1] for _, size in read]),
                file_bytes=_spread([file_bytes[row] for row, _ in read]),
            )
        )
    return tuple(figures)


def _spread(values: Sequence[int]) -> tuple[int, float, int] | None:
    return (min(values), float(median(values)), max(values)) if values else None
