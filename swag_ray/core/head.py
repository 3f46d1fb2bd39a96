"""A head: a logistic regression that tells abnormal images (rejects of the pool, variants of seeds) from trusted ones.

It learns on frozen features of the whole image (every stride pooled to a small grid), so a fit is a few passes over a
matrix; the snapshots that stochastic gradient descent leaves after its warm-up make the SWAG posterior (Maddox et al.
2019, sections 3.2-3.3), from which weights are sampled.

Shapes: N images, P patches of the stored grid (raster order), C channels of one stride, g side of the pooled grid,
D = g * g * (sum of C) numbers an image, S weight samples. A row is stride-major (ascending), then place (raster), then
channel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.moments import floored_sd
from swag_ray.errors import InputError

if TYPE_CHECKING:  # only a fit needs torch, and importing it costs more than a second
    import torch

    from swag_ray.core import swag


@dataclass(frozen=True)
class Scaler:
    """Per-column standardisation, clipped: one wild feature of one image must not decide its logit."""

    mean_D: NDArray[np.float32]
    sd_D: NDArray[np.float32]
    clip: float = 8.0

    @classmethod
    def fit(cls, x_ND: NDArray[np.float32], clip: float = 8.0) -> Scaler:
        """Mean and sd of the trusted images' rows.

        Args:
            x_ND: pooled features of a fold's seeds, at least 2.
            clip: largest absolute value after scaling, in sd.
        """
        if len(x_ND) < 2:
            raise ValueError(f"a scaler needs at least 2 images, not {len(x_ND)}")
        mean_D = x_ND.mean(axis=0, dtype=np.float64)
        sd_D = x_ND.std(axis=0, dtype=np.float64)
        return cls(mean_D.astype(np.float32), floored_sd(sd_D), clip)

    def apply(self, x_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, D) features -> (N, D) float32 in units of the seeds' sd, within +-clip."""
        z_ND = (x_ND - self.mean_D).astype(np.float32, copy=False)
        z_ND /= self.sd_D
        return np.clip(z_ND, -self.clip, self.clip, out=z_ND)


@dataclass(frozen=True)
class HeadSettings:
    """How a head is fitted.

    Attributes:
        learning_rate: constant from the first step to the last (SWAG needs it constant after the warm-up).
        weight_decay: L2 penalty on the weight (not on the bias), as in SGD.
        momentum: of SGD.
        batch_size: images a step; the last batch of an epoch may be smaller.
        warmup_epochs, swag_epochs: epochs without and with snapshots.
        max_columns: deviation columns kept for the low-rank part.
        collect_every: steps between snapshots; None: one at the end of every SWAG epoch.
    """

    learning_rate: float
    weight_decay: float = 1e-2
    momentum: float = 0.9
    batch_size: int = 64
    warmup_epochs: int = 15
    swag_epochs: int = 20
    max_columns: int = 20
    collect_every: int | None = None


def snapshots(images: int, settings: HeadSettings) -> int:
    """How many snapshots a fit on `images` images takes.

    Raises:
        InputError: fewer than 2, naming `swag.collect_every`.
    """
    steps = settings.swag_epochs * math.ceil(images / settings.batch_size)
    count = settings.swag_epochs if settings.collect_every is None else steps // settings.collect_every
    if count < 2:
        raise InputError(
            f"swag.collect_every: {settings.collect_every} leaves {count} snapshots in the {steps} steps of"
            f" {settings.swag_epochs} SWAG epochs",
            "lower it or raise head.swag_epochs so that there are at least 2",
        )
    return count


