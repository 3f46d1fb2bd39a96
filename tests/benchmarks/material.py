"""What the benchmarks work on: the real X-rays, or drawn digits without them; features extracted once for all families.

Shapes: N rows, P patches an image, C channels of one stride, D embedding dimensions.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.cluster.session import ray_session
from swag_ray.cluster.workers import RayWorkers
from swag_ray.config import Config, load_config
from swag_ray.experiment.prepare import prepare
from swag_ray.experiment.source import ImageSource, check_source
from swag_ray.features.reader import FeatureReader, Rows
from swag_ray.images.audit import Audit
from swag_ray.methods.fit import Experiment
from swag_ray.models.fold_bank import join, standardisation, standardise
from swag_ray.progress import Progress
from swag_ray.store.stages import Result
from tests.benchmarks.measure import REPOSITORY, Bench
from tests.support.made_up_experiment import InProcessWorkers

# The workload of the published script: train NORMAL and PNEUMONIA, test NORMAL and PNEUMONIA (the folders' own ratio).
WORKLOAD = {("train", "NORMAL"): 134, ("train", "PNEUMONIA"): 134, ("test", "NORMAL"): 45, ("test", "PNEUMONIA"): 75}
CONFIGS = {"contrast": "pneumonia.yaml", "published": "pneumonia_published.yaml"}


def workload(bench: Bench) -> Path:
    """The published script's workload as a folder of links, evenly drawn over the sorted files."""
    root = bench.folder.parent / "workload"
    for (split, name), count in WORKLOAD.items():
        files = sorted((bench.require_xrays() / split / name).iterdir())
        folder = root / split / name
        folder.mkdir(parents=True, exist_ok=True)
        for i in np.linspace(0, len(files) - 1, count).astype(int):
            link = folder / files[i].name
            if not link.exists():
                link.symlink_to(files[i])
    return root


def images(bench: Bench, count: int) -> list[Path]:
    """So many different images of the train folder, both classes mixed."""
    files = sorted((bench.require_xrays() / "train").glob("*/*"))
    return [files[i] for i in np.linspace(0, len(files) - 1, min(count, len(files))).astype(int)]


def config(bench: Bench, method: str, *overrides: str) -> Config:
    """The recommended config of a method on all X-rays (quick: the published script's workload), or on drawn digits."""
    if bench.xrays is None:
        demo = [f"method={method}", f"store={bench.store}", *overrides]
        return load_config(REPOSITORY / "configs" / "demo.yaml", demo)
    root = workload(bench) if bench.quick else bench.xrays
    return load_config(
        REPOSITORY / "configs" / CONFIGS[method], [f"dataset.root={root}", f"store={bench.store}", *overrides]
    )


def described(bench: Bench) -> str:
    if bench.xrays is None:
        return "drawn digits: no X-rays beside the repository"
    return "the published script's 388 images" if bench.quick else "all 5,840 X-rays"


@contextmanager
def laboratory(bench: Bench, method: str, *overrides: str, **options: Any) -> Iterator[tuple[Experiment, Audit]]:
    """A experiment on real sample actors. Features come from the shared store, stages are the family's own.

    Args:
        overrides: of the config.
        options: of `Workers`; actors=1, for instance.
    """
    with ray_session(cpus=bench.cores) if "address" not in options else nullcontext():
        source = _own_store(bench, method, overrides)
        with RayWorkers(**options) as workers:
            prepared = prepare(source, workers, Progress())
            yield prepared.experiment, prepared.audit


def in_process(bench: Bench, method: str, *overrides: str) -> tuple[Experiment, Audit]:
    """A experiment whose tasks run in this process, one thread: arithmetic alone, without actors."""
    prepared = prepare(_own_store(bench, method, overrides), InProcessWorkers(), Progress())
    return prepared.experiment, prepared.audit


def _own_store(bench: Bench, method: str, overrides: Sequence[str]) -> ImageSource:
    return check_source(config(bench, method, f"store={own_store(bench, method)}", *overrides), Progress())


def own_store(bench: Bench, method: str, name: str = "store") -> Path:
    """A store of the family's own, whose features are those of the shared one, extracted where they are missing."""
    own = bench.folder / name
    if not own.exists():
        with RayWorkers(cpus=bench.cores) as workers:
            prepare(check_source(config(bench, method), Progress()), workers, Progress())
        own.mkdir()
        (own / "features").symlink_to(bench.store.absolute() / "features")
    return own


def patch_rows(bench: Bench, count: int) -> tuple[NDArray[np.float32], str]:
    """L2-normalised patches of strides 8 and 16 as a bank sees them, and what they are.

    Returns:
        (count, D), and `real` or that some are mixed from real ones.
    """
    experiment, _ = in_process(bench, "contrast")
    reader: FeatureReader = experiment.workers.reader  # type: ignore[attr-defined]
    own, test = experiment.cohort.rows_N, experiment.cohort.rows_T
    rows = Rows(np.append(own.shard_N, test.shard_N), np.append(own.row_N, test.row_N))
    places = experiment.config.backbone.grid**2
    patches = reader.patches(
        rows.take(np.arange(min(len(rows), -(-count // places)))), experiment.config.memory.strides
    )
    x_ND = join(standardise(patches, standardisation(patches)))
    x_ND = x_ND.reshape(-1, x_ND.shape[-1])[:count]
    real, generator = len(x_ND), np.random.default_rng(0)
    while len(x_ND) < count:
        a, b = generator.integers(0, real, (2, min(50_000, count - len(x_ND))))
        mixed = 0.7 * x_ND[a] + 0.3 * x_ND[b]
        x_ND = np.concatenate([x_ND, mixed / np.linalg.norm(mixed, axis=1, keepdims=True)])
    return x_ND.astype(
        np.float32
    ), "real patches" if real >= count else f"{real:,} real patches, the rest mixed of them"


def start_actors(workers: Any, count: int, seconds: float = 120.0) -> set[str]:
    """Wait until `count` actors have answered, for what is timed next is to be done by all; the nodes they are on."""
    deadline = time.monotonic() + seconds
    answers: set[tuple[int, str]] = set()
    while len({pid for pid, _ in answers}) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(answers)} of {count} actors answered within {seconds:g} s")
        answers |= set(workers.map(who_and_where, range(2 * count)))
    return {node for _, node in answers}


def who_and_where(reader: object, task: int) -> tuple[int, str]:
    import ray

    time.sleep(0.1)  # long enough that nobody answers for all
    return os.getpid(), str(ray.get_runtime_context().get_node_id())


def record_nobody(experiment: Experiment) -> str:
    """The key of a recorded decision that admitted nobody, for a fit to start from."""
    nobody = {"held": np.zeros(len(experiment.cohort.id_N), dtype=np.bool_)}
    experiment.workers.record_decision("nobody", Result(nobody))
    return "nobody"


def identical(results: list[Any]) -> bool:
    """Whether several runs gave the same arrays, bit for bit (NaN equals NaN)."""
    first, *others = results
    return all(np.array_equal(a, b, equal_nan=True) for other in others for a, b in zip(first, other, strict=True))
