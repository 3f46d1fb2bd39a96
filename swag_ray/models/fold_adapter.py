"""The adapter of `published` (arXiv 2511.03912): one fold's training, its bank, and scores under any weights.

The bank keeps which patches it holds; every weight sample embeds those patches again, so that query and memory are
always seen through the same weights.

Shapes: N images, P patches, C channels, D embedding dimensions, M bank rows, K folds, S samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.knn import Index
from swag_ray.core.schedule import AdapterSettings
from swag_ray.core.score import image_score, patch_distances
from swag_ray.core.seeding import torch_generator
from swag_ray.features.reader import FeatureReader, Patches
from swag_ray.models.fold_bank import (
    BankSettings,
    Standard,
    blocks,
    index_bytes,
    pick_rows,
    raw_rows,
    standardisation,
    standardise,
)
from swag_ray.models.tasks import FitTask, ScoreTask, by_fold
from swag_ray.store.stages import Arrays
from swag_ray.system.device import device

if TYPE_CHECKING:  # the actors train; their driver never loads torch
    from swag_ray.core import adapter

MEAN = -1  # stands for the SWA mean where a sample number is expected


@dataclass(frozen=True)
class PublishedSettings:
    """What a fold's adapter depends on besides its training images.

    Attributes:
        bank: strides, coreset ratio, k, top fraction.
        dim: adapter width d of a stride.
        fit: how the adapter is trained.
        samples: SWAG samples S.
    """

    bank: BankSettings
    dim: int
    fit: AdapterSettings
    samples: int


def fit_published(reader: FeatureReader, task: FitTask, settings: PublishedSettings) -> Arrays:
    """Train one fold's adapter from the last round's iterate (or its start), then pick the bank under the SWA mean.

    Returns:
        mean.*, sd.* standardisation; mu.*, cov.* moments of the training patches; iterate.*, mean_weights.*,
        sample<s>.* weights; image, patch, raw.* of the bank; reference_variance, collapsed.
    """
    import torch

    from swag_ray.core import adapter

    strides = settings.bank.strides
    model = standardisation(reader.patches(task.seeds, strides))
    patches = reader.patches(task.train, strides)
    standard = standardise(patches, model)
    tensors = {s: torch.from_numpy(x).to(device()) for s, x in standard.items()}
    moments = {s: adapter.patch_moments(x) for s, x in tensors.items()}
    if task.start is None:
        params = adapter.init_adapter(moments, settings.dim, torch_generator(*task.names, "start"))
    else:
        params = _weights(task.start, "iterate")
    # Collapse is measured against the very first fit, or a slow shrinkage over the rounds would go unseen.
    reference = None if task.start is None else float(task.start["reference_variance"])
    fitted = adapter.fit_adapter(
        params, tensors, moments, settings.fit, torch_generator(*task.names, "fit"),
        warm_up=task.start is None, reference_variance=reference,
    )  # fmt: skip
    weights = {"iterate": fitted.params} | _posterior(fitted, task.names, settings.samples)
    for stride, m in moments.items():
        model |= {f"mu.{stride}": m.mean_C.cpu().numpy(), f"cov.{stride}": m.cov_CC.cpu().numpy()}
    model |= {f"{kind}.{name}": t.cpu().numpy() for kind, params in weights.items() for name, t in params.items()}
    first = fitted.variance_trace[0] if reference is None else reference
    model |= {"reference_variance": np.array(first), "collapsed": np.array(fitted.collapsed)}
    embedded = embed(standard, model, MEAN)
    images, places = embedded.shape[:2]
    parts = (
        (embedded[block], {s: x[block] for s, x in patches.items()}, task.image[block])
        for block in blocks(images, places, settings.bank)
    )
    return model | pick_rows(parts, images * places, settings.bank)


def _posterior(fitted: adapter.AdapterFit, names: tuple[object, ...], samples: int) -> dict[str, adapter.Params]:
    """The SWA mean and the samples; a fit that collapsed before it had two snapshots stands for itself."""
    from swag_ray.core import swag

    if fitted.swag is None:
        return {kind: fitted.params for kind in ("mean_weights", *(f"sample{s}" for s in range(samples)))}
    drawn = {f"sample{s}": swag.sample(fitted.swag, torch_generator(*names, "sample", s)) for s in range(samples)}
    return {"mean_weights": swag.mean(fitted.swag)} | drawn


def embed(standard: Standard, fold: Mapping[str, NDArray[Any]], sample: int) -> NDArray[np.float32]:
    """Standardised patches through the adapter under the SWA mean (`MEAN`) or a sample's weights: (..., D), length
    1.
    """
    import torch

    from swag_ray.core import adapter

    kind = "mean_weights" if sample == MEAN else f"sample{sample}"
    moments = {
        s: adapter.Moments(0, *(torch.from_numpy(fold[f"{name}.{s}"]).to(device()) for name in ("mu", "cov")))
        for s in standard
    }
    with torch.inference_mode():
        tensors = {s: torch.from_numpy(x).to(device()) for s, x in standard.items()}
        embedded: NDArray[np.float32] = adapter.embed(_weights(fold, kind), tensors, moments).cpu().numpy()
    return embedded


def score_published(
    reader: FeatureReader,
    task: ScoreTask,
    folds: tuple[Arrays, ...],
    settings: BankSettings,
    version: str,
    samples: tuple[int, ...],
) -> NDArray[np.float32]:
    """Image scores under each of `samples` (MEAN for the SWA mean), the bank embedded by the same.

    Args:
        version: stands for the folds: what is made of them is kept for the next task.

    Returns:
        (n, len(samples)) by each image's own fold, or (n, K, len(samples)) by all.
    """
    patches = reader.patches(task.rows, settings.strides)

    def score(k: int, asked: NDArray[np.int64]) -> NDArray[np.float32]:
        fold, columns = folds[k], []
        standard = standardise({stride: x[asked] for stride, x in patches.items()}, fold)
        for s in samples:
            index = reader.memo((version, k, s), index_bytes(fold), lambda s=s: bank_index(fold, settings, s))  # type: ignore[misc]
            distance_NP = patch_distances(index, embed(standard, fold, s), settings.neighbours)
            columns.append(image_score(distance_NP, settings.top_fraction))
        return np.stack(columns, axis=1)

    return by_fold(task, len(folds), len(samples), score)


def distances(patches: Patches, fold: Arrays, settings: BankSettings, sample: int = MEAN) -> NDArray[np.float32]:
    """Patch distances (N, P) of raw patches to one fold's bank under one set of weights."""
    embedded = embed(standardise(patches, fold), fold, sample)
    return patch_distances(bank_index(fold, settings, sample), embedded, settings.neighbours)


def bank_index(fold: Arrays, settings: BankSettings, sample: int) -> Index:
    """The index of one fold's rows under one set of weights."""
    return Index(embed(standardise(raw_rows(fold, settings.strides), fold), fold, sample))


def _weights(fold: Mapping[str, NDArray[Any]], kind: str) -> adapter.Params:
    import torch

    prefix = f"{kind}."
    named = {n.removeprefix(prefix): a for n, a in fold.items() if n.startswith(prefix)}
    return {n: torch.from_numpy(np.array(a)).to(device()) for n, a in named.items()}
