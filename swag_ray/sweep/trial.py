"""What a sweep's trial is: a run without a run directory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from swag_ray.cluster.workers import Workers
from swag_ray.config.sweep import Trial
from swag_ray.experiment.pipeline import carry_out
from swag_ray.experiment.source import Source
from swag_ray.features.spec import FeatureSpec
from swag_ray.images.folders import Listing
from swag_ray.progress import Progress
from swag_ray.store.store import Store


def carry_out_trial(
    trial: Trial,
    store: Store,
    listing: Listing,
    spec: FeatureSpec,
    workers: Callable[[], Workers],
    told: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """The metrics of a trial: those that `swag-ray run` gives for its config, timing aside.

    Args:
        store: of the config; its features are there.
        told: of every round's figures.
    """
    return carry_out(Source(trial.config, store, spec, listing), workers, Progress(), told).metrics
