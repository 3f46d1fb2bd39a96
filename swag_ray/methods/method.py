"""What an experiment asks of a method, and which methods there are.

Nothing but the config asks which method it is: a new one is a file with a class that answers these questions, and a
line in `METHODS`.

Shapes: N train images (seed and pool).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from swag_ray.methods.contrast_fit import Contrast
from swag_ray.methods.fit import Experiment, Fit, Floats, TrainingSet
from swag_ray.methods.published_fit import Published


class Method(Protocol):
    """One way to fit, reject and measure uncertainty.

    Attributes:
        picks_rejects: whether rounds pick clear rejects.
        decision_fields: config fields that a decision reads besides `gate`, because `reject_weights` does.
    """

    picks_rejects: bool
    decision_fields: tuple[str, ...]

    def check(self, experiment: Experiment, fewest: int) -> None:
        """Refuses, before anything is fitted, settings that would leave a fit without a posterior.

        Args:
            fewest: images that the smallest fit of a fold learns from.

        Raises:
            InputError: naming the setting.
        """

    def first_fit(self, experiment: Experiment, seed_bank: Fit) -> Fit:
        """Returns row 0: what the seeds alone give, beginning with the bank that they fill."""

    def fit(self, experiment: Experiment, n: int, training: TrainingSet, first: Fit, previous: Fit) -> Fit:
        """Returns fit n, on the seeds and a training set.

        Args:
            first: row 0.
            previous: fit n-1, on whose scores the training set was chosen; row 0 for fit 1.
        """

    def reject_weights(self, experiment: Experiment, fit: Fit) -> Floats:
        """Returns how much each train image (N,) counts as a reject by the fit's own scores; 0: it is none."""

    def uncertainty(self, experiment: Experiment, fit: Fit, asked: NDArray[np.int64]) -> Floats:
        """Returns u (N,) of these pool rows; others may be NaN."""

    def final_bank(self, experiment: Experiment, training: TrainingSet, last: Fit) -> Fit:
        """Returns the plain memory bank over seeds and admitted images, for heatmaps and the arm `bank`."""


METHODS: Mapping[str, Method] = {"contrast": Contrast(), "published": Published()}


def method_of(experiment: Experiment) -> Method:
    """Returns the method that the experiment's config names."""
    return METHODS[experiment.config.method]
