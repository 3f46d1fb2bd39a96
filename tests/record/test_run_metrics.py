"""metrics.json is written and read as its contract says. The `metrics.json` beside this file was written before the
contract was a type: by a run of `contrast` with labels, with a part of its controls and the kinds of another run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from swag_ray.errors import InputError
from swag_ray.experiment.evaluate import evaluate
from swag_ray.experiment.loop import incremental_loop
from swag_ray.record.files import write_json
from swag_ray.record.run_metrics import ArmMetrics, ConformalDecisions, RoundMetrics, RunMetrics, Timing
from swag_ray.record.trials_table import flat_metrics
from tests.support.made_up_experiment import config, here, made_up_experiment

WRITTEN = Path(__file__).with_name("metrics.json")
PLAIN: dict[str, Any] = json.loads(WRITTEN.read_text())


def keys(value: Any, place: str = "") -> Iterator[str]:
    """Dotted names of all keys, in order, the list's place left out."""
    children = value.items() if isinstance(value, dict) else [("", v) for v in value] if isinstance(value, list) else []
    for key, child in children:
        name = f"{place}.{key}".strip(".")
        yield from ([name] if key else [])
        yield from keys(child, name)


def test_a_written_file_is_read_and_written_byte_for_byte(tmp_path: Path) -> None:
    write_json(tmp_path / "metrics.json", RunMetrics.read(PLAIN).plain())
    assert (tmp_path / "metrics.json").read_bytes() == WRITTEN.read_bytes()


def test_names_outside_utf_8_are_kept(tmp_path: Path) -> None:
    """As Python decodes the names of files: with lone surrogates."""
    dataset = {"skipped": ["caf\udce9: empty"], "ignored": {"class train/caf\udce9": 3}}
    write_json(tmp_path / "metrics.json", RunMetrics.read({"dataset": dataset}).plain())
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"dataset": dataset}


@pytest.mark.usefixtures("one_thread")
def test_a_run_writes_the_keys_in_the_order_of_the_file(tmp_path: Path) -> None:
    experiment, audit = made_up_experiment(tmp_path, config("rounds=1"))
    loop, reader = incremental_loop(experiment), here(experiment).reader
    plain = evaluate(experiment, audit, loop, {"seed_only": loop.seed_bank}, loop.seed_bank, reader).plain()
    assert plain["rounds"][-1]["head_on"] and plain["rounds"][-1]["admitted"], "else keys are rightly absent"
    later = ("baselines.full_train", "roc_auc_by_kind", "warnings", "dataset", "timing", "rounds.seconds")
    expected = [key for key in keys(PLAIN) if not key.startswith(later)]
    younger = (
        "operating_points",
        "arms.bank.",
        "arms.head.weight",
        "arms.head.reason",
        "head_weight",
        "conformal.aligned",
        "contamination.estimate",
        "contamination.fitted",
        "contamination.low",
    )  # than that file
    written = [key for key in keys(plain) if not any(name in key and key != "arms.bank.roc_auc" for name in younger)]
    assert list(dict.fromkeys(written)) == list(dict.fromkeys(expected))


def test_every_field_is_explained() -> None:
    tables = RunMetrics.model_json_schema()
    for name, table in {**tables["$defs"], "RunMetrics": tables}.items():
        assert table.get("description"), name
        # A field that is a table alone is explained by its description beside the reference.
        assert all(field.get("description", "").endswith(".") for field in table["properties"].values()), name


def test_absent_stays_absent() -> None:
    row = RoundMetrics(round=0, admitted=0, rejects_purity=None)
    assert row.plain() == {"round": 0, "admitted": 0}
    empty = RunMetrics.read({})
    assert empty.plain() == {} and not empty and not empty.incremental
    assert empty.incremental.conformal.rate_nominal is None and empty.rounds == [] and empty.baselines == {}
    assert empty.plain() == {}, "reading an absent table does not make it"
    empty.timing = Timing(total=2.0)
    assert empty.plain() == {"timing": {"total": 2.0}}


