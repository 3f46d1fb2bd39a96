"""Images that are read as they are and yet doubtful: blank, inverted against trusted ones, or another's look again.

No label is looked at. What is kept of an image is small: a digest, and 8 x 8 grey levels.

Shapes: N images, n trusted ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from swag_ray.images.groups import join_groups
from swag_ray.images.near import near_pairs
from swag_ray.wording import clause, plural

THUMBNAIL = 32  # pixels a side of what an image is judged by
AT_SIZE = "as a thumbnail"
SIDE = 8  # of what is compared: enough to tell black on white from white on black
BLANK = 2.0  # sd of a thumbnail's grey levels, 0..255; the dullest of 8,600 films and scans has 12
# Correlation with the typical trusted image below which an image counts as inverted. Of 8,600 films and scans the
# lowest is -.53; of inverted chest films like the trusted ones .99 lie below, of adults' against children's a quarter.
INVERTED = -0.55
TYPICAL = 0.3  # trusted images less like each other than this (median) say nothing about polarity
MOST = 1000  # trusted images that the typical one is made of
TURNS = 50  # of the power iteration, far more than it needs
SHOWN = 3  # paths that a warning names


@dataclass(frozen=True)
class Looks:
    """What is kept of N images.

    Attributes:
        digest_NB: (N, 16) uint8, of the thumbnail and the size in pixels: what is the same at 32 x 32 pixels has
            equal digests, and so have two images that differ in less than a thumbnail shows.
        small_ND: (N, 64) uint8, grey levels of 8 x 8 cells.
        blank_N: (N,) bool.
    """

    digest_NB: NDArray[np.uint8]
    small_ND: NDArray[np.uint8]
    blank_N: NDArray[np.bool_]

    def take(self, rows: NDArray[Any]) -> Looks:
        """Returns the looks of some of the images."""
        return Looks(self.digest_NB[rows], self.small_ND[rows], self.blank_N[rows])

    def put(self, row: int, thumbnail_HW: NDArray[np.uint8], width: int, height: int) -> None:
        """Notes one image.

        Args:
            row: its number.
            thumbnail_HW: grey levels, (32, 32).
            width, height: of the file's image, pixels.
        """
        data = f"{width} x {height} ".encode() + np.ascontiguousarray(thumbnail_HW).tobytes()
        self.digest_NB[row] = np.frombuffer(hashlib.blake2b(data, digest_size=16).digest(), np.uint8)
        cell = THUMBNAIL // SIDE
        self.small_ND[row] = np.rint(thumbnail_HW.reshape(SIDE, cell, SIDE, cell).mean((1, 3))).ravel()
        self.blank_N[row] = thumbnail_HW.std() < BLANK


def looks_of(images: Iterable[tuple[NDArray[np.uint8], int, int]], count: int) -> Looks:
    """Makes looks of `count` images.

    Args:
        images: (thumbnail, width, height) of each: grey levels (32, 32), and the file's size in pixels.
        count: how many there are.
    """
    out = Looks(np.zeros((count, 16), np.uint8), np.zeros((count, SIDE**2), np.uint8), np.zeros(count, np.bool_))
    for row, image in enumerate(images):
        out.put(row, *image)
    return out


def typical_image(trusted: Looks) -> NDArray[np.float32] | None:
    """Returns what trusted images have in common, (64,), a unit vector; None where they are too unlike each other.

    The first principal direction of the standardised images: unlike their mean it is not blurred by some that are
    inverted, and points to where most are.
    """
    clear = trusted.small_ND[~trusted.blank_N]
    some = clear[np.linspace(0, len(clear) - 1, min(MOST, len(clear))).astype(int)]
    if len(some) < 3:
        return None
    unit_nD = _standardised(some)
    direction_D = unit_nD[0]
    for _ in range(TURNS):
        direction_D = unit_nD.T @ (unit_nD @ direction_D)
        direction_D /= np.linalg.norm(direction_D)
    alike_n = unit_nD @ direction_D
    if np.count_nonzero(alike_n < 0) > len(some) / 2:
        direction_D, alike_n = -direction_D, -alike_n
    return direction_D.astype(np.float32) if np.median(np.abs(alike_n)) >= TYPICAL else None


def inverted(looks: Looks, typical_D: NDArray[np.float32] | None) -> NDArray[np.bool_]:
    """Returns whether each image looks like the typical trusted one in negative, (N,); a blank one never does."""
    if typical_D is None:
        return np.zeros(len(looks.blank_N), np.bool_)
    return (_standardised(looks.small_ND) @ typical_D < INVERTED) & ~looks.blank_N


def twins(looks: Looks, sha256: Sequence[Any], *, frames: bool = False) -> list[list[int]]:
    """Returns rows that look the same as a thumbnail though their bytes differ, a list for each such picture: equal at
    32 x 32 pixels, or at 8 x 8 but for what saving or resizing changes (`images.near`). Blank ones are left aside.

    Args:
        looks: of N images.
        sha256: (N,) digests of the files, a list or an Arrow column.
        frames: whether images may be frames of one file, which are no twins.
    """
    names = looks.digest_NB.view("V16").ravel()
    order = np.argsort(names, kind="stable")
    same = np.flatnonzero(names[order][1:] == names[order][:-1])
    clear = np.flatnonzero(~looks.blank_N)
    if not frames:  # of many copies of one picture each would be compared with each
        clear = clear[np.isin(clear, np.unique(names, return_index=True)[1])]
    file_N = np.unique([str(sha256[row]) for row in clear.tolist()], return_inverse=True)[1] if frames else None
    pairs = [(order[i], order[i + 1]) for i in same if not looks.blank_N[order[i]]]
    pairs += [(clear[i], clear[j]) for i, j in near_pairs(looks.small_ND[clear], file_N)]
    rows = sorted({int(row) for pair in pairs for row in pair})
    found: dict[str, list[int]] = {}
    place = {row: i for i, row in enumerate(rows)}
    sets = [(place[int(i)], place[int(j)]) for i, j in pairs]
    for row, name in zip(rows, join_groups([f"{row:012d}" for row in rows], sets), strict=True):
        found.setdefault(name, []).append(row)
    return sorted(group for group in found.values() if len({sha256[row] for row in group}) > 1)


def join_twins(table: pa.Table, looks: Looks) -> tuple[pa.Table, list[list[int]], list[str]]:
    """Makes one group of train images that look the same, as identical files are one.

    Args:
        table: readable images, as `images.folders` lists them.
        looks: of these.

    Returns:
        The table; rows that look the same; what the user must know of those in two places at once.
    """
    frames = "file" in table.column_names
    found = twins(looks, table.column("file" if frames else "sha256"), frames=frames)
    if not found:
        return table, [], []
    train = pc.equal(table.column("split"), "train").to_pylist()
    label = table.column("label").to_pylist()
    own = [[row for row in rows if train[row]] for rows in found]
    groups = join_groups(table.column("group").to_pylist(), own)
    place = table.schema.get_field_index("group")
    lines = []
    if both := [rows for rows in found if len({train[row] for row in rows}) > 1]:
        stand = clause(len(both), "picture", "is", "are")
        named = _first(table.column("path").to_pylist(), np.array([row for rows in both for row in rows]))
        lines.append(
            f"dataset: {stand} in train and in test, the same {AT_SIZE} ({named}); they stay, as dataset.on_leak is "
            "for files of identical bytes: take them out of one, or the figures are better than they should be"
        )
    if torn := sum(len({label[row] for row in rows} - {None}) > 1 for rows in found):
        stand = clause(torn, "picture", "stands", "stand")
        lines.append(f"dataset: {stand} under both labels, the same {AT_SIZE}; leave one of each out")
    return table.set_column(place, table.schema.field(place), pa.array(groups, pa.string())), found, lines


def oddity_warnings(
    paths: Sequence[str], blank_N: NDArray[np.bool_], inverted_N: NDArray[np.bool_], twin_rows: list[list[int]]
) -> list[str]:
    """Returns a line for each kind of oddity that there is, with its count and the first paths."""
    lines = []
    if blank_N.any():
        rows = np.flatnonzero(blank_N)
        blank = clause(len(rows), "image", "is", "are")
        lines.append(f"dataset: {blank} blank or nearly so ({_first(paths, rows)}); leave blank images out")
    if inverted_N.any():
        rows = np.flatnonzero(inverted_N)
        lines.append(
            f"dataset: {clause(len(rows), 'image', 'looks', 'look')} inverted, black where trusted ones are white "
            f"({_first(paths, rows)}); "
            "films of MONOCHROME1 must be saved with black and white swapped"
        )
    if twin_rows:
        rows = np.array([row for rows in twin_rows for row in rows])
        pictures = plural(len(twin_rows), "picture")
        lines.append(
            f"dataset: {len(rows)} images of other bytes look the same {AT_SIZE}, {pictures} in all "
            f"({_first(paths, rows)}); those of one picture count as one group, as identical files do"
        )
    return lines


def _first(paths: Sequence[str], rows: NDArray[Any]) -> str:
    return ", ".join(str(paths[row]) for row in rows[:SHOWN]) + (", ..." if len(rows) > SHOWN else "")


def _standardised(small_ND: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean 0 and length 1 each, so that a product is a correlation."""
    centred_ND = small_ND.astype(np.float32)
    centred_ND -= centred_ND.mean(axis=1, keepdims=True)
    return centred_ND / np.maximum(np.linalg.norm(centred_ND, axis=1, keepdims=True), 1e-6)
