"""How well a run's heatmaps point at the masks of its test images. Masks are read here, and no model sees one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from swag_ray.detector.detector import Detector
from swag_ray.detector.heat_scale import heatmaps_of
from swag_ray.experiment.pipeline import ExperimentResult
from swag_ray.images.mask import read_mask
from swag_ray.models.tasks import ALL_FOLDS, score_tasks
from swag_ray.record.run_metrics import Localisation


def localisation(result: ExperimentResult, detector: Detector) -> Localisation:
    """Returns how well maps point in test anomalies that have a mask, and in normals; empty without such an anomaly.

    Raises:
        InputError: a mask cannot be read, or is not of its image's size.
    """
    experiment, tests = result.prepared.experiment, result.prepared.masked
    if tests is None:
        return Localisation()
    from swag_ray.core.localisation import localise  # brings scikit-learn and scipy

    rows = experiment.cohort.rows_T.take(tests.row_m)
    tasks = score_tasks(rows, np.full(len(rows), ALL_FOLDS, np.int8), np.arange(len(rows)))
    workers = experiment.workers
    map_mGG = np.concatenate(workers.map(heatmaps_of, tasks, workers.put(detector)))

    def masks() -> Iterator[NDArray[np.bool_]]:
        for place, (width, height) in zip(tests.place_m, tests.size_m2.tolist(), strict=True):
            yield np.zeros((height, width), bool) if place is None else read_mask(place, (width, height))

    found = localise(map_mGG, masks())
    figures = {name: value for name, value in vars(found).items() if value is not None}
    return Localisation(**figures)
