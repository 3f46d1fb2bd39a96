"""Who is seed, pool, test; and the K folds, dealt so that no model sees an image of its own fold.

Every draw orders names by a keyed hash of (random_seed, purpose, name): a seeded permutation that depends on nothing
else, neither on table order nor on the other images, so adding or dropping images moves as few others as can be.
Train labels are read here (seed = trusted normals; contamination), test rows only to be marked.

Shapes: N rows of the table.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from swag_ray.errors import InputError

SEED, POOL, TEST, UNUSED = 0, 1, 2, -1
MIN_FOLD_SEEDS = 3  # a location, a spread, and one seed that is compared with them
FEW_FOLD_SEEDS = 20  # below it a fold's mean and spread are guesses


@dataclass(frozen=True)
class Split:
    """Attributes:
    role_N: int8; SEED, POOL, TEST or UNUSED (an anomaly dropped for `contamination`).
    fold_N: int8; 0..K-1 for seed and pool, -1 elsewhere.
    warnings: one line each, for the user.
    counts: seed, pool, pool_normals, pool_anomalies, unused, test, seed_groups, train_groups.
    fold_seeds: number of seeds of each fold, (K,).
    contamination: share of anomalies in the pool.
    highest_contamination: the same with all of the train folder's anomalies.
    """

    role_N: NDArray[np.int8]
    fold_N: NDArray[np.int8]
    warnings: tuple[str, ...]
    counts: dict[str, int]
    fold_seeds: tuple[int, ...]
    contamination: float
    highest_contamination: float


def make_split(
    table: pa.Table, *, seed_fraction: float, folds: int, contamination: float | None, random_seed: int
) -> Split:
    """Splits an image table (columns id, split, label, group; every train label known).

    Args:
        table: as `swag_ray.data.folders` lists it.
        seed_fraction: share of the train normals that are seeds, in (0, 1); whole groups, so about.
        folds: K, at least 2.
        contamination: share of anomalies in the pool, [0, 1); a smaller one is part of a larger. None: all.
        random_seed: same seed, same split.

    Raises:
        InputError: a setting that this table cannot serve; the line names the field and the limit.
        ValueError: a train row without a label.
    """
    if not 0 < seed_fraction < 1:
        raise InputError(f"split.seed_fraction: {seed_fraction} is not between 0 and 1")
    if folds < 2:
        raise InputError(f"split.folds: {folds} is too few; at least 2")
    ids, groups, labels, in_train = (table[name].to_pylist() for name in ("id", "group", "label", "split"))
    train = [row for row, split in enumerate(in_train) if split == "train"]
    if any(labels[row] is None for row in train):
        raise ValueError("a train row has no label")
    normals = [row for row in train if not labels[row]]
    anomalies = [row for row in train if labels[row]]

    seed_groups = _draw_seed_groups([groups[row] for row in normals], seed_fraction, random_seed)
    seeds = [row for row in normals if groups[row] in seed_groups]
    pool_normals = [row for row in normals if groups[row] not in seed_groups]
    if not pool_normals:
        raise InputError(
            f"split.seed_fraction: {seed_fraction} of {len(normals)} train normals leaves the pool no normal; lower it"
        )
    kept = _draw_anomalies(anomalies, ids, len(pool_normals), contamination, random_seed)

    seed_fold = _deal_folds(Counter(groups[row] for row in seeds), folds, random_seed)
    fold_seeds = tuple(Counter(seed_fold[groups[row]] for row in seeds)[fold] for fold in range(folds))
    warnings = _check_folds(fold_seeds, len(seeds), len(seed_groups))

    role_N = np.full(table.num_rows, TEST, np.int8)
    role_N[train] = UNUSED
    role_N[seeds] = SEED
    role_N[pool_normals + kept] = POOL
    fold_N = np.full(table.num_rows, -1, np.int8)
    for row in np.flatnonzero((role_N == SEED) | (role_N == POOL)):
        group = groups[row]
        # The hash, not a deal: what the pool holds besides must not matter.
        fold_N[row] = seed_fold[group] if group in seed_fold else _keyed_hash(random_seed, "fold", group) % folds
    counts = {
        "seed": len(seeds),
        "pool": len(pool_normals) + len(kept),
        "pool_normals": len(pool_normals),
        "pool_anomalies": len(kept),
        "unused": len(anomalies) - len(kept),
        "test": table.num_rows - len(train),
        "seed_groups": len(seed_groups),
        "train_groups": len({groups[row] for row in train}),
    }
    return Split(
        role_N,
        fold_N,
        tuple(warnings),
        counts,
        fold_seeds,
        _share(len(kept), len(pool_normals)),
        _share(len(anomalies), len(pool_normals)),
    )


def _draw_seed_groups(groups: Sequence[str], seed_fraction: float, random_seed: int) -> set[str]:
    """Groups in keyed order up to the target; one that crosses it is taken if that comes nearer, else passed over."""
    target = max(1, round(seed_fraction * len(groups)))
    sizes = Counter(groups)
    drawn: set[str] = set()
    count = 0
    for group in _keyed_order(random_seed, "seed", sizes):
        if count >= target:
            break
        if count + sizes[group] - target <= target - count:
            drawn.add(group)
            count += sizes[group]
    return drawn


def _draw_anomalies(
    anomalies: Sequence[int], ids: Sequence[str], normals: int, contamination: float | None, random_seed: int
) -> list[int]:
    """The first of one keyed order, whatever the share: hence nested."""
    if contamination is None:
        return list(anomalies)
    if not 0 <= contamination < 1:
        raise InputError(f"dataset.contamination: {contamination} is not in [0, 1); null takes all anomalies")
    wanted = round(contamination / (1 - contamination) * normals)
    if wanted > len(anomalies):
        highest = int(1000 * _share(len(anomalies), normals)) / 1000  # rounded down: the number named must be accepted
        raise InputError(
            f"dataset.contamination: {contamination} is above the highest possible share, {highest} "
            f"({len(anomalies)} anomalies beside {normals} pool normals); lower it or set null"
        )
    rows = {ids[row]: row for row in anomalies}
    return [rows[name] for name in _keyed_order(random_seed, "contamination", rows)[:wanted]]


def _deal_folds(sizes: Counter[str], folds: int, random_seed: int) -> dict[str, int]:
    """Largest groups first (keyed order among equals), each to the fold with the fewest seeds so far."""
    filled = [0] * folds
    dealt = {}
    for group in sorted(_keyed_order(random_seed, "deal", sizes), key=lambda name: -sizes[name]):
        fold = filled.index(min(filled))
        dealt[group] = fold
        filled[fold] += sizes[group]
    return dealt


def _check_folds(fold_seeds: Sequence[int], seeds: int, seed_groups: int) -> list[str]:
    fewest = min(fold_seeds)
    held = f"{seeds} seeds in {seed_groups} groups over {len(fold_seeds)} folds leave {fewest} to the smallest fold"
    if fewest < MIN_FOLD_SEEDS:
        raise InputError(f"split.folds: {held}, under {MIN_FOLD_SEEDS}; raise split.seed_fraction or lower split.folds")
    if fewest < FEW_FOLD_SEEDS:
        return [f"split.folds: {held}; under {FEW_FOLD_SEEDS} its calibration is rough"]
    return []


def _share(anomalies: int, normals: int) -> float:
    return anomalies / (anomalies + normals)


def _keyed_order(random_seed: int, purpose: str, names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (_keyed_hash(random_seed, purpose, name), name))


def _keyed_hash(random_seed: int, purpose: str, name: str) -> int:
    # Not Python's hash: it differs from one process to the next.
    text = f"{random_seed}\0{purpose}\0{name}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
