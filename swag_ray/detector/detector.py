"""The K fold models as one thing that scores images.

Shapes: n images (of `seed_s`: seeds), P patches, K folds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.core import calibrate
from swag_ray.core.domain import Domain
from swag_ray.core.enlarge import enlarge
from swag_ray.core.fusion import travels
from swag_ray.core.knn import Index
from swag_ray.core.pooling import pool_features
from swag_ray.core.score import image_score
from swag_ray.detector import domain
from swag_ray.detector.heatmap import HeatScale, side_by_side
from swag_ray.detector.trusted import Neighbour, Trusted
from swag_ray.errors import InputError
from swag_ray.features.reader import FeatureReader, Patches, Rows
from swag_ray.features.spec import FeatureSpec
from swag_ray.models import fold_head
from swag_ray.models.fold_bank import BankSettings, bank_index, distances
from swag_ray.models.fold_head import ContrastSettings
from swag_ray.models.tasks import ScoreTask
from swag_ray.store.stages import Arrays


@dataclass(frozen=True)
class DetectorArm:
    """A part of the fused score.

    Attributes:
        name: `bank`, `auxiliary` or `head`.
        weight: of its score, per sd of the seeds' scores.
        location, sd: of the seeds' scores.
        models: per fold, what gives the score.
        seed_s: (n,) cross-fitted scores of the seeds.
    """

    name: str
    weight: float
    location: float
    sd: float
    models: tuple[Arrays, ...]
    seed_s: NDArray[np.float64]

    def part(self, score_nK: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns what scores of this arm add to the fused score."""
        return self.weight * (score_nK - self.location) / self.sd


