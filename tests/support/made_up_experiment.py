"""A whole experiment on made-up features, for what would take too long on images: the loop's real stages and tasks.

The features are drawn, everything else is real. `InProcessWorkers` runs the tasks here, `RayWorkers` on Ray.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from swag_ray.cluster.memory_bank import MemoryBank
from swag_ray.cluster.sample_actors import Work
from swag_ray.cluster.workers import Workers
from swag_ray.config import Config, parse_config
from swag_ray.features.cohort import Variants, build_cohort
from swag_ray.features.reader import FeatureReader, Rows
from swag_ray.features.recipe import Recipe
from swag_ray.features.shards import shard_table, write_shard
from swag_ray.features.spec import FeatureSpec
from swag_ray.images.audit import Audit, build_audit
from swag_ray.images.split import make_split
from swag_ray.methods.fit import Experiment
from swag_ray.progress import Progress
from swag_ray.store.stages import Arrays, Result, fold_arrays
from swag_ray.store.store import Store

FINGERPRINT = "made-up"
CHANNELS = {8: 6, 16: 10, 32: 8}
GRID = 4
PLACES = GRID**2
TOP = 2  # places of an image that its score averages
SHARD = 48
Bank = MemoryBank.__ray_metadata__.modified_class  # the plain class inside the actor

CONFIG: dict[str, Any] = {
    "name": "made-up",
    "dataset": {"kind": "digit_anatomy"},  # never listed: the features are made up
    # All that figures depend on, so that no default moves them.
    "split": {"seed_fraction": 0.5, "folds": 3},
    "backbone": {"grid": GRID},
    "memory": {"strides": [8, 16], "coreset_ratio": 0.1, "whitening": None},
    "score": {"neighbours": 3, "top_fraction": 0.1},
    "head": {"grid": 4, "weight_decay": 1e-2, "warmup_epochs": 4, "swag_epochs": 5, "learning_rate": 1e-2},
    "swag": {"samples": 4, "max_columns": 20},
    "outliers": {"probability": 0.5},
    "gate": {"budget": 8, "tau_uncertainty": 1.0},
    "rounds": 3,
}
OFF = ("outliers.probability=1.0",)  # so sure is no image: no head is fitted


def config(*overrides: str, **top: Any) -> Config:
    raw = copy.deepcopy(CONFIG) | top
    if raw.get("method") == "published":
        del raw["head"], raw["outliers"]
        raw["adapter"] = {"dim": 8, "warmup_epochs": 1, "round_epochs": 1, "learning_rate": 1e-3}
    return parse_config(raw, overrides)


@dataclass
class InProcessWorkers(Workers):
    """The work of the actors, done in this process; notes what it was asked for.

    Attributes:
        fits: (name of the work, FitTask) of every fold fitted.
        published: (version, decision) of every bank.
        admitted: decisions recorded.
    """

    fits: list[tuple[str, Any]] = field(default_factory=list)
    scored: list[tuple[str, Any]] = field(default_factory=list)
    published: list[tuple[str, str | None]] = field(default_factory=list)
    admitted: list[str] = field(default_factory=list)
    reader: Any = None
    bank: Any = None

    def extract(
        self, store: Store, spec: FeatureSpec, images: Any, missing: Sequence[Recipe], size: int
    ) -> Iterator[tuple[int, int, float]]:
        raise AssertionError("made-up features are all there")

    def use_features(self, root: str, fingerprint: str, shards: list[str], seeds: NDArray[Any]) -> None:
        self.reader, self.bank = FeatureReader(root, fingerprint, shards), Bank(root, seeds)

    def map(
        self, work: Work, tasks: Sequence[Any], *shared: Any, advance: Callable[[int], None] = lambda n: None
    ) -> list[Any]:
        kept = self.fits if tasks and hasattr(tasks[0], "train") else self.scored
        kept.extend((work.__name__, task) for task in tasks)
        return [work(self.reader, task, *shared) for task in tasks]

    def run_one(self, work: Work, task: Any, *shared: Any) -> Any:
        return work(self.reader, task, *shared)

    def fit_banks(
        self, work: Work, tasks: Sequence[Any], *shared: Any, version: str, decision: str | None
    ) -> tuple[Arrays, ...]:
        self.published.append((version, decision))
        return fold_arrays(self.bank.save_version(version, decision, *self.map(work, tasks, *shared)), len(tasks))

    def record_decision(self, decision: str, result: Result) -> None:
        self.admitted.append(decision)
        self.bank.record_decision(decision, result)

    def put(self, value: Any) -> Any:
        return value

    def time_spent(self) -> list[dict[str, Any]]:
        return []


def made_up_experiment(
    root: Path,
    settings: Config,
    *,
    normals: int = 120,
    anomalies: int = 40,
    tests: int = 20,
    shift: float = 1.5,
    seed: int = 0,
    workers: Workers | None = None,
    listed: Callable[[pa.Table], pa.Table] = lambda table: table,
    variants: bool = False,
    variant_shift: float = 1.5,
    opposite: bool = False,
) -> tuple[Experiment, Audit]:
    """An experiment on `normals` + `anomalies` train and 2 x `tests` test images.

    Args:
        root: of the store.
        shift: how far anomalous patches lie from normal ones, in sd; 0 makes them normals in all but name.
        workers: who does the work; default: this process.
        listed: what the listing says of the images in place of the truth, or which of them it has; their features are
            the truth's.
        variants: whether the seeds have auxiliary anomalies, one each.
        variant_shift: how far altered patches lie from the host's, in sd; 0 makes variants equal to their hosts.
        opposite: whether they lie opposite to the anomalies; otherwise in a direction of their own.
    """
    label = np.repeat([False, True, False, True], [normals, anomalies, tests, tests])
    split = np.repeat(["train", "test"], [normals + anomalies, 2 * tests])
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(label))  # ids must not tell the label
    label, split = label[order], split[order]
    ids = [f"image{i:04d}" for i in range(len(label))]
    table = pa.table(
        {
            "id": ids, "path": [f"{i}.png" for i in ids], "split": split.tolist(), "label": label.tolist(),
            "class_name": label.astype(str).tolist(), "kind": pa.array([None] * len(ids), pa.string()),
            "sha256": [f"{i}-{seed}" for i in ids], "file_bytes": np.arange(len(ids)), "group": ids,
        }
    )  # fmt: skip
    store = Store(root)
    shards, rows, direction = write_features(store, table.column("sha256").to_pylist(), label, shift, generator)
    every, table = table, listed(table)
    rows = rows.take(pc.index_in(table.column("id"), every.column("id")).to_numpy())
    cut = make_split(
        table, seed_fraction=settings.split.seed_fraction, folds=settings.split.folds,
        contamination=settings.dataset.contamination, random_seed=settings.random_seed,
    )  # fmt: skip
    cohort = build_cohort(table, cut, rows, settings.split.folds, f"{FINGERPRINT}-{seed}-{shift}")
    audit = build_audit(table, cut)
    if variants:
        made, shards = write_variants(
            store, shards, cohort.rows_N, cohort.seeds, -variant_shift if opposite else variant_shift, seed,
            direction if opposite else None,
        )  # fmt: skip
        cohort = replace(cohort, variants=made)
    workers = workers or InProcessWorkers()
    workers.use_features(store.root, FINGERPRINT, shards, cohort.seeds)
    return Experiment(settings, store, cohort, workers, Progress()), audit


def write_features(
    store: Store, sha256: list[str], label: NDArray[np.bool_], shift: float, generator: np.random.Generator
) -> tuple[list[str], Rows, dict[int, NDArray[Any]]]:
    """Shards of drawn features: places look alike in all images; an anomaly differs in a quarter of its places.

    Returns:
        The shards, the images' rows, and in which direction anomalies differ.
    """
    places = {s: generator.normal(0, 2, (PLACES, c)) for s, c in CHANNELS.items()}
    direction = {s: generator.choice([-1, 1], c) for s, c in CHANNELS.items()}
    # Trivial properties tell a little: anomalies are darker, in smaller pictures. Drawn by a generator of their own, so
    # that the features stay what they were.
    trivial = np.random.default_rng(len(label))
    made = []
    for anomalous in label:
        grey = trivial.normal(100 - 10 * anomalous, 10, 7).astype(np.float32)
        thumbnail = np.full((32, 32), trivial.integers(0, 250 - 20 * anomalous), np.uint8)
        statistics = (thumbnail, grey, float(trivial.normal(20 + 5 * anomalous, 9)))
        width, height = (int(side) for side in trivial.integers(90 - 10 * anomalous, 120, 2))
        where = generator.permutation(PLACES)[: PLACES // 4]
        features = {}
        for s, c in CHANNELS.items():
            x = places[s] + generator.normal(0, 1, (PLACES, c))
            if anomalous:
                x[where] += shift * direction[s]
            features[s] = x.astype(np.float16)
        made.append({"error": None, "features": features, "statistics": statistics, "width": width, "height": height})
    shards = []
    for start in range(0, len(made), SHARD):
        shards.append(f"{len(shards):03d}.parquet")
        part = shard_table(sha256[start : start + SHARD], made[start : start + SHARD], list(CHANNELS))
        write_shard(store, store.path("features", FINGERPRINT, shards[-1]), part)
    number = np.arange(len(made), dtype=np.int32)
    return shards, Rows(number // SHARD, number % SHARD), direction


def write_variants(
    store: Store, shards: list[str], rows_N: Rows, seeds: NDArray[np.int64], shift: float, seed: int,
    direction: dict[int, NDArray[Any]] | None = None,
) -> tuple[Variants, list[str]]:  # fmt: skip
    """One variant of each seed, in an order of their own: the host's features, shifted in a quarter of its places.

    Returns:
        The variants, and the shards with those of the variants behind them.
    """
    generator = np.random.default_rng([seed, len(seeds)])
    host_V = generator.permutation(seeds)
    patches = FeatureReader(store.root, FINGERPRINT, shards).patches(rows_N.take(host_V), list(CHANNELS))
    drawn = {s: generator.choice([-1, 1], c) for s, c in CHANNELS.items()}
    nothing = (np.zeros((32, 32), np.uint8), np.zeros(7, np.float32), 0.0)
    made: list[dict[str, Any]] = []
    for i in range(len(host_V)):
        where = generator.permutation(PLACES)[: PLACES // 4]
        features = {}
        for s in CHANNELS:
            x = patches[s][i].astype(np.float64)
            x[where] += shift * (direction or drawn)[s]
            features[s] = x.astype(np.float16)
        made.append({"error": None, "features": features, "statistics": nothing, "width": 9, "height": 9})
    names = [f"{FINGERPRINT}-variant-{host}" for host in host_V]
    more = []
    for start in range(0, len(made), SHARD):
        more.append(f"variants-{len(more):03d}.parquet")
        part = shard_table(names[start : start + SHARD], made[start : start + SHARD], list(CHANNELS))
        write_shard(store, store.path("features", FINGERPRINT, more[-1]), part)
    number = np.arange(len(made), dtype=np.int32)
    rows_V = Rows((len(shards) + number // SHARD).astype(np.int32), number % SHARD)
    key = f"{FINGERPRINT}-variants-{seed}-{shift}{'' if direction is None else '-opposite'}"
    return Variants(key, host_V, np.full(len(made), "made-up"), rows_V), shards + more


def with_settings(experiment: Experiment, settings: Config, root: Path | None = None) -> Experiment:
    """The same images under other settings, or on another store."""
    return replace(experiment, config=settings, store=Store(root) if root else experiment.store)


def here(experiment: Experiment) -> InProcessWorkers:
    """The lab's workers, which note what they were asked for."""
    assert isinstance(experiment.workers, InProcessWorkers)
    return experiment.workers
