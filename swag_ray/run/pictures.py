"""The pictures of a run's report: test images, or the pool's where there are none; the most suspicious of a pool that
nothing is known of; trusted images unlike the others; and examples of auxiliary anomalies.

They are all that plots/overlays.npz holds, in arrays of one entry per picture: of the first under plain names, then
under `pool.`, of seeds under `seed.`, of variants under `variant.`. Made in the driver, without torch.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from swag_ray.core.seeding import numpy_generator
from swag_ray.detector.detector import Detector, score_maps, seed_maps, seed_patches
from swag_ray.errors import InputError, reason_of
from swag_ray.experiment.pipeline import ExperimentResult
from swag_ray.experiment.prepare import Prepared
from swag_ray.features.spec import FeatureSpec
from swag_ray.images.decode import picture
from swag_ray.images.image_error import ImageError
from swag_ray.images.image_reader import ImageReader
from swag_ray.images.places import Place, locate
from swag_ray.methods.fit import Experiment
from swag_ray.models.tasks import ScoreTask
from swag_ray.store.stages import Arrays

MEASURED = 300  # seeds at most, whose patches are the scale of the maps: 192 of 64 each lie above the 99th centile
SHOWN = 6  # that many of the highest- and of the lowest-scored test images
SUSPECTS = 12  # the highest-scored of the pool
ODD_SEEDS = 8  # the highest-scored
EXAMPLES = 4  # seeds whose variants are shown, of every kind


def report_pictures(result: ExperimentResult, detector: Detector) -> Arrays:
    """Returns what overlays.npz holds.

    Raises:
        InputError: an image file cannot be read any more.
    """
    shown = _test_images if len(result.prepared.experiment.cohort.id_T) else _pool_images
    found = shown(result, detector) | _odd_seeds(result, detector) | _variants(result.prepared)
    return found | _suspects(result, detector)


def _test_images(result: ExperimentResult, detector: Detector) -> Arrays:
    """The highest- and lowest-scored test images with their maps, and the scale of all distance maps."""
    prepared, last = result.prepared, result.trajectory.last
    cohort, audit = prepared.experiment.cohort, prepared.audit
    shown = _extremes(last.s_T)
    maps = prepared.experiment.workers.run_one(score_maps, cohort.rows_T.take(shown), detector)
    facts = {
        "id": _ids(cohort.id_T, shown), "score": last.s_T[shown], "p": last.p_T[shown], "label": audit.label_T[shown],
        "image": np.stack([_pixels(prepared.root / audit.path_T[i], prepared.spec) for i in shown]),
    }  # fmt: skip
    return facts | {"seed_patches": _seed_patches(result, detector)} | maps


def _pool_images(result: ExperimentResult, detector: Detector) -> Arrays:
    """The same of the pool where there is no test image, each by the models of its own fold."""
    prepared, last = result.prepared, result.trajectory.last
    cohort, audit = prepared.experiment.cohort, prepared.audit
    scored = np.flatnonzero(~np.isnan(last.s_N[cohort.pool]))
    shown = scored[_extremes(last.s_N[cohort.pool][scored])]
    label = {"label": audit.label_N[cohort.pool[shown]]}
    return label | _mapped_pool(result, detector, shown) | {"seed_patches": _seed_patches(result, detector)}


def _suspects(result: ExperimentResult, detector: Detector) -> Arrays:
    """The highest-scored of the pool; nothing where any label of it is known."""
    prepared, last = result.prepared, result.trajectory.last
    pool = prepared.experiment.cohort.pool
    if not np.isnan(prepared.audit.label_N[pool]).all():
        return {}
    order = np.argsort(-last.s_N[pool], kind="stable")[:SUSPECTS]  # NaN comes last
    shown = order[~np.isnan(last.s_N[pool[order]])]
    return (
        {f"pool.{name}": array for name, array in _mapped_pool(result, detector, shown).items()} if len(shown) else {}
    )


def _mapped_pool(result: ExperimentResult, detector: Detector, shown: NDArray[np.int64]) -> Arrays:
    """Some of the pool's images (of its rows, these) with their maps, each by the models of its own fold."""
    prepared, last = result.prepared, result.trajectory.last
    cohort = prepared.experiment.cohort
    rows = cohort.pool[shown]
    task = ScoreTask(np.arange(len(rows)), cohort.rows_N.take(rows), cohort.fold_N[rows])
    paths = prepared.pool_paths.take(pa.array(shown)).to_pylist()
    facts = {
        "id": _ids(cohort.id_N, rows), "score": last.s_N[rows], "p": last.p_N[rows],
        "image": np.stack([_pixels(prepared.root / path, prepared.spec) for path in paths]),
    }  # fmt: skip
    return facts | prepared.experiment.workers.run_one(seed_maps, task, detector)