@dataclass(frozen=True)
class Detector:
    """Scores new images as the run's last fit scored its test images.

    Attributes:
        name: of the run.
        score_used: `fused`, `bank` (with adapter) or `seed_bank`.
        spec: the features it reads.
        bank: settings of the patch distance.
        head: settings of the heads; None where none scores.
        rate: false-positive rate of `above_threshold`.
        seed_s, seed_fold: (n,) cross-fitted seed scores and their folds.
        models: per fold, the bank that scores.
        banks: per fold, what gives the heatmap.
        arms: what the fused score is made of; empty where the bank alone scores.
        typical: what the seeds have in common to look at, (64,); None where that is nothing, or not kept.
        domain: what the seeds' images are like, whatever they score; None where that was not kept.
        trusted: the seeds themselves, to tell those nearest to an image; None where they were not kept.
        heat: what heatmaps are measured in; None where that was not kept.
    """

    name: str
    score_used: str
    spec: FeatureSpec
    bank: BankSettings
    head: ContrastSettings | None
    rate: float
    seed_s: NDArray[np.float64]
    seed_fold: NDArray[np.int8]
    models: tuple[Arrays, ...]
    banks: tuple[Arrays, ...]
    arms: tuple[DetectorArm, ...] = ()
    typical: NDArray[np.float32] | None = None
    domain: Domain | None = None
    trusted: Trusted | None = None
    heat: HeatScale | None = None

    def of_fold(self, k: int) -> Detector:
        """Returns what fold k's models alone give: its scores and maps of fold k's seeds are cross-fitted."""
        arms = tuple(replace(arm, models=(arm.models[k],)) for arm in self.arms)
        heat = self.heat.of_fold(k) if self.heat is not None else None
        return replace(self, models=(self.models[k],), banks=(self.banks[k],), arms=arms, heat=heat)

    @cached_property
    def site_seed_s(self) -> NDArray[np.float64]:
        """The seeds' site scores (n,), cross-fitted."""
        if not self.arms:
            return self.seed_s
        return _total({arm.name: arm.part(arm.seed_s) for arm in self.arms if travels(arm.name)})

    def scores(self, patches: Patches) -> NDArray[np.float64]:
        """Returns scores of every fold, (n, K), of {stride: (n, P, C) float16} features.

        Bit for bit the run's, as far as BLAS rounds a row alike in batches of other sizes.
        """
        return self.scores_and_site(patches)[0]

    def scores_and_site(self, patches: Patches) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns scores and site scores of every fold, (n, K) each. A site score leaves out what `fusion.travels`
        says does not travel; without such an arm the two are the same.
        """
        if not self.arms:
            score_nK = self._bank_scores(patches, self.models)
            return score_nK, score_nK
        parts = {arm.name: arm.part(self._arm_scores(patches, arm)) for arm in self.arms}
        return _total(parts), _total({name: part for name, part in parts.items() if travels(name)})

    def _arm_scores(self, patches: Patches, arm: DetectorArm) -> NDArray[np.float64]:
        if arm.name == "bank":
            return self._bank_scores(patches, arm.models)
        assert self.head is not None
        pooled = pool_features(patches, self.head.grid)
        return np.stack([fold_head.logits(pooled, fold).mean(axis=1, dtype=np.float64) for fold in arm.models], axis=1)

    def _bank_scores(self, patches: Patches, folds: tuple[Arrays, ...]) -> NDArray[np.float64]:
        # Rounded as a run's scores are, which travel as float32.
        columns = [image_score(d, self.bank.top_fraction) for d in self._distances(patches, folds)]
        return np.stack(columns, axis=1).astype(np.float32).astype(np.float64)

    def p_values(self, score_nK: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns cross-conformal p-values (n,)."""
        return calibrate.cross_conformal_p(self.seed_s, self.seed_fold, score_nK)

    def out_of_domain(self, rows: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """Returns why each image is unlike anything that the seeds are like, whatever it scores: such an image is not
        to be called diseased. None where it is not, where it cannot be read, and where the seeds' domain was not kept.

        Args:
            rows: of images, as `features.extract.extract` yields them.
        """
        if self.domain is None:
            return [None] * len(rows)
        return domain.out_of_domain(self.domain, self.spec, rows)

    def heatmaps(self, patches: Patches) -> NDArray[np.float32]:
        """Returns one map an image, bank and heads together, in sd of the seeds' own held-out patches: (n, G, G). What
        lies above `heat.low` is worth a look.

        Raises:
            InputError: the bundle is older, and keeps no scale of heatmaps.
        """
        if self.heat is None:
            raise InputError(f"detector: '{self.name}' keeps no scale of heatmaps", "run again")
        names = [part.name for part in self.heat.parts]
        return self.heat.maps(self.heat_parts(patches, names, self.heat.cells_KC))

    def heat_parts(
        self, patches: Patches, names: Sequence[str], cells_KC: NDArray[np.float32] | None
    ) -> dict[str, NDArray[np.float32]]:
        """Returns the raw values of parts of heatmaps by name, each the mean over the folds, (n, G, G)."""
        grid, raw = self.spec.grid, {}
        for name in names:
            if name == "distance":
                raw[name] = self.distance_maps(patches)
            elif name == "cells":
                assert cells_KC is not None
                raw[name] = (side_by_side(patches) @ cells_KC.mean(axis=0)).reshape(-1, grid, grid)
            else:
                evidence = self.evidence_maps(patches, ("head",))
                assert evidence is not None
                raw[name] = enlarge(evidence, (grid, grid))
        return raw

    def nearest(self, patches: Patches, count: int) -> list[tuple[Neighbour, ...]]:
        """Returns the trusted images that each image is nearest to, the nearest first.

        Raises:
            InputError: the bundle is older, and keeps no trusted images.
        """
        if self.trusted is None:
            raise InputError(f"detector: '{self.name}' keeps no trusted images", "run again")
        return self.trusted.nearest(patches, count)

    def distance_maps(self, patches: Patches) -> NDArray[np.float32]:
        """Returns patch distances to the memory banks, mean over the folds: (n, G, G)."""
        mean_nP = np.mean(self._distances(patches, self.banks), axis=0)
        return mean_nP.reshape(len(mean_nP), self.spec.grid, self.spec.grid).astype(np.float32)

    def held_out_distances(self, patches: Patches, fold_n: NDArray[np.int8]) -> NDArray[np.float32]:
        """Returns patch distances (n, P) of seeds, each to the memory bank of its own fold, which holds none of it."""
        out_nP = np.empty(next(iter(patches.values())).shape[:2], np.float32)
        for k in np.unique(fold_n):
            own = {stride: x[fold_n == k] for stride, x in patches.items()}
            out_nP[fold_n == k] = self._distances(own, (self.banks[k],))[0]
        return out_nP

    def evidence_maps(
        self, patches: Patches, names: Sequence[str] = ("auxiliary", "head")
    ) -> NDArray[np.float32] | None:
        """Returns each place's share of what heads of these names add to the score, mean over the folds: (n, g, g);
        None without one.
        """
        heads = [arm for arm in self.arms if arm.name in names]
        if self.head is None or not heads:
            return None
        grid, channels = self.head.grid, [patches[s].shape[-1] for s in sorted(patches)]
        pooled = pool_features(patches, grid)
        maps = [
            arm.weight
            / arm.sd
            * np.mean([fold_head.evidence(pooled, fold, channels, grid) for fold in arm.models], axis=0)
            for arm in heads
        ]
        return np.sum(maps, axis=0).astype(np.float32)

    def _distances(self, patches: Patches, folds: tuple[Arrays, ...]) -> list[NDArray[np.float32]]:
        held = {s: patches[s] for s in self.bank.strides}
        if self.score_used == "bank":
            from swag_ray.models import fold_adapter  # torch, which no other detector needs

            return [fold_adapter.distances(held, fold, self.bank) for fold in folds]
        return [distances(held, fold, self.bank, self._index(fold)) for fold in folds]

    def _index(self, fold: Arrays) -> Index:
        # Two threads that ask at once may both make one, of which the first stays.
        return self._indices.get(id(fold)) or self._indices.setdefault(id(fold), bank_index(fold, self.bank))

    @cached_property
    def _indices(self) -> dict[int, Index]:
        """Made once a detector, of the folds that it holds, by their identity: most of an image's time else."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_indices"}  # they do not travel


def _total(parts: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.asarray(np.sum(list(parts.values()), axis=0))


def seed_patches(reader: FeatureReader, task: ScoreTask, detector: Detector) -> NDArray[np.float64]:
    """Returns mean, sd and 99th centile (3,) of these seeds' held-out patch distances: the scale of distance maps."""
    patches = reader.patches(task.rows, detector.spec.strides)
    distance_nP = detector.held_out_distances(patches, task.fold).astype(np.float64)
    return np.array([distance_nP.mean(), distance_nP.std(), np.percentile(distance_nP, 99)])


def score_maps(reader: FeatureReader, rows: Rows, detector: Detector) -> Arrays:
    """Returns maps of these images for the report: `distance` (n, G, G), and `evidence` where there is a head."""
    return _maps(reader.patches(rows, detector.spec.strides), detector)


def seed_maps(reader: FeatureReader, task: ScoreTask, detector: Detector) -> Arrays:
    """Returns the maps of `score_maps` for seeds, each by the models of its own fold, which have not seen it."""
    patches = reader.patches(task.rows, detector.spec.strides)
    maps: Arrays = {}
    for k in np.unique(task.fold):
        on = task.fold == k
        own = _maps({stride: x[on] for stride, x in patches.items()}, detector.of_fold(int(k)))
        for name, found in own.items():
            maps.setdefault(name, np.empty((len(on), *found.shape[1:]), found.dtype))[on] = found
    return maps


def _maps(patches: Patches, detector: Detector) -> Arrays:
    evidence = detector.evidence_maps(patches)
    maps: Arrays = {"distance": detector.distance_maps(patches)}
    return maps if evidence is None else maps | {"evidence": evidence}
