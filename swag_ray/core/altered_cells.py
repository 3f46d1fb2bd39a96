"""Which way the features of a cell move where an image was altered: a linear discriminant of cells.

The heads of images say that something is altered; weights of a head at 4 x 4 places say poorly where. Altered and
untouched cells of auxiliary anomalies are known one by one, so a discriminant of cells can be learnt, without a label.

    w = (mean of the covariances, with a ridge)^-1 (mean of altered - mean of plain cells)

Source: Fisher (1936), with the ridge of Friedman (1989), "Regularized discriminant analysis".

Shapes: n cells, C channels of all strides side by side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swag_ray.core.moments import Moments

RIDGE = 0.1  # added to every channel's variance, of 1
ALTERED, PLAIN = 0.5, 0.05  # share of a cell that is altered from which it counts as altered, up to which as plain


def direction(altered: Moments, plain: Moments) -> NDArray[np.float32]:
    """Returns the weights (C,) of a cell's channels: their product is highest for altered cells."""
    within_CC = (altered.covariance_CC + plain.covariance_CC) / 2
    sd_C = np.sqrt(np.maximum(within_CC.diagonal(), 1e-12))
    correlation_CC = within_CC / np.outer(sd_C, sd_C) + RIDGE * np.eye(len(sd_C))
    step_C = (altered.mean_C - plain.mean_C) / sd_C
    return np.asarray(np.linalg.solve(correlation_CC, step_C) / sd_C, np.float32)
