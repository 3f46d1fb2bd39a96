"""`swag-ray reproduce` on generated digits, with a real Ray: what it writes, how it goes on, what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.reproduce.inputs import AWAY, DIGITS, NEVER, WITHOUT, write_plan
from tests.reproduce.tables import (
    Trials,
    flagged,
    number,
    numbers,
    pr,
    roc,
    sections,
    sensitivity_at,
    set_aside_at,
    youden,
)
from tests.support.command_line import Command
from tests.support.processes import descendants, kill, wait_until_gone

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.timeout(900)]
POOLS = ((0.1, "10 %"), (None, "all"))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, local_ray: None, session_store: Path) -> Path:
    """A plan carried out."""
    folder = tmp_path_factory.mktemp("reproduce")
    (folder / "data").mkdir()
    write_plan(folder)
    code = reproduce(folder, session_store)
    assert code == 0
    return folder / "out"


def arguments(folder: Path, store: Path, *more: object) -> list[str]:
    return [str(part) for part in (
        "reproduce", "--plan", folder / "plan.yaml", "--data", folder / "data", "--out", folder / "out",
        "--store", store, *more,
    )]  # fmt: skip


def reproduce(folder: Path, store: Path) -> int:
    from swag_ray.cli.commands import app

    return app(arguments(folder, store, "--quiet"), standalone_mode=False) or 0


def test_every_figure_of_results_is_what_the_trials_files_give(out: Path) -> None:
    found = sections((out / "RESULTS.md").read_text(encoding="utf-8"))
    ranking, controls, decisions, operating = found["contrast"]
    for (contamination, _), line, shares, points, control in zip(
        POOLS, ranking, decisions, operating, controls, strict=False
    ):
        trials = Trials(out / DIGITS, contamination)
        assert line["splits"] == "2"
        for column, method in (("seed-only", "seed_only"), ("incremental", "incremental")):
            each = trials.each(roc(method))
            assert numbers(line[column]) == pytest.approx([each.mean(), each.std(ddof=1)], abs=6e-4)
        _same_gap(line["difference"], line["verdict"], trials.gap("seed_only"))
        held, wrong = (trials.metrics("totals", name).sum() for name in ("ever_admitted", "ever_admitted_anomalies"))
        assert numbers(line["admitted wrongly"]) == [wrong, held]
        assert number(shares["ROC-AUC"]) == pytest.approx(trials.each(roc("incremental")).mean(), abs=6e-4)
        assert number(shares["PR-AUC"]) == pytest.approx(trials.each(pr("incremental")).mean(), abs=6e-4)
        for name in ("accuracy", "precision", "recall", "F1", "false positives"):
            expected = trials.each(youden("incremental", name)).mean()
            assert number(shares[name]) == pytest.approx(expected, abs=0.06 if name == "false positives" else 6e-4), (
                name
            )
        _operating_points(points, trials)
        assert control["control"] == "full train"
        assert number(control["its ROC-AUC"]) == pytest.approx(trials.each(roc("full_train")).mean(), abs=6e-4)
        _same_gap(control["incremental minus it"], control["verdict"], trials.gap("full_train"))
    seed_only = decisions[2]
    assert number(seed_only["ROC-AUC"]) == pytest.approx(
        Trials(out / DIGITS, 0.1).each(roc("seed_only")).mean(), abs=6e-4
    )


def _same_gap(cell: str, verdict: str, expected: tuple[float, float, float]) -> None:
    mean, low, high = numbers(cell)
    assert mean == pytest.approx(expected[0], abs=6e-4)
    assert (low, high) == pytest.approx(expected[1:], abs=0.03), "another bootstrap, of other draws, on few images"
    assert verdict == ("beats" if low > 0 else "falls behind" if high < 0 else "no difference shown")


def _operating_points(line: dict[str, str], trials: Trials) -> None:
    expected = [sensitivity_at(0.9), sensitivity_at(0.95), set_aside_at(0.95), set_aside_at(0.99)]
    cells = list(line.values())[1:]
    assert [number(cell) for cell in cells[:4]] == pytest.approx([trials.each(f).mean() for f in expected], abs=6e-4)
    pool, raw, recall = (number(cell) for cell in cells[4:7])
    assert pool == pytest.approx(trials.metrics("incremental", "conformal", "rate_pool_normals").mean(), abs=6e-4)
    assert (raw, recall) == pytest.approx(
        (trials.each(flagged(False)).mean(), trials.each(flagged(True)).mean()), abs=6e-4
    )
    assert cells[7:] == ["-", "-"], "48 test images are too few to align by"


def test_a_part_stands_beside_the_whole_of_the_same_splits(out: Path) -> None:
    ((part,),) = sections((out / "RESULTS.md").read_text(encoding="utf-8"))["Parts"]
    with_it, without = Trials(out / DIGITS, None), Trials(out / WITHOUT, None)
    whole = number(part["the whole, same splits"])
    assert whole == pytest.approx(with_it.each(roc("incremental")).mean(), abs=6e-4)
    assert number(part["ROC-AUC"]) == pytest.approx(without.each(roc("incremental")).mean(), abs=6e-4)
    _same_gap(part["whole minus it"], part["the whole"], without.gap("incremental", with_it))


def test_what_is_not_run_says_why_and_the_clock_comes_last(out: Path) -> None:
    text = (out / "RESULTS.md").read_text(encoding="utf-8")
    found = sections(text)
    assert [list(line.values()) for line in found["Not run"][0]] == [
        [f"`{AWAY}`", "no folder away in --data"], [f"`{NEVER}`", "its weights cannot be had"],
    ]  # fmt: skip
    assert list(found)[-1] == "Seconds" and "Never; these digits were drawn for the test." in text
    assert [line["block"] for line in found["Seconds"][0]] == [f"`{DIGITS}`", f"`{WITHOUT}`"]
    assert str(out) not in text and "DIR" in text, "no folder of this machine"
    drawn = ElementTree.parse(out / "results.svg").getroot()
    words = " ".join(drawn.itertext())
    assert all(name in words for name in ("contrast", "seed-only bank", "the version before"))


def test_again_nothing_runs_and_every_byte_is_the_same(out: Path, session_store: Path) -> None:
    files = ("RESULTS.md", "results.json", "results.svg")
    before = [(out / name).read_bytes() for name in files]
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("trial.json")}
    assert len(stamps) == 6 and reproduce(out.parent, session_store) == 0
    assert [(out / name).read_bytes() for name in files] == before
    assert stamps == {path: path.stat().st_mtime_ns for path in out.rglob("trial.json")}
    plain = json.loads(before[1])
    assert [row["block"] for row in plain["rows"]] == [DIGITS, DIGITS, WITHOUT] and list(plain)[-1] == "seconds"


def test_trials_of_another_plan_are_refused_untouched(command: Command, out: Path, session_store: Path) -> None:
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    ended = command(*arguments(out.parent, session_store, "--seeds", "1"))
    assert f"'{out / DIGITS}' holds another sweep; choose another folder" in ended.complaint
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_list_shows_counts_and_an_estimate(command: Command, out: Path, session_store: Path, tmp_path: Path) -> None:
    listed = command(*arguments(out.parent, session_store, "--list"))
    assert listed.code == 0 and "0 trials left: nothing to do" in listed.out
    (tmp_path / "data").mkdir()
    write_plan(tmp_path)
    fresh = command(*arguments(tmp_path, session_store, "contrast", "--list"))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in fresh.out.splitlines() if "│" in line]
    assert rows[0] == [DIGITS, "4", "0", "4", ""] and rows[1][:4] == [AWAY, "2", "0", "0"]
    assert "4 trials left: about 1 min" in fresh.out and not (tmp_path / "out").exists()


def test_killed_it_goes_on_with_what_is_left(session_store: Path, tmp_path: Path, out: Path) -> None:
    """kill -9 once a trial has ended; the same command then gives the bytes of a call that nothing disturbed."""
    (tmp_path / "data").mkdir()
    write_plan(tmp_path)
    call = [sys.executable, "-m", "swag_ray.cli", *arguments(tmp_path, session_store)]
    first = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
    deadline = time.monotonic() + 200
    while not (ended := list(tmp_path.rglob("trial.json"))) and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ended and first.poll() is None, "it is at work on the other trials"
    children = descendants(first.pid)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    for child in children:
        kill(child)
    assert not wait_until_gone(list(children))
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("trial.json")}
    assert 0 < len(stamps) < 6
    assert reproduce(tmp_path, session_store) == 0
    assert stamps.items() <= {path: path.stat().st_mtime_ns for path in tmp_path.rglob("trial.json")}.items()
    mine, whole = ((folder / "RESULTS.md").read_text(encoding="utf-8") for folder in (tmp_path / "out", out))
    assert mine.partition("## Seconds")[0] == whole.partition("## Seconds")[0]
