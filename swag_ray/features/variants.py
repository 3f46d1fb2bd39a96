"""Which auxiliary anomalies an experiment makes of its seeds.

A variant's donor is of its host's fold: fold k's model learns from variants of the other folds alone, so that no pixel
of fold k reaches it.

Shapes: n seeds, V variants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.auxiliary import KINDS
from swag_ray.core.seeding import numpy_generator
from swag_ray.features.recipe import Recipe


@dataclass(frozen=True)
class VariantPlan:
    """Attributes:
    recipes: what each variant is made of, V of them.
    host_V: its host, as a row of the seeds.
    donor_V: its donor, as a row of the seeds; the host itself for kinds that take none.
    """

    recipes: tuple[Recipe, ...]
    host_V: NDArray[np.int64]
    donor_V: NDArray[np.int64]


NO_VARIANTS = VariantPlan((), np.empty(0, np.int64), np.empty(0, np.int64))


def plan_variants(
    seeds: Sequence[tuple[str, str]],
    fold_n: NDArray[np.integer],
    kinds: Sequence[str],
    *,
    per_seed: int,
    random_seed: int,
) -> VariantPlan:
    """Returns `per_seed` variants of every kind of every seed.

    Within a fold the seeds lend each other their patches in a circle that is drawn anew for every kind and draw, so
    that every seed is a donor as often as a host.

    Args:
        seeds: (path, SHA-256) of each seed, n of them.
        fold_n: fold of each, at least 2 in a fold.
        kinds: names in `core.auxiliary.KINDS`.
        per_seed: variants of a kind that are made of one seed.
        random_seed: of the donors; kinds that take none do not depend on it.
    """
    by_content = np.array([sha256 for _, sha256 in seeds]).argsort(kind="stable")  # not by the order of a table
    recipes: list[Recipe] = []
    hosts: list[int] = []
    donors: list[int] = []
    for kind in kinds:
        for draw in range(per_seed):
            donor_n = np.arange(len(seeds))
            for fold in np.unique(fold_n) if KINDS[kind].foreign else ():
                members = by_content[fold_n[by_content] == fold]
                circle = numpy_generator(random_seed, "donor", kind, draw, int(fold)).permutation(members)
                donor_n[circle] = np.roll(circle, 1)
            for host, donor in enumerate(donor_n.tolist()):
                lends = seeds[donor] if KINDS[kind].foreign else ("", "")
                recipes.append(Recipe(*seeds[host], kind, *lends, draw))
                hosts.append(host)
                donors.append(donor)
    return VariantPlan(tuple(recipes), np.array(hosts, np.int64), np.array(donors, np.int64))
