"""Who is who in one experiment, without a label: trusted seeds, pool, test, and the fold of each.

Shapes: N train images (seed and pool), T test images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from swag_ray.features.reader import Rows
from swag_ray.features.recipe import Recipe
from swag_ray.features.variants import VariantPlan
from swag_ray.images.split import POOL, SEED, TEST, Split
from swag_ray.store.stages import digest, stage_key


@dataclass(frozen=True)
class Variants:
    """Auxiliary anomalies made of the seeds.

    Attributes:
        key: stands for them in stage keys.
        host_V: train row of each variant's host, whose fold it shares.
        kind_V: how the host was altered.
        rows_V: features.
        recipes: what each is made of; none where that is not known.
    """

    key: str
    host_V: NDArray[np.int64]
    kind_V: NDArray[np.str_]
    rows_V: Rows
    recipes: tuple[Recipe, ...] = ()


@dataclass(frozen=True)
class Cohort:
    """The images that the method sees. Labels are elsewhere, in `Audit`, and only controls and evaluation read them.

    Attributes:
        key: stands for the train images in stage keys: whoever may be admitted, their folds, the features' fingerprint.
            What is fitted or decided holds it, and nothing of the test images.
        test_key: stands for the test images, in their order.
        id_N, seed_N, fold_N, rows_N: id (an Arrow column: a third of numpy's size), whether trusted, fold and features
            of the train images, sorted by id.
        group_N: which train images belong together (a patient's): equal numbers.
        id_T, rows_T: the same of the test images, which every fold scores.
        folds: K.
        variants: auxiliary anomalies, None where none are made.
    """

    key: str
    test_key: str
    id_N: pa.ChunkedArray
    seed_N: NDArray[np.bool_]
    fold_N: NDArray[np.int8]
    rows_N: Rows
    group_N: NDArray[np.int32]
    id_T: pa.ChunkedArray
    rows_T: Rows
    folds: int
    variants: Variants | None = None

    @property
    def seeds(self) -> NDArray[np.int64]:
        """Train rows of the seeds."""
        return np.flatnonzero(self.seed_N)

    @property
    def pool(self) -> NDArray[np.int64]:
        """Train rows of the pool images."""
        return np.flatnonzero(~self.seed_N)


def build_cohort(table: pa.Table, split: Split, rows: Rows, folds: int, fingerprint: str) -> Cohort:
    """Order the images of a split table into train and test images.

    Args:
        table: readable images, sorted by id.
        split: role and fold of each row of the table.
        rows: features of each row of the table.
    """
    train = np.flatnonzero((split.role_N == SEED) | (split.role_N == POOL))
    test = np.flatnonzero(split.role_N == TEST)
    train_rows, test_rows = pa.array(train), pa.array(test)
    seed_N, fold_N = split.role_N[train] == SEED, split.fold_N[train].astype(np.int8)
    # The keys hold content, not file names or labels.
    sha256 = table.column("sha256")
    content, test_content = digest(sha256.take(train_rows), seed_N, fold_N), digest(sha256.take(test_rows))
    group_N = pc.index_in(group := table.column("group").take(train_rows), pc.unique(group)).to_numpy()
    return Cohort(
        key=stage_key("cohort", {"fingerprint": fingerprint, "content": content, "folds": folds}),
        test_key=stage_key("cohort", {"fingerprint": fingerprint, "test": test_content}),
        id_N=table.column("id").take(train_rows), seed_N=seed_N, fold_N=fold_N, rows_N=rows.take(train),
        group_N=group_N.astype(np.int32),
        id_T=table.column("id").take(test_rows), rows_T=rows.take(test), folds=folds,
    )  # fmt: skip


def with_variants(cohort: Cohort, plan: VariantPlan, rows: Rows) -> Cohort:
    """Returns the cohort with the variants that were made of its seeds.

    Args:
        rows: features of each variant; those without, because they are not finite, are left out.
    """
    there = np.flatnonzero(rows.shard_N >= 0)
    recipes = tuple(plan.recipes[i] for i in there)
    kind_V = np.array([recipe.kind for recipe in recipes])
    key = digest([recipe.key for recipe in recipes])
    return replace(cohort, variants=Variants(key, cohort.seeds[plan.host_V[there]], kind_V, rows.take(there), recipes))
