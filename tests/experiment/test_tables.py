"""seeds.parquet: who the seeds are, and how they score by models that have not seen them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from swag_ray.experiment.loop import incremental_loop
from swag_ray.experiment.tables import seeds_table
from tests.support.made_up_experiment import config, made_up_experiment

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("method", ["contrast", "published"])
@pytest.mark.parametrize("anonymous", [False, True])
def test_every_seed_has_a_row(tmp_path: Path, method: str, anonymous: bool) -> None:
    settings = config("rounds=1", f"report.anonymous={str(anonymous).lower()}", method=method)
    experiment, _ = made_up_experiment(tmp_path, settings, variants=method == "contrast")
    cohort, last = experiment.cohort, incremental_loop(experiment).last
    ids = [cohort.id_N[int(i)].as_py() for i in cohort.seeds]
    table = seeds_table(experiment, pa.chunked_array([[f"train/{name}.png" for name in ids]]), last)
    assert table.column_names == ["id", "path", "fold", "s", "z", "p"]
    assert table["id"].to_pylist() == ids
    assert table["path"].to_pylist() == [None if anonymous else f"train/{name}.png" for name in ids]
    assert table["fold"].to_pylist() == cohort.fold_N[cohort.seeds].tolist()
    s_n = table["s"].to_numpy()
    assert np.array_equal(s_n, last.s_N[cohort.seeds])
    np.testing.assert_allclose(table["z"].to_numpy(), (s_n - s_n.mean()) / s_n.std(ddof=1))
    higher = (s_n[None] >= s_n[:, None]).sum(axis=1)
    np.testing.assert_allclose(table["p"].to_numpy(), (1 + higher) / (len(s_n) + 1))


def test_wrong_images_among_the_trusted_stand_out(tmp_path: Path) -> None:
    """Clear anomalies that the listing calls normal, and the split trusts, are the first that somebody looks at."""
    wrong: list[str] = []

    def mislabelled(table: pa.Table) -> pa.Table:
        label = np.array(table["label"].to_pylist())
        train = np.array(table["split"].to_pylist()) == "train"
        chosen = np.flatnonzero(label & train)[:2]
        wrong.extend(table["id"].to_pylist()[i] for i in chosen)
        label[chosen] = False
        return table.set_column(table.column_names.index("label"), "label", pa.array(label))

    made = {"variants": True, "shift": 8.0, "seed": 4}  # a split that trusts both, and a bank that sees them
    experiment, _ = made_up_experiment(tmp_path, config("rounds=1"), listed=mislabelled, **made)
    cohort, last = experiment.cohort, incremental_loop(experiment).last
    ids = [cohort.id_N[int(i)].as_py() for i in cohort.seeds]
    assert set(wrong) <= set(ids) and len(ids) > 50
    rows = seeds_table(experiment, pa.chunked_array([ids]), last).to_pylist()
    assert {row["id"] for row in sorted(rows, key=lambda row: -row["z"])[:2]} == set(wrong)