def _extremes(score: NDArray[np.float64]) -> NDArray[np.int64]:
    """The rows of the highest and the lowest scores, the highest first."""
    order = np.argsort(-score, kind="stable")
    shown = np.unique(np.concatenate([order[:SHOWN], order[-SHOWN:]]))
    return shown[np.argsort(-score[shown], kind="stable")]


def _seed_patches(result: ExperimentResult, detector: Detector) -> NDArray[np.float64]:
    experiment = result.prepared.experiment
    scale: NDArray[np.float64] = experiment.workers.run_one(seed_patches, _measured(experiment), detector)
    return scale


def _measured(experiment: Experiment) -> ScoreTask:
    """Returns the seeds, or as many of them as are measured, each with its own fold."""
    cohort, generator = experiment.cohort, numpy_generator(experiment.config.random_seed, "seed patches")
    chosen = cohort.seeds
    if len(chosen) > MEASURED:
        chosen = np.sort(generator.choice(chosen, MEASURED, replace=False))
    return ScoreTask(np.arange(len(chosen)), cohort.rows_N.take(chosen), cohort.fold_N[chosen])


def _odd_seeds(result: ExperimentResult, detector: Detector) -> Arrays:
    """The seeds that score highest by models that have not seen them, the highest first."""
    prepared, last = result.prepared, result.trajectory.last
    cohort = prepared.experiment.cohort
    odd = np.argsort(-last.seed_s, kind="stable")[:ODD_SEEDS]
    rows = cohort.seeds[odd]
    task = ScoreTask(np.arange(len(rows)), cohort.rows_N.take(rows), cohort.fold_N[rows])
    paths = prepared.seed_paths.take(pa.array(odd)).to_pylist()
    pictures = {
        "id": _ids(cohort.id_N, rows), "z": last.z_N[rows], "p": last.p_N[rows],
        "image": np.stack([_pixels(prepared.root / path, prepared.spec) for path in paths]),
    }  # fmt: skip
    pictures |= prepared.experiment.workers.run_one(seed_maps, task, detector)
    return {f"seed.{name}": array for name, array in pictures.items()}


def _variants(prepared: Prepared) -> Arrays:
    """A few seeds beside what every kind of auxiliary anomaly made of them; nothing where none are made."""
    cohort, plan, spec = prepared.experiment.cohort, prepared.variants, prepared.spec
    seeds = np.unique(np.linspace(0, len(cohort.seeds) - 1, EXAMPLES).round().astype(np.int64))
    first_draws = np.array([recipe.draw == 0 for recipe in plan.recipes], bool)
    shown = np.flatnonzero(np.isin(plan.host_V, seeds) & first_draws)
    if not len(shown):
        return {}
    pairs = []
    for recipe in (plan.recipes[i] for i in shown):
        files = recipe.files(lambda path, sha256: _file(locate(path), spec))
        try:
            pairs.append(recipe.pictures(files, spec.image_size, spec.reading))
        except ImageError as error:
            raise _changed(locate(recipe.path), error) from error
    return {
        "variant.id": _ids(cohort.id_N, cohort.seeds[plan.host_V[shown]]),
        "variant.kind": np.array([plan.recipes[i].kind for i in shown]),
        "variant.host": np.stack([host for host, _ in pairs]),
        "variant.image": np.stack([altered for _, altered in pairs]),
    }


def _ids(column: pa.ChunkedArray, rows: NDArray[np.int64]) -> NDArray[np.str_]:
    return np.array(pc.cast(column.take(pa.array(rows)), pa.string()).to_pylist(), dtype=str)


def _pixels(path: Place, spec: FeatureSpec) -> NDArray[np.uint8]:
    try:
        return picture(_file(path, spec), spec.image_size, spec.reading.of(path))
    except ImageError as error:
        raise _changed(path, error) from error


def _file(path: Place, spec: FeatureSpec) -> bytes:
    try:
        return ImageReader(spec.frames).read(path)
    except OSError as error:
        raise _changed(path, error) from error


def _changed(path: Place, error: Exception) -> InputError:
    return InputError(f"dataset: '{path}' changed after it was listed ({reason_of(error)})", "run again")