def fit_head(
    x_ND: NDArray[np.float32],
    abnormal_N: NDArray[np.bool_],
    settings: HeadSettings,
    generator: torch.Generator,
    device: torch.device | None = None,
    weight_N: NDArray[np.floating] | None = None,
) -> swag.State:
    """Logistic regression of abnormal images (1) against trusted ones (0), both classes weighing the same.

    Stochastic gradient descent with momentum from weight 0; every epoch visits all rows once in an order drawn from
    `generator`. Written out by hand: autograd and an optimiser object cost more than the products themselves.

    Args:
        x_ND: standardised features (see `Scaler`).
        abnormal_N: True = reject or variant. Both kinds must occur.
        generator: order of the rows; a CPU generator, so that the order is the same on every device.
        device: where the products are taken; None is the CPU.
        weight_N: how much each image counts within its class, above 0; None: all the same.

    Returns:
        SWAG state with the tensors `weight` (D,) and `bias` ().

    Raises:
        InputError: fewer than 2 snapshots (before any work).
    """
    import torch

    from swag_ray.core import swag

    count, abnormal = len(x_ND), int(abnormal_N.sum())
    if not 0 < abnormal < count:
        raise ValueError(f"the head needs trusted and abnormal images, not {count - abnormal} and {abnormal}")
    weight = np.ones(count) if weight_N is None else weight_N.astype(np.float64)
    if not (weight > 0).all():
        raise ValueError("every image must count for more than 0; leave the others out")
    snapshots(count, settings)
    with torch.inference_mode():
        rows_ND = torch.from_numpy(np.ascontiguousarray(x_ND, dtype=np.float32)).to(device)
        target_N = torch.from_numpy(abnormal_N.astype(np.float32)).to(device)
        of_class_N = np.where(abnormal_N, weight[abnormal_N].sum(), weight[~abnormal_N].sum())
        balance_N = torch.from_numpy((weight * count / (2 * of_class_N)).astype(np.float32)).to(device)
        weight_D, bias = rows_ND.new_zeros(rows_ND.shape[1]), rows_ND.new_zeros(())
        buffer_BD = rows_ND.new_empty(min(settings.batch_size, count), rows_ND.shape[1])
        speed_D, speed = torch.zeros_like(weight_D), torch.zeros_like(bias)
        state = swag.init({"weight": weight_D, "bias": bias}, settings.max_columns)
        step = 0
        for epoch in range(settings.warmup_epochs + settings.swag_epochs):
            collecting = epoch >= settings.warmup_epochs
            order_N = torch.randperm(count, generator=generator).to(rows_ND.device)
            columns = (order_N, target_N[order_N], balance_N[order_N])
            for batch_B, target_B, balance_B in zip(*(c.split(settings.batch_size) for c in columns), strict=True):
                # Gathered once into one buffer: both products read it, and no step maps new memory.
                rows_BD = torch.index_select(rows_ND, 0, batch_B, out=buffer_BD[: len(batch_B)])
                error_B = (rows_BD @ weight_D).add_(bias).sigmoid_().sub_(target_B).mul_(balance_B).div_(len(batch_B))
                speed_D.mul_(settings.momentum).add_(error_B @ rows_BD).add_(weight_D, alpha=settings.weight_decay)
                speed.mul_(settings.momentum).add_(error_B.sum())
                weight_D.sub_(speed_D, alpha=settings.learning_rate)
                bias.sub_(speed, alpha=settings.learning_rate)
                step += collecting
                if collecting and settings.collect_every is not None and step % settings.collect_every == 0:
                    state = swag.update(state, {"weight": weight_D, "bias": bias})
            if collecting and settings.collect_every is None:
                state = swag.update(state, {"weight": weight_D, "bias": bias})
    return state


def sample_weights(
    state: swag.State, generators: Sequence[torch.Generator]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One draw of a head per generator: weight (S, D) and bias (S,), float32; without one the last snapshot, S = 1."""
    from swag_ray.core import swag

    draws = swag.sample_many(state, generators) if generators else {n: t[None] for n, t in swag.last(state).items()}
    return draws["weight"].cpu().numpy(), draws["bias"].cpu().numpy()


def logits(
    x_ND: NDArray[np.float32], weight_SD: NDArray[np.float32], bias_S: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Every image's logit under every sample, one product: (N, S) float32; higher = more like a reject."""
    return (x_ND @ weight_SD.T + bias_S).astype(np.float32, copy=False)


def evidence(
    x_ND: NDArray[np.float32], weight_D: NDArray[np.float32], channels: Sequence[int], grid: int
) -> NDArray[np.float32]:
    """How much every place of an image adds to its logit.

    Args:
        x_ND: standardised features.
        weight_D: the head's weight (the mean of the samples).
        channels: channels of each stride, ascending strides, as laid out by `pool_features`.
        grid: side g of the pooled grid.

    Returns:
        (N, g, g) float32; its sum over the places is the logit less the bias.
    """
    places = grid * grid
    if x_ND.shape[1] != places * sum(channels) or x_ND.shape[1:] != weight_D.shape:
        raise ValueError(f"rows of {x_ND.shape[1]} do not fit a weight {weight_D.shape} or {list(channels)} channels")
    share_NP = np.zeros((len(x_ND), places), np.float32)
    start = 0
    for width in channels:
        stop = start + places * width
        rows_NPC = x_ND[:, start:stop].reshape(len(x_ND), places, width)
        share_NP += np.einsum("npc,pc->np", rows_NPC, weight_D[start:stop].reshape(places, width))
        start = stop
    return share_NP.reshape(len(x_ND), grid, grid)