@pytest.mark.parametrize("unusable", [None, float("nan"), float("inf"), "0.9", True, [0.9], {"low": 0.1}])
def test_a_figure_that_is_none_is_absent(unusable: object) -> None:
    plain = {
        "incremental": {"roc_auc": unusable, "pr_auc": 0.5, "conformal": {"fp": unusable, "rate_interval": unusable}},
        "rounds": [{"round": 0, "seconds": unusable}],
    }
    found = RunMetrics.read(plain)
    assert found.plain() == {"incremental": {"pr_auc": 0.5, "conformal": {}}, "rounds": [{"round": 0}]}


def test_null_tables_and_entries_are_absent() -> None:
    plain = {"baselines": {"seed_only": None}, "arms": None, "totals": None, "shortcuts": {"grey": None, "border": 0.5}}
    found = RunMetrics.read(plain)
    assert found.plain() == {"baselines": {}, "shortcuts": {"border": 0.5}}
    assert found.arms == {} and found.totals.admitted is None


def test_a_newer_writer_is_read() -> None:
    """Its new keys are ignored, its controls, arms and shortcuts of other names are kept, its warnings become text."""
    plain = {
        "operating_points": {"at": [1]},
        "arms": {"another": {"roc_auc": 0.9, "new": 0.5}},
        "baselines": {"another": {"roc_auc": 0.8, "new": {}}},
        "warnings": ["plain", {"code": 7}],
    }
    assert RunMetrics.read(plain).plain() == {
        "baselines": {"another": {"roc_auc": 0.8}},
        "arms": {"another": {"roc_auc": 0.9}},
        "warnings": ["plain", '{"code": 7}'],
    }


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        ({"rounds": "text"}, "rounds is not a list"),
        ({"rounds": [{}, 3]}, "rounds.1 is not a table of figures"),
        ({"incremental": 3}, "incremental is not a table of figures"),
        ({"incremental": {"youden": [3]}}, "incremental.youden is not a table of figures"),
        ({"baselines": {"seed_only": "text"}}, "baselines.seed_only is not a table of figures"),
        ({"shortcuts": "text"}, "shortcuts is not a table of figures"),
        ({"shortcuts": {"grey": "text"}}, "shortcuts.grey is not a number"),
        ({"warnings": "text"}, "warnings is not a list"),
    ],
)
def test_a_damaged_table_is_one_line(plain: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        RunMetrics.read(plain)
    assert str(caught.value) == f"metrics.json: {said}; the file is damaged, run the experiment again"


@pytest.mark.parametrize(
    ("table", "fields"),
    [
        (ArmMetrics, {"roc_acu": 0.5}), (ArmMetrics, {"roc_auc": "0.5"}), (ArmMetrics, {"roc_auc": float("nan")}),
        (RoundMetrics, {"round": 1.5}), (RoundMetrics, {"round": True}), (RoundMetrics, {"relaxed": 1}),
        (ConformalDecisions, {"rate_interval": [0.1]}),
        (ConformalDecisions, {"rate_interval": [0.1, float("inf")]}), (RunMetrics, {"warnings": [{"code": 7}]}),
        (RunMetrics, {"shortcuts": {"grey": float("nan")}}), (RunMetrics, {"arms": {"bank": None}}),
    ],
)  # fmt: skip
def test_writing_is_strict(table: type[RunMetrics], fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        table(**fields)


def test_a_trials_figures_are_the_leaves_and_the_last_round() -> None:
    figures = flat_metrics(RunMetrics.read(PLAIN))
    assert figures["incremental.conformal.tn"] == PLAIN["incremental"]["conformal"]["tn"]
    assert figures["incremental.score_used"] == "head" and figures["totals.exhausted"] is False
    assert figures["last_round.round"] == len(PLAIN["rounds"]) - 1 and figures["warnings"] == 1
    row = RoundMetrics(round=1, head_on=True)
    assert flat_metrics(RunMetrics(rounds=[row])) == {"last_round.round": 1, "last_round.head_on": True}
