"""A finished run in Python: tables hold what the files hold, plots are the report's, a bad folder is one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from matplotlib.figure import Figure

from swag_ray.errors import InputError
from swag_ray.record.files import write_csv
from swag_ray.report.page.figure import svg
from swag_ray.run.finished import POOL_COLUMNS, Run, load_run
from tests.report.run.fixture import ROUNDS, change_metrics, rank_pool, write_run
from tests.support.s3 import Bucket


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = write_run(tmp_path_factory.mktemp("runs") / "one", overlays=4)
    rank_pool(made)
    return made


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return load_run(folder)


def test_tables_and_figures_are_those_of_the_files(run: Run, folder: Path) -> None:
    assert run.metrics == json.loads((folder / "metrics.json").read_text())
    assert run.directory == folder and run.changes is None
    for name in ("rounds", "scores", "seeds"):
        frame, table = getattr(run, name), pq.read_table(folder / f"{name}.parquet")
        assert list(frame.columns) == table.column_names and len(frame) == len(table)
        for column in table.column_names:
            known = table[column].drop_null().to_pylist()
            assert frame[column].dropna().tolist() == known and frame[column].isna().sum() == table[column].null_count
    assert run.rounds["admitted"].dtype == run.scores["label"].dtype == pd.BooleanDtype()
    last = run.rounds[run.rounds["round"] == ROUNDS].set_index("id")
    assert run.pool["score"].is_monotonic_decreasing and list(run.pool.columns) == list(POOL_COLUMNS)
    np.testing.assert_array_equal(run.pool["score"], last.loc[run.pool["id"], "s"])
    admitted = run.pool["admitted"]
    assert 0 < admitted.sum() < len(admitted) and run.pool["round"].isna().sum() == (~admitted).sum()
    assert run.pool is run.pool, "it is read once"


def test_plots_are_the_reports_and_leave_no_global_state(folder: Path) -> None:
    code = (
        "import sys; from swag_ray import load_run; r = load_run(sys.argv[1]); "
        "assert not {'ray', 'torch', 'matplotlib', 'pandas'} & set(sys.modules), 'to load a run takes little'; "
        "r.plot_rounds().savefig(sys.argv[2]); r.pool; "
        "assert not {'ray', 'torch', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    picture = folder.parent / "rounds.png"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(picture)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_each_plot_shows_the_runs_own_figures(run: Run) -> None:
    drawn = {name: getattr(run, f"plot_{name}")() for name in ("roc", "rounds", "pool")}
    assert all(isinstance(figure, Figure) for figure in drawn.values())
    names = [text.get_text() for text in drawn["roc"].axes[0].get_legend().get_texts()]
    assert f"incremental {run.metrics['incremental']['roc_auc']:.3f}" in names and len(names) >= 7
    test_line = drawn["rounds"].axes[0].lines[0]
    assert list(test_line.get_ydata()) == [row["roc_auc"] for row in run.metrics["rounds"]]
    assert len(drawn["pool"].axes) == ROUNDS + 1
    assert svg(drawn["roc"], "roc") == svg(run.plot_roc(), "roc")


def test_where_no_label_is_known_tables_say_so_and_a_curve_is_refused(tmp_path: Path) -> None:
    made = write_run(tmp_path / "run", labels=False, overlays=0)
    change_metrics(made, rounds=[])
    run = load_run(made)
    assert run.scores["label"].isna().all() and run.rounds["label"].isna().all()
    with pytest.raises(InputError, match=r"^plot_roc: a curve takes labelled test images of both classes; '.*' has"):
        run.plot_roc()
    with pytest.raises(InputError, match=r"^plot_rounds: .* takes labels"):
        run.plot_rounds()
    assert run.plot_pool().axes


def test_texts_of_the_pool_come_back_as_they_were(run: Run, folder: Path, tmp_path: Path) -> None:
    paths = ["=cmd()", "'quoted", 'a\nb,"c"', "007", None]
    own = pa.table({
        "path": pa.array(paths), "id": ["NA", "null", "1e5", "true", "e"], "score": [5.0, 4.0, 3.0, 2.0, None],
        "p": [0.1] * 5, "rejected": pa.nulls(5, pa.bool_()), "admitted": [True, False] * 2 + [True],
        "round": pa.array([1, None, 2, None, 3], pa.int32()), "age": pa.array(["007", "", None, "-3", "+x"]),
        "=name": pa.array(["a"] * 5),
    })  # fmt: skip
    write_csv(tmp_path / "pool.csv", own)
    (tmp_path / "metrics.json").write_text("{}")
    pool = load_run(tmp_path).pool
    assert [None if pd.isna(x) else x for x in pool["path"]] == paths
    assert pool["id"].tolist() == own["id"].to_pylist() and pool["=name"].tolist() == ["a"] * 5
    assert [None if pd.isna(x) else x for x in pool["age"]] == own["age"].to_pylist()
    assert pool["rejected"].isna().all() and pool["round"].dropna().tolist() == [1, 2, 3]


def test_what_is_no_finished_run_is_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^load_run: no folder '.*nowhere'; give the directory of a finished run$"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"metrics.json: missing; give the directory of a finished run, or finish it"):
        load_run(tmp_path)
    (tmp_path / "metrics.json").write_text('{"rounds": 3}')
    with pytest.raises(InputError, match=r"metrics\.json: rounds is not a list; the file is damaged"):
        load_run(tmp_path)
    (tmp_path / "metrics.json").write_text("{}")
    run = load_run(tmp_path)
    for name in ("pool", "rounds", "scores", "seeds"):
        with pytest.raises(InputError, match="missing; give the directory of a finished run"):
            getattr(run, name)
    (tmp_path / "pool.csv").write_text("a,b\n1,2\n")
    (tmp_path / "rounds.parquet").write_bytes((folder / "rounds.parquet").read_bytes()[:200])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"name": "x", "other": 1}))
    with pytest.raises(InputError, match=r"pool\.csv: cannot be read .no column path, id"):
        run.pool  # noqa: B018
    with pytest.raises(InputError, match=r"rounds.parquet: cannot be read .*; restore the file or run the experiment"):
        run.rounds  # noqa: B018
    with pytest.raises(InputError):
        run.config  # noqa: B018


def test_a_run_at_an_address_is_read_from_there(run: Run, folder: Path, bucket: Bucket) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            bucket.put(f"runs/one/{path.relative_to(folder).as_posix()}", path.read_bytes())
    there = load_run(bucket.address("runs/one"))
    assert there.directory is None and there.metrics == run.metrics
    pd.testing.assert_frame_equal(there.pool, run.pool)
    pd.testing.assert_frame_equal(there.scores, run.scores)
    assert svg(there.plot_rounds(), "x") == svg(run.plot_rounds(), "x")
