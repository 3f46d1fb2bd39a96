"""Who is seed, pool, test; and the K folds, dealt so that no model sees an image of its own fold.

Every draw orders names by a keyed hash of (random_seed, purpose, name): a seeded permutation that depends on nothing
else, neither on table order nor on the other images, so adding or dropping images moves as few others as can be.
Train labels are read here (seed = trusted normals; contamination), test rows only to be marked. Where the images come
with roles, nobody is drawn and no label is needed; the folds are dealt as ever.

Shapes: N rows of the table, n some of them, G groups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from swag_ray.errors import InputError
from swag_ray.images.arrow_strings import factorize
from swag_ray.images.groups import BY_BYTES
from swag_ray.images.keyed import keyed_hashes, keyed_order
from swag_ray.wording import plural

SEED, POOL, TEST, UNUSED = 0, 1, 2, -1
MIN_FOLD_SEEDS = 3  # a location, a spread, and one seed that is compared with them
FEW_FOLD_SEEDS = 20  # below it a fold's mean and spread are guesses


@dataclass(frozen=True)
class Split:
    """Attributes:
    role_N: int8; SEED, POOL, TEST or UNUSED (an anomaly dropped for `contamination`).
    fold_N: int8; 0..K-1 for seed and pool, -1 elsewhere.
    warnings: one line each, for the user.
    counts: seed, pool, pool_normals, pool_anomalies, unused, test, seed_groups, train_groups; those of normals and
        anomalies are absent where a label of the pool is unknown.
    fold_seeds: number of seeds of each fold, (K,).
    contamination: share of anomalies in the pool; None where that is not known.
    highest_contamination: the same with all of the train folder's anomalies.
    """

    role_N: NDArray[np.int8]
    fold_N: NDArray[np.int8]
    warnings: tuple[str, ...]
    counts: dict[str, int]
    fold_seeds: tuple[int, ...]
    contamination: float | None
    highest_contamination: float | None


def make_split(
    table: pa.Table, *, seed_fraction: float, folds: int, contamination: float | None, random_seed: int
) -> Split:
    """Splits an image table (columns id, split, label, group; role where the images come with one).

    Args:
        table: as `swag_ray.images.listing` makes it. Without roles every train label is known.
        seed_fraction: share of the train normals that are seeds, in (0, 1); whole groups, so about; unread with roles.
        folds: K, at least 2.
        contamination: share of anomalies in the pool, [0, 1); a smaller one is part of a larger. None: all.
        random_seed: same seed, same split.

    Raises:
        InputError: a setting that this table cannot serve; the line names the field and the limit.
        ValueError: a train row that has neither role nor label.
    """
    if not 0 < seed_fraction < 1:
        raise InputError(f"split.seed_fraction: {seed_fraction} is not between 0 and 1")
    if folds < 2:
        raise InputError(f"split.folds: {folds} is too few", "at least 2")
    in_train_N = pc.equal(table.column("split"), "train").to_numpy()
    names, group_N = factorize(table.column("group"))
    if "role" in table.column_names:
        parts = _given_parts(table, in_train_N)
    else:
        parts = _drawn_parts(table, in_train_N, names, group_N, seed_fraction, folds, random_seed)
    seeds, pool, normals = parts.seeds, parts.pool, len(parts.pool) - len(parts.anomalies)
    if not parts.known and contamination is not None:
        raise InputError(f"dataset.contamination: {contamination} needs the labels of all pool images", "leave it out")
    kept = _draw_anomalies(parts.anomalies, table.column("id"), normals, contamination, random_seed)
    if not normals and not len(kept):
        raise InputError(f"dataset.contamination: {contamination} leaves the pool no image", "leave it out")
    seed_groups = np.unique(group_N[seeds])
    fold_G = _deal_folds(names, group_N[seeds], folds, random_seed)
    fold_seeds = tuple(np.bincount(fold_G[group_N[seeds]], minlength=folds).tolist())
    warnings = _check_folds(fold_seeds, len(seeds), len(seed_groups), drawn=parts.drawn)

    role_N = np.full(table.num_rows, TEST, np.int8)
    role_N[in_train_N] = UNUSED
    role_N[seeds] = SEED
    role_N[np.setdiff1d(pool, parts.anomalies)] = role_N[kept] = POOL
    fold_N = np.full(table.num_rows, -1, np.int8)
    own = (role_N == SEED) | (role_N == POOL)
    # The hash, not a deal: what the pool holds besides must not matter.
    others = np.setdiff1d(group_N[own], seed_groups)
    fold_G[others] = keyed_hashes(random_seed, "fold", names, others) % np.uint64(folds)
    fold_N[own] = fold_G[group_N[own]]
    counts = {"seed": len(seeds), "pool": int((role_N == POOL).sum())}
    if parts.known:
        counts |= {"pool_normals": normals, "pool_anomalies": len(kept)}
    counts |= {
        "unused": len(parts.anomalies) - len(kept), "test": int((~in_train_N).sum()),
        "seed_groups": len(seed_groups), "train_groups": len(np.unique(group_N[in_train_N])),
    }  # fmt: skip
    return Split(
        role_N,
        fold_N,
        tuple(warnings),
        counts,
        fold_seeds,
        _share(len(kept), normals) if parts.known else None,
        _share(len(parts.anomalies), normals) if parts.known else None,
    )


@dataclass(frozen=True)
class _Parts:
    """Train rows by what they are for.

    Attributes:
        seeds, pool: rows.
        anomalies: those of the pool that are known to be.
        known: whether all labels of the pool are.
        drawn: whether the seeds were drawn, not given.
    """

    seeds: NDArray[np.int64]
    pool: NDArray[np.int64]
    anomalies: NDArray[np.int64]
    known: bool
    drawn: bool


def _given_parts(table: pa.Table, in_train_N: NDArray[np.bool_]) -> _Parts:
    role = table.column("role")
    seed_N, pool_N = (pc.fill_null(pc.equal(role, name), False).to_numpy() & in_train_N for name in ("seed", "pool"))
    if (in_train_N & ~seed_N & ~pool_N).any():
        raise ValueError("a train row has no role")
    label = table.column("label").cast(pa.bool_())
    unknown_N, anomaly_N = label.is_null().to_numpy(), pc.fill_null(label, False).to_numpy()
    seeds, pool = np.flatnonzero(seed_N), np.flatnonzero(pool_N)
    for name, rows in (("seed", seeds), ("pool", pool)):
        if not len(rows):
            raise InputError(f"dataset: no {name} image can be read", f"give {name} images")
    return _Parts(seeds, pool, np.flatnonzero(pool_N & anomaly_N), not unknown_N[pool].any(), drawn=False)


def _drawn_parts(
    table: pa.Table,
    in_train_N: NDArray[np.bool_],
    names: pa.Array,
    group_N: NDArray[np.int32],
    seed_fraction: float,
    folds: int,
    random_seed: int,
) -> _Parts:
    label = table.column("label").cast(pa.bool_())
    if (in_train_N & label.is_null().to_numpy()).any():
        raise ValueError("a train row has no label")
    anomaly_N = pc.fill_null(label, False).to_numpy()
    normals, anomalies = np.flatnonzero(in_train_N & ~anomaly_N), np.flatnonzero(in_train_N & anomaly_N)
    seed_groups = _draw_seed_groups(names, group_N[normals], seed_fraction, random_seed)
    of_seed = np.isin(group_N[normals], seed_groups)
    seeds, pool_normals = normals[of_seed], normals[~of_seed]
    fold_G = _deal_folds(names, group_N[seeds], folds, random_seed)
    if not len(pool_normals) or np.bincount(fold_G[group_N[seeds]], minlength=folds).min() < MIN_FOLD_SEEDS:
        _check_largest_group(names, group_N[normals], seed_fraction, folds)
    if not len(pool_normals):
        raise InputError(
            f"split.seed_fraction: {seed_fraction} of {len(normals)} train normals leaves the pool no normal",
            "lower it",
        )
    return _Parts(seeds, np.union1d(pool_normals, anomalies), anomalies, known=True, drawn=True)


def seeds_needed(rate: float) -> int:
    """Returns the fewest seeds n whose smallest p-value, 1 / (n + 1), is at most `rate` (in (0, 1)).

    Counted on the very quotient that is compared with the rate, which rounding may put on the other side.
    """
    seeds = max(1, math.ceil(1 / rate) - 2)
    while 1 / (seeds + 1) > rate:
        seeds += 1
    return seeds


def smallest_rate(seeds: int) -> float:
    """Returns the lowest false-positive rate at which so many seeds let anything be flagged, 1 / (n + 1).

    It is rounded up to two digits, so that it can be given as `calibration.false_positive_rate`.
    """
    least = 1 / (seeds + 1)
    decimals = 1 - math.floor(math.log10(least))
    rounded = round(least, decimals)
    return rounded if rounded >= least else round(rounded + 10.0**-decimals, decimals)


def unreachable(counts: dict[str, int], field: str, level: float, then: str) -> list[str]:
    """Returns what must be said where no p-value can be as low as `level`: with n seeds, none is below 1 / (n + 1).

    Args:
        counts: as in `Split`.
        field: name of the setting that holds the level.
        level: in (0, 1); what is at most this counts.
        then: what follows from it.

    Returns:
        One line with both settings that cure it, or none.
    """
    seeds, needed = counts["seed"], seeds_needed(level)
    if seeds >= needed:
        return []
    normals = seeds + counts.get("pool_normals", 0)
    if "pool_normals" not in counts:
        how = ""
    elif needed < normals:
        how = f" (split.seed_fraction: about {math.ceil(100 * needed / normals) / 100:g})"
    else:
        how = f" (there are {normals} train normals in all)"
    return [
        f"{field}: with {plural(seeds, 'seed')} no p-value is below 1/{seeds + 1} = {1 / (seeds + 1):.3g}, "
        f"so at {level:g} {then}; set it to {smallest_rate(seeds):g} or more, or bring the seeds to {needed}{how}"
    ]


def flagging_warnings(counts: dict[str, int], rate: float) -> list[str]:
    """Returns the line of `unreachable` for `calibration.false_positive_rate`, if there is one."""
    then = "no image can be flagged, whatever it shows: recall and false positives are 0 in every row"
    return unreachable(counts, "calibration.false_positive_rate", rate, then)


def _draw_seed_groups(
    names: pa.Array, group_n: NDArray[np.int32], seed_fraction: float, random_seed: int
) -> NDArray[np.int64]:
    """Groups in keyed order up to the target; one that crosses it is taken if that comes nearer, else passed over."""
    target = _seeds_wanted(len(group_n), seed_fraction)
    size_G = np.bincount(group_n, minlength=len(names))
    drawn = []
    count = 0
    for group in keyed_order(random_seed, "seed", names, np.flatnonzero(size_G)):
        if count >= target:
            break
        if count + size_G[group] - target <= target - count:
            drawn.append(group)
            count += size_G[group]
    return np.array(drawn, dtype=np.int64)


def _seeds_wanted(normals: int, seed_fraction: float) -> int:
    return max(1, round(seed_fraction * normals))


def _check_largest_group(names: pa.Array, group_n: NDArray[np.int32], seed_fraction: float, folds: int) -> None:
    """Refuses a group larger than all seeds together, where the same normals, each by itself, could be split.

    Called where a split has failed: then it is the group that is at fault, and no other fraction would mend it.
    """
    wanted = _seeds_wanted(len(group_n), seed_fraction)
    size_G = np.bincount(group_n, minlength=len(names))
    largest = int(size_G.argmax()) if len(size_G) else 0
    if wanted == len(group_n) or wanted < folds * MIN_FOLD_SEEDS or size_G[largest] <= wanted:
        return
    name = names[largest].as_py()
    what, advice = "images of one patient", "set split.group to a pattern that puts fewer images into one group"
    if name.startswith(BY_BYTES):
        what, advice = "copies of one image", "remove the copies"
    raise InputError(
        f"split.group: the group '{name}' ({what}) holds {size_G[largest]} of {len(group_n)} train normals, more than "
        f"the {wanted} wanted as seeds, and no group is divided",
        advice,
    )


def _draw_anomalies(
    anomalies: NDArray[np.int64], ids: pa.ChunkedArray, normals: int, contamination: float | None, random_seed: int
) -> NDArray[np.int64]:
    """The first of one keyed order, whatever the share: hence nested."""
    if contamination is None:
        return anomalies
    if not 0 <= contamination < 1:
        raise InputError(f"dataset.contamination: {contamination} is not in [0, 1)", "null takes all anomalies")
    wanted = round(contamination / (1 - contamination) * normals)
    if wanted > len(anomalies):
        what = "anomaly" if len(anomalies) == 1 else "anomalies"
        highest = int(1000 * _share(len(anomalies), normals)) / 1000  # rounded down: the number named must be accepted
        raise InputError(
            f"dataset.contamination: {contamination} is above the highest possible share, {highest} "
            f"({len(anomalies)} {what} beside {plural(normals, 'pool normal')})",
            "lower it or set null",
        )
    names, id_n = factorize(ids.take(pa.array(anomalies)))
    row_of = np.zeros(len(names), dtype=np.int64)
    row_of[id_n] = anomalies
    return row_of[keyed_order(random_seed, "contamination", names, np.arange(len(names)))[:wanted]]


def _deal_folds(names: pa.Array, group_n: NDArray[np.int32], folds: int, random_seed: int) -> NDArray[np.int8]:
    """Largest groups first (keyed order among equals), each to the fold with the fewest seeds so far; -1 the others."""
    filled = [0] * folds
    size_G = np.bincount(group_n, minlength=len(names))
    dealt_G = np.full(len(names), -1, np.int8)
    keyed = keyed_order(random_seed, "deal", names, np.flatnonzero(size_G))
    for group in keyed[np.argsort(-size_G[keyed], kind="stable")]:
        fold = filled.index(min(filled))
        dealt_G[group] = fold
        filled[fold] += int(size_G[group])
    return dealt_G


def _check_folds(fold_seeds: Sequence[int], seeds: int, seed_groups: int, *, drawn: bool) -> list[str]:
    fewest = min(fold_seeds)
    groups, leave = plural(seed_groups, "group"), "leaves" if seeds == 1 else "leave"
    held = f"{plural(seeds, 'seed')} in {groups} over {len(fold_seeds)} folds {leave} {fewest} to the smallest fold"
    if fewest < MIN_FOLD_SEEDS:
        more = "raise split.seed_fraction" if drawn else "give more seeds"
        raise InputError(f"split.folds: {held}, under {MIN_FOLD_SEEDS}", f"{more} or lower split.folds")
    if fewest < FEW_FOLD_SEEDS:
        return [f"split.folds: {held}; under {FEW_FOLD_SEEDS} its calibration is rough"]
    return []


def _share(anomalies: int, normals: int) -> float:
    return anomalies / (anomalies + normals)
