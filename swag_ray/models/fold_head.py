"""The heads of `contrast`: one fold's logistic regression with its SWAG samples, and the logits of a batch.

Shapes: n images of a task, D pooled features, K folds, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.core import head
from swag_ray.core.seeding import torch_generator
from swag_ray.features.reader import FeatureReader
from swag_ray.models.tasks import FitTask, ScoreTask, by_fold
from swag_ray.store.stages import Arrays
from swag_ray.system.device import device


@dataclass(frozen=True)
class ContrastSettings:
    """What a head depends on besides its training images.

    Attributes:
        strides: all maps of the backbone.
        grid: side of the pooled grid.
        samples: SWAG samples; 0: the last weights alone, S = 1.
        fit: how the logistic regression is trained.
    """

    strides: tuple[int, ...]
    grid: int
    samples: int
    fit: head.HeadSettings

    @property
    def scores(self) -> int:
        """S, the logits of an image by one fold."""
        return max(1, self.samples)


def fit_head(reader: FeatureReader, task: FitTask, settings: ContrastSettings) -> Arrays:
    """One fold's head.

    Returns:
        mean, sd (D,) of the fold's seeds; weight (S, D) and bias (S,) of the samples.
    """
    assert task.abnormal is not None
    scaler = head.Scaler.fit(_pooled(reader, task.seeds, settings))
    x_ND = scaler.apply(_pooled(reader, task.train, settings))
    generator = torch_generator(*task.names, "fit")
    state = head.fit_head(x_ND, task.abnormal, settings.fit, generator, device(), task.weight)
    generators = [torch_generator(*task.names, "sample", s) for s in range(settings.samples)]
    weight_SD, bias_S = head.sample_weights(state, generators)
    return {"mean": scaler.mean_D, "sd": scaler.sd_D, "weight": weight_SD, "bias": bias_S}


def score_head(
    reader: FeatureReader, task: ScoreTask, folds: tuple[Arrays, ...], settings: ContrastSettings
) -> NDArray[np.float32]:
    """Raw logits of every sample: (n, S) by each image's own fold, or (n, K, S) by all."""
    pooled_ND = _pooled(reader, task.rows, settings)

    def score(k: int, index: NDArray[np.int64]) -> NDArray[np.float32]:
        return logits(pooled_ND[index], folds[k])

    return by_fold(task, len(folds), settings.scores, score)


def logits(pooled_ND: NDArray[np.float32], fold: Arrays) -> NDArray[np.float32]:
    """Raw logits (n, S) of pooled features under one fold's samples."""
    return head.logits(head.Scaler(fold["mean"], fold["sd"]).apply(pooled_ND), fold["weight"], fold["bias"])


def evidence(pooled_ND: NDArray[np.float32], fold: Arrays, channels: list[int], grid: int) -> NDArray[np.float32]:
    """Each place's share of one fold's logit, under the mean of its samples: (n, grid, grid)."""
    x_ND = head.Scaler(fold["mean"], fold["sd"]).apply(pooled_ND)
    return head.evidence(x_ND, fold["weight"].mean(axis=0), channels, grid)


def _pooled(reader: FeatureReader, rows: Any, settings: ContrastSettings) -> NDArray[np.float32]:
    return reader.pooled(rows, settings.strides, settings.grid)
