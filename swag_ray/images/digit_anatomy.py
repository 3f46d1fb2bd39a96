"""DigitAnatomy: a small, real, labelled image set that needs no download, after SQUID's (Xiang et al., CVPR 2023).

A normal image is a 3 x 3 grid of the handwritten digits 1..9 in order, each by any hand (the 8 x 8 scans of
scikit-learn's `load_digits`). Four kinds of anomaly: `missing` (an empty cell), `misplaced` (two cells swapped),
`flipped` (one digit mirrored; only digits that a mirror changes), `foreign` (a 0 in place of a digit).

No scan is on two sides. Test has scans of its own. The train folder is drawn in *sets*, each with two scans of every
digit that no other set uses, and the set's number stands in the file name: it is the group (`GROUP`), as a patient
would be. So any split by group keeps the scans of seed and pool apart, and no fold's model has met the scans of the
images it scores. (Were all seeds drawn from one common stock, a seed would lie closer to the other folds' seeds than
any pool image can, and p-values would be wrong.) Sets of anomalies hold no normals, so they are never seeds.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from swag_ray.errors import InputError
from swag_ray.images.folders import list_folder
from swag_ray.images.listing import SCHEMA, Listing
from swag_ray.system.files import whole_folder

NORMAL, ANOMALY = "NORMAL", "ANOMALY"
KINDS = ("missing", "misplaced", "flipped", "foreign")
MIRRORED = (2, 3, 4, 5, 6, 7, 9)  # 1 and 8 look the same in a mirror
GROUP = r"^(set\d+)"
VERSION = 1  # of the drawing; raise it when the pixels change
MARKER = "digit_anatomy.json"
SIDE, CELL, EDGE = 224, 72, 4  # 3 cells of 72 and an edge of 4 on each side make 224
GLYPH_SIDES = (52, 61)  # pixels of a drawn digit, smallest and one past the largest
SCANS_PER_SET = 2  # 2^9 normal grids a set, and still enough sets for the folds

Glyph = NDArray[np.uint8]
Stock = dict[int, list[Glyph]]  # digit -> its scans, 8 x 8


@dataclass(frozen=True)
class Sizes:
    """How many images to draw.

    736 in all: features on two cores (about 25 images/s) take half a minute. 50 sets of 8 normals give 15 sets = 120
    seeds at the default fraction of .3, 24 to each of 5 folds, above the 20 that a calibration wants. 12 sets of 8
    anomalies beside 280 pool normals allow a contamination of .25. 120 + 120 test images leave an AUROC a standard
    error of about .02.
    `load_digits` has 174 scans of its rarest digit: 2 x (50 + 12) + 50 = 174 uses them all.
    """

    normal_sets: int = 50
    normals_per_set: int = 8
    anomaly_sets: int = 12
    anomalies_per_set: int = 8
    test_normals: int = 120
    test_anomalies: int = 120
    test_scans: int = 50

    @property
    def scans(self) -> int:
        """Scans of each digit that are used."""
        return SCANS_PER_SET * (self.normal_sets + self.anomaly_sets) + self.test_scans


def generate(target: Path, *, random_seed: int, sizes: Sizes | None = None) -> None:
    """Draws the set into `target` (train|test/NORMAL|ANOMALY/*.png) unless all of it already is there.

    The same settings give the same bytes (with the same versions of numpy, scikit-learn and PIL). The folder appears
    complete or not at all; two processes may draw it at the same time.

    Raises:
        InputError: `target` holds anything else beside a part of the set, or the sizes need more digits than there are.
    """
    sizes = sizes or Sizes()
    stamp = {"version": VERSION, "random_seed": random_seed, **asdict(sizes)}
    if target.exists():
        names = {path for path, _ in plan(sizes)}
        if _is_whole(target, stamp, names):
            return
        shutil.rmtree(target)  # somebody cleared up half of it
    try:
        # Hidden until it is whole: a listing of the parent must not take a half-drawn set for an image set.
        with whole_folder(target) as draft:
            for path, pixels_HW in draw(random_seed=random_seed, sizes=sizes):
                (draft / path).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels_HW).save(draft / path, "PNG")
            (draft / MARKER).write_text(json.dumps(stamp, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    except FileExistsError:
        if not _is_whole(target, stamp, {path for path, _ in plan(sizes)}):  # another process was first
            raise InputError(f"dataset.root: {target} changes while it is drawn", "run again") from None


def list_digit_anatomy(root: Path) -> Listing:
    """`list_folder` of a generated set, with the column `kind` filled in for anomalies and digit sets as groups.

    Raises:
        InputError: `root` holds no generated set.
    """
    if not (root / MARKER).is_file():
        raise InputError(f"dataset.root: {root} holds no generated DigitAnatomy, {MARKER} is missing")
    listing = list_folder(root, normal=NORMAL, anomaly=[ANOMALY], group=GROUP)
    kinds = [
        Path(path).name.split("-")[1] if label else None
        for path, label in zip(listing.table["path"].to_pylist(), listing.table["label"].to_pylist(), strict=True)
    ]
    place = SCHEMA.get_field_index("kind")
    return replace(listing, table=listing.table.set_column(place, SCHEMA.field(place), pa.array(kinds, pa.string())))


def plan(sizes: Sizes) -> Iterator[tuple[str, str | None]]:
    """Yields (path below the root, kind of anomaly or None) of every image, in the order in which they are drawn."""
    for number in range(sizes.test_normals):
        yield f"test/{NORMAL}/test-normal-{number:04d}.png", None
    for number in range(sizes.test_anomalies):
        kind = KINDS[number % len(KINDS)]
        yield f"test/{ANOMALY}/test-{kind}-{number:04d}.png", kind
    for owner in range(sizes.normal_sets):
        for number in range(sizes.normals_per_set):
            yield f"train/{NORMAL}/set{owner:03d}-normal-{number:04d}.png", None
    for owner in range(sizes.normal_sets, sizes.normal_sets + sizes.anomaly_sets):
        for number in range(sizes.anomalies_per_set):
            kind = KINDS[number % len(KINDS)]
            yield f"train/{ANOMALY}/set{owner:03d}-{kind}-{number:04d}.png", kind


def draw(*, random_seed: int, sizes: Sizes) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yields (path below the root, uint8 pixels (224, 224)) of every image, in a fixed order."""
    generator = np.random.default_rng(random_seed)
    scans = _scans(generator, sizes.scans)
    start = sizes.test_scans
    for path, kind in plan(sizes):
        name = Path(path).name
        first, last = 0, start
        if not name.startswith("test"):
            first = start + SCANS_PER_SET * int(name[3:6])  # the set's number
            last = first + SCANS_PER_SET
        stock = {digit: glyphs[first:last] for digit, glyphs in scans.items()}
        yield path, _grid(stock, kind, generator)


def _scans(generator: np.random.Generator, needed: int) -> Stock:
    """`needed` scans of each digit 0..9 in random order, grey levels 0..255."""
    from sklearn.datasets import load_digits  # seconds to import

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    scans = {}
    for digit in range(10):
        rows = generator.permutation(np.flatnonzero(digits.target == digit))
        if len(rows) < needed:
            have = f"{needed} scans of each digit are needed, {digit} has {len(rows)}"
            raise InputError(f"dataset.kind: digit_anatomy of these sizes cannot be drawn ({have})", "lower them")
        scans[digit] = [images[row] for row in rows[:needed]]
    return scans


def _grid(stock: Stock, kind: str | None, generator: np.random.Generator) -> NDArray[np.uint8]:
    """One image: digits 1..9 by hands of `stock`, with one fault of `kind`."""
    cells: list[Glyph | None] = [_pick(stock, digit, generator) for digit in range(1, 10)]
    place = int(generator.integers(9))
    if kind == "missing":
        cells[place] = None
    elif kind == "foreign":
        cells[place] = _pick(stock, 0, generator)
    elif kind == "misplaced":
        other = (place + int(generator.integers(1, 9))) % 9
        cells[place], cells[other] = cells[other], cells[place]
    elif kind == "flipped":
        digit = MIRRORED[int(generator.integers(len(MIRRORED)))]
        cells[digit - 1] = np.ascontiguousarray(_pick(stock, digit, generator)[:, ::-1])
    elif kind is not None:
        raise ValueError(f"no such kind of anomaly: {kind}")
    canvas_HW = np.zeros((SIDE, SIDE), np.uint8)
    for cell, glyph in enumerate(cells):
        # Drawn for an empty cell too, so that a fault changes nothing but itself.
        side = int(generator.integers(*GLYPH_SIDES))
        top, left = (int(EDGE + CELL * line + generator.integers(CELL - side + 1)) for line in divmod(cell, 3))
        if glyph is not None:
            drawn = Image.fromarray(glyph).resize((side, side), Image.Resampling.BICUBIC)
            canvas_HW[top : top + side, left : left + side] = np.asarray(drawn)
    return canvas_HW


def _pick(stock: Stock, digit: int, generator: np.random.Generator) -> Glyph:
    glyphs = stock[digit]
    return glyphs[int(generator.integers(len(glyphs)))]


def _is_whole(target: Path, stamp: dict[str, int], names: set[str]) -> bool:
    """Whether the folder holds the set of this stamp and every image of it; False for a part of it and nothing else.

    Raises:
        InputError: it holds another set, or anything else beside a part of this one.
    """
    try:
        found = json.loads((target / MARKER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = None
    except (OSError, ValueError):
        raise InputError(f"dataset.root: {target} is no DigitAnatomy set", "give a new folder") from None
    if found is not None and found != stamp:
        raise InputError(f"dataset.root: {target} holds a DigitAnatomy set of other settings", "give another folder")
    entries = (path for path in target.rglob("*") if path.is_symlink() or not path.is_dir())
    files = {path.relative_to(target).as_posix(): path.lstat().st_size for path in entries}
    if found is not None and all(files.get(name) for name in names):
        return True
    foreign = sorted(files.keys() - names - {MARKER})  # what is drawn anew is removed first
    if foreign and found is None:
        raise InputError(f"dataset.root: {target} is no DigitAnatomy set", "give a new folder")
    if foreign:
        raise InputError(
            f"dataset.root: {target} holds a part of a DigitAnatomy set and {foreign[0]}, which is none of it",
            "move that elsewhere, or give a new folder",
        )
    return False
