"""Real features of drawn digits, and variants that lie opposite to the anomalies: the fused score keeps to the bank.

Half of the test folder gives the direction, the other half is the test set.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from swag_ray.config import parse_config
from swag_ray.experiment.loop import incremental_loop
from swag_ray.features.backbone import build_backbone
from swag_ray.features.cohort import Variants, build_cohort
from swag_ray.features.extract import extract
from swag_ray.features.reader import Rows
from swag_ray.features.shards import shard_table, write_shard
from swag_ray.images.audit import build_audit
from swag_ray.images.digit_anatomy import generate, list_digit_anatomy
from swag_ray.images.split import make_split
from swag_ray.methods.fit import Experiment
from swag_ray.progress import Progress
from swag_ray.store.store import Store
from tests.support.made_up_experiment import FINGERPRINT, InProcessWorkers

STRIDES = (8, 16, 32)
Features = dict[int, NDArray[np.float16]]


@dataclass(frozen=True)
class Digits:
    """Listing and features of the drawn set, by stride (N, P, C)."""

    table: pa.Table
    features: Features


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    root = tmp_path_factory.mktemp("digits") / "digits"
    generate(root, random_seed=0)
    listing = list_digit_anatomy(root)
    files = [(listing.root / path).read_bytes() for path in listing.table["path"].to_pylist()]
    rows = list(extract(build_backbone("tf_efficientnet_lite0", "bundled", STRIDES, 8), files, 256))
    return Digits(listing.table, {s: np.stack([row["features"][s] for row in rows]) for s in STRIDES})


def write(store: Store, name: str, features: Features, ids: list[str]) -> Rows:
    """Writes the features as the shard `name`, the first or second of them."""
    nothing = (np.zeros((32, 32), np.uint8), np.zeros(7, np.float32), 0.0)
    made = [
        {
            "error": None,
            "features": {s: features[s][i] for s in STRIDES},
            "statistics": nothing,
            "width": 9,
            "height": 9,
        }
        for i in range(len(ids))
    ]
    write_shard(store, store.path("features", FINGERPRINT, name), shard_table(ids, made, list(STRIDES)))
    return Rows(np.zeros(len(ids), np.int32), np.arange(len(ids), dtype=np.int32))


@pytest.mark.parametrize("contamination", [0.05, 0.1])
@pytest.mark.parametrize("random_seed", [0, 1])
def test_variants_opposite_to_the_anomalies(
    digits: Digits, tmp_path: Path, contamination: float, random_seed: int
) -> None:
    config = parse_config(
        {
            "name": "opposite", "random_seed": random_seed, "rounds": 1,
            "dataset": {"kind": "digit_anatomy", "contamination": contamination},
        }
    )  # fmt: skip
    store, table = Store(tmp_path), digits.table
    rows = write(store, "images.parquet", digits.features, table["sha256"].to_pylist())
    cut = make_split(
        table, seed_fraction=config.split.seed_fraction, folds=config.split.folds, contamination=contamination,
        random_seed=random_seed,
    )  # fmt: skip
    cohort = build_cohort(table, cut, rows, config.split.folds, FINGERPRINT)
    audit = build_audit(table, cut)

    half_T = np.arange(len(audit.anomaly_T)) % 2 == 0
    test = {s: digits.features[s][cohort.rows_T.row_N].astype(np.float32) for s in STRIDES}
    towards = {
        s: test[s][half_T & audit.anomaly_T].mean(axis=0) - test[s][half_T & ~audit.anomaly_T].mean(axis=0)
        for s in STRIDES
    }
    host = {s: digits.features[s][cohort.rows_N.row_N[cohort.seeds]].astype(np.float32) for s in STRIDES}
    opposite = {s: (host[s] - towards[s]).astype(np.float16) for s in STRIDES}
    made = write(store, "variants.parquet", opposite, [f"variant-{i}" for i in cohort.seeds])
    rows_V = Rows(made.shard_N + 1, made.row_N)
    variants = Variants("opposite", cohort.seeds, np.full(len(cohort.seeds), "opposite"), rows_V)

    workers = InProcessWorkers()
    workers.use_features(store.root, FINGERPRINT, ["images.parquet", "variants.parquet"], cohort.seeds)
    loop = incremental_loop(Experiment(config, store, replace(cohort, variants=variants), workers, Progress()))

    def roc_auc(score_T: NDArray[np.float64]) -> float:
        return float(roc_auc_score(audit.anomaly_T[~half_T], score_T[~half_T]))

    bank, first = roc_auc(loop.seed_bank.s_T), loop.rows[0].fit
    by_head = roc_auc(next(part for part in first.arms if part.arm.name == "auxiliary").arm.s_TK.mean(axis=1))
    assert by_head < 0.3 and bank > 0.85, "the head ranks the wrong way round"
    assert min(roc_auc(first.s_T), roc_auc(loop.last.s_T)) > bank - 0.005
