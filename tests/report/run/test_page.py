"""The page from a run directory: what it says, what it leaves out, and what it refuses."""

from __future__ import annotations

import html
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from swag_ray.errors import InputError
from swag_ray.report.run.page import write_report
from swag_ray.report.run.plots import precision_recall, roc
from swag_ray.report.run.read import read_run
from tests.report.run.fixture import as_published, change_metrics, configure, metrics, page, write_json, write_run
from tests.support.html import Page


def test_every_part_stands_in_order(drawn_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_published(drawn_run, monkeypatch, "pneumonia")
    text = page(drawn_run).text
    found = metrics(drawn_run)
    parts = [
        "beats its seed-only bank", "Warnings", "fold 3 holds 19 seeds", "Summary", "Incremental (this run)",
        "Published, 5 rounds (later report)", "Threshold picked on test labels", "Operating points", "Curves",
        "Confusion matrices", "What the score is made of", "Auxiliary anomalies", "Rounds", "Calibration",
        "Highest-scored", "Lowest-scored", "Trusted images least like the others", "By kind of anomaly", "Shortcuts",
        "How it was run", "Limits", "not a medical device",
    ]  # fmt: skip
    places = [text.find(part) for part in parts[:-1]]
    assert -1 not in places and places == sorted(places), dict(zip(parts, places, strict=False))
    assert text.count(parts[-1]) >= 2
    for value in (found["incremental"]["roc_auc"], found["baselines"]["oracle_gate"]["pr_auc"], 0.896, 0.657):
        assert f"{value:.3f}" in text
    assert f"{found['incremental']['conformal']['fp']}" in text
    assert "9be1c77702d4" in text and "2.14.0" in text, "stage keys and versions"


def test_one_file_that_loads_nothing(drawn_run: Path) -> None:
    markup = write_report(drawn_run).read_text(encoding="utf-8")
    parsed = Page(markup)
    assert parsed.open == [], "every element is closed"
    assert all(a.startswith("data:image/jpeg;base64,") or a.startswith("#") for a in parsed.addresses)
    assert {"script", "link", "iframe", "object"}.isdisjoint(parsed.tags)
    assert "http" not in markup and "@import" not in markup
    assert len(parsed.ids) == len(set(parsed.ids)), "ids of inlined plots must not clash"
    assert {a[1:] for a in parsed.addresses if a[0] == "#"} <= set(parsed.ids)
    assert set(re.findall(r"url\(([^)]*)\)", markup)) <= {f"#{name}" for name in parsed.ids}
    assert parsed.tags.count("svg") == 6


def test_plots_are_saved_as_files(drawn_run: Path) -> None:
    for name in ("roc", "pr", "histogram", "test_scores", "calibration", "rounds"):
        (drawn_run / "plots" / f"{name}.svg").unlink()
    write_report(drawn_run)
    for name in ("roc", "pr", "histogram", "test_scores", "calibration", "rounds"):
        text = (drawn_run / "plots" / f"{name}.svg").read_text(encoding="utf-8")
        assert text.startswith("<?xml") and "var(--" not in text and "nan" not in text.lower()


def test_same_directory_same_bytes(drawn_run: Path) -> None:
    first = write_report(drawn_run).read_bytes()
    plot = (drawn_run / "plots" / "roc.svg").read_bytes()
    assert write_report(drawn_run).read_bytes() == first
    assert (drawn_run / "plots" / "roc.svg").read_bytes() == plot
    assert not [path for path in drawn_run.rglob("*.tmp")]


@pytest.mark.parametrize(
    "low, high, gain, said, unsaid",
    [
        (0.02, 0.06, 0.04, "beats its seed-only bank on the test set by 0.040 on this split", "no difference"),
        (-0.01, 0.03, 0.01, "shows no difference to its seed-only bank on this split", "beats"),
        (0.0, 0.03, 0.01, "shows no difference", "beats"),
        (-0.05, -0.01, -0.03, "falls behind its seed-only bank on the test set by 0.030 on this split", "beats"),
    ],
)
def test_beats_is_said_only_where_the_interval_excludes_zero(
    run: Path, low: float, high: float, gain: float, said: str, unsaid: str
) -> None:
    change_metrics(run, delta_vs_seed_only={"roc_auc": gain, "low": low, "high": high})
    text = page(run).text
    assert said in text and unsaid not in text


@pytest.mark.parametrize(
    ("gain", "said", "unsaid"),
    [
        ({"roc_auc": 0.012, "low": 0.003, "high": 0.021}, "by +0.012 (95 % interval +0.003 to +0.021).", "from zero"),
        (
            {"roc_auc": -0.015, "low": -0.022, "high": -0.007},
            "by -0.015 (95 % interval -0.022 to -0.007).",
            "from zero",
        ),
        ({"roc_auc": 0.004, "low": -0.003, "high": 0.011}, "which this test set cannot tell from zero", "no score"),
        ({"roc_auc": 0.0, "low": 0.0, "high": 0.0, "same_scores": True}, "Admission changed no score", "ROC-AUC by"),
        ({}, "Pool images held at the end", "dmission changed"),
    ],
)
def test_what_admission_added_is_a_sentence(run: Path, gain: dict[str, Any], said: str, unsaid: str) -> None:
    change_metrics(run, delta_vs_no_admission=gain)
    rounds = page(run).text.partition("Pool images held at the end")
    text = "".join(rounds[1:])[:900].replace("\N{MINUS SIGN}", "-").replace("\N{NO-BREAK SPACE}", " ")
    assert said in text and unsaid not in text


def test_a_score_of_the_seed_bank_alone_is_told(run: Path) -> None:
    assert "The incremental figures are those of the fused score." in page(run).text
    change_metrics(run, incremental=metrics(run)["incremental"] | {"score_used": "seed_bank"})
    text = page(run).text
    assert text.count("no other arm has a weight") == 2, "verdict and summary"
    assert "beats" not in text


def test_the_table_of_rounds_holds_the_weight_of_the_head(run: Path) -> None:
    rows = metrics(run)["rounds"]
    rows[1] |= {"head_on": True, "head_weight": 0.8765}
    rows[2] |= {"head_on": False, "head_weight": 0.0}
    del rows[3]["head_weight"]  # of an older run
    change_metrics(run, rounds=rows)
    cells = re.findall(r"<tr[^>]*><th[^>]*>(\d)</th>(.*?)</tr>", write_report(run).read_text(encoding="utf-8"))
    heads = {number: re.findall(r"<td[^>]*>(.*?)</td>", row)[2] for number, row in cells}
    assert [heads[n] for n in "01234"] == ["off", "0.88", "off", "on", "0.90"]
    assert "Rejects: pool images that a round's scores make likely abnormal" in page(run).text
    change_metrics(run, rounds=[{k: v for k, v in row.items() if not k.startswith(("head", "reject"))} for row in rows])
    assert "Rejects: pool images" not in page(run).text, "method published picks none"


def test_operating_points_stand_with_their_intervals_and_their_caveat(run: Path) -> None:
    point = {"value": 0.8125, "low": 0.7611, "high": 0.8639}
    own = metrics(run)["incremental"] | {"operating_points": {"normals_set_aside_at_sensitivity_99": point}}
    baselines = {name: figures | {"operating_points": {}} for name, figures in metrics(run)["baselines"].items()}
    change_metrics(run, incremental=own, baselines=baselines)
    text = page(run).text
    assert "Normals set aside at" in text and "81.2 % (76.1 % to 86.4 %)" in text
    assert "picked on the test labels too" in text
    assert "Anomalies found at" not in text, "a column without a figure"
    change_metrics(run, incremental=own | {"operating_points": {}})
    assert "Operating points" not in page(run).text


@pytest.mark.parametrize(
    "admitted, wrong, said",
    [
        (700, 1, "1 of the 700 pool images admitted was an anomaly (0.14"),
        (700, 3, "3 of the 700 pool images admitted were anomalies"),
        (700, 0, "none of the 700 pool images admitted was an anomaly"),
        (700, None, "700 pool images were admitted, how many of them anomalies is not known"),
        (1, 1, "the one pool image admitted was an anomaly"),
        (0, 0, "no pool image was admitted"),
    ],
)
def test_what_was_admitted_wrongly(run: Path, admitted: int, wrong: int | None, said: str) -> None:
    totals = {"ever_admitted": admitted} | ({} if wrong is None else {"ever_admitted_anomalies": wrong})
    change_metrics(run, totals=totals)
    assert said in page(run).text


SECTIONS = {
    "baselines": "Seed only", "roc_auc_by_kind": "By kind of anomaly", "shortcuts": "Shortcuts",
    "arms": "Head of rejects", "contamination": "Share of anomalies in the pool", "timing": "4\u202fmin 05",
    "totals": "Pool images held", "localisation": "Where heatmaps point",
}  # fmt: skip


@pytest.mark.parametrize("key", SECTIONS)
def test_an_absent_key_leaves_no_trace(run: Path, key: str) -> None:
    assert " ".join(SECTIONS[key].split()) in page(run).text
    change_metrics(run, **{key: ...})
    text = page(run).text
    assert SECTIONS[key] not in text
    assert_no_stand_ins(text)


def assert_no_stand_ins(text: str) -> None:
    assert not re.search(r"\b(None|NaN|nan|null|inf|NaT|undefined|Ellipsis)\b", text)


def test_null_and_nan_figures_are_absent_too(drawn_run: Path) -> None:
    damaged = metrics(drawn_run)
    damaged["incremental"]["pr_auc"] = None
    damaged["incremental"]["conformal"] |= {"fp": None, "rate_test_normals": float("nan"), "rate_interval": None}
    damaged["rounds"][0] |= {"roc_auc": None, "admitted": float("nan")}
    damaged["arms"]["bank"] = None
    write_json(drawn_run / "metrics.json", damaged)
    assert_no_stand_ins(page(drawn_run).text)


def test_only_a_name_is_enough(drawn_run: Path) -> None:
    """Nothing measured at all still gives a page."""
    write_json(drawn_run / "metrics.json", {})
    write_json(drawn_run / "manifest.json", {})
    (drawn_run / "config.yaml").write_text("name: bare\n", encoding="utf-8")
    (drawn_run / "scores.parquet").unlink()
    text = page(drawn_run).text
    assert "bare" in text and "No ranking of a labelled test set is known." in text and "Summary" not in text
    assert_no_stand_ins(text)


def test_without_any_label(tmp_path: Path) -> None:
    parsed = page(write_run(tmp_path / "run", labels=False, published=None))
    for word in ("Summary", "Curves", "Confusion", "purity", "Published", "Shortcuts", "anomaly (", "false alarm"):
        assert word not in parsed.text, word
    assert "how many of them anomalies is not known" in parsed.text
    assert "No label is known" in parsed.text and "Highest-scored" in parsed.text
    assert_no_stand_ins(parsed.text)


def test_columns_that_are_absent_or_null(drawn_run: Path) -> None:
    rounds = pq.read_table(drawn_run / "rounds.parquet")
    pq.write_table(rounds.drop_columns(["u", "z_u", "rejected", "candidate", "p"]), drawn_run / "rounds.parquet")
    scores = pq.read_table(drawn_run / "scores.parquet")
    scores = scores.drop_columns(["kind", "supervised", "oracle_gate"])
    pq.write_table(
        scores.set_column(scores.column_names.index("p"), "p", pa.nulls(len(scores))), drawn_run / "scores.parquet"
    )
    assert_no_stand_ins(page(drawn_run).text)


def test_a_curve_without_admission_is_drawn_where_it_is_another(drawn_run: Path) -> None:
    """On the run's own scores it would hide the run's own curve."""
    path = drawn_run / "scores.parquet"
    scores = pq.read_table(path)
    for name, wanted in (("no_admission", True), ("incremental", False)):
        column = scores.column_names.index("no_admission")
        pq.write_table(scores.set_column(column, "no_admission", scores[name]), path)
        for draw in (roc, precision_recall):
            plot = draw(read_run(drawn_run))
            assert plot is not None and ("nobody admitted" in plot.plot().svg) is wanted
        assert "Nobody admitted" in page(drawn_run).text, "the tables have it in any case"


def test_no_image_where_images_are_off(run: Path) -> None:
    configure(run, images=False)
    parsed = page(run)
    for told in ("Highest-scored", "Auxiliary anomalies", "Maps by the models"):
        assert told not in parsed.text, told
    assert "img" not in parsed.tags and "Trusted images least like the others" in parsed.text, "as a table"
    assert not (run / "plots" / "overlays.npz").exists(), "the pictures of an earlier page are gone from the folder too"
    configure(run, images=True)
    assert "img" not in page(run).tags


def test_maps_are_left_out_where_no_head_has_a_weight(run: Path) -> None:
    path = run / "plots" / "overlays.npz"
    with np.load(path) as held:
        arrays = {name: held[name] for name in held.files if not name.endswith("evidence")}
    mapped, pairs = len(arrays["id"]) + len(arrays["seed.id"]), len(arrays["variant.id"])
    assert page(run).tags.count("img") == 3 * mapped + 2 * pairs
    np.savez(path, **arrays)
    parsed = page(run)
    assert parsed.tags.count("img") == 2 * mapped + 2 * pairs and "Evidence map" not in parsed.text


@pytest.mark.parametrize(("seeds", "said"), [(18, True), (19, False)])
def test_seeds_that_can_flag_nothing_are_told_where_the_zeros_stand(run: Path, seeds: int, said: bool) -> None:
    change_metrics(run, dataset={"split": {"seed": seeds}})
    text = " ".join(page(run).text.split())
    assert ("With so few seeds nothing can be flagged" in text) == said
    assert ("The threshold is set so that 5.0" in text) == (not said)


def test_a_shortcut_as_good_as_the_method_is_a_warning(run: Path) -> None:
    assert "alone ranks the test set" not in page(run).text
    change_metrics(run, shortcuts={"grey": metrics(run)["incremental"]["roc_auc"] - 0.005})
    assert "Grey-level statistics alone ranks the test set" in page(run).text


def test_a_false_positive_rate_beyond_chance_is_a_warning(run: Path) -> None:
    configure(run, published=None)
    own = metrics(run)["incremental"]
    own["conformal"] |= {"rate_test_normals": 0.19, "rate_interval": [0.02, 0.09]}
    change_metrics(run, incremental=own, warnings=...)
    assert "promises to flag 5.0 % of normals and flags 19.0 %" in page(run).text.replace("\u202f", " ")
    own["conformal"] |= {"rate_test_normals": 0.0904}
    change_metrics(run, incremental=own)
    told = page(run).text.replace("\u202f", " ")
    assert "flags 9.04 % of the test set's (chance allows 2.0 % to 9.00 %)" in told
    own["conformal"] |= {"rate_test_normals": 0.06}
    change_metrics(run, incremental=own)
    assert "Nothing to warn of." in page(run).text


def test_text_from_files_is_escaped(run: Path) -> None:
    evil = "<script>alert('x')</script>&\""
    baselines = metrics(run)["baselines"] | {evil: {"roc_auc": 0.7}}
    change_metrics(run, warnings=[evil], baselines=baselines)
    change_metrics(run, arms={evil: {"roc_auc": 0.8}, "fused": {"roc_auc": 0.8, "reason": evil}})
    change_metrics(run, roc_auc_by_kind={evil: 0.9}, shortcuts={evil: 0.7})
    write_json(run / "manifest.json", {evil: {evil: [evil]}})
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    config |= {"name": evil, "method": evil, evil: evil}
    config["dataset"]["root"] = evil
    (run / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    scores = pq.read_table(run / "scores.parquet")
    kinds = pc.if_else(pc.is_valid(scores["kind"]), evil, scores["kind"])
    pq.write_table(scores.set_column(scores.column_names.index("kind"), "kind", kinds), run / "scores.parquet")
    with np.load(run / "plots" / "overlays.npz") as held:
        arrays = {name: held[name] for name in held.files}
    names = {name: np.array([evil] * len(array)) for name, array in arrays.items() if array.dtype.kind == "U"}
    assert set(names) == {"id", "seed.id", "variant.id", "variant.kind"}
    np.savez(run / "plots" / "overlays.npz", **(arrays | names))
    seeds = pq.read_table(run / "seeds.parquet")
    told = pa.array([evil] * len(seeds))
    pq.write_table(seeds.set_column(0, "id", told).set_column(1, "path", told), run / "seeds.parquet")
    parsed = page(run)
    assert "script" not in parsed.tags
    assert parsed.text.count(evil) > 40
    assert html.escape(evil) in write_report(run).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["metrics.json", "manifest.json", "config.yaml", "rounds.parquet", "scores.parquet"])
@pytest.mark.parametrize("content", [None, b"", b"{not json: [", b"\xff\x00\xfe", b"[1, 2]"])
def test_a_missing_or_damaged_file_is_one_line(run: Path, name: str, content: bytes | None) -> None:
    before = (run / "report.html").read_bytes()
    if content is None:
        (run / name).unlink()
    else:
        (run / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(name)) as caught:
        write_report(run)
    assert "\n" not in str(caught.value)
    assert (run / "report.html").read_bytes() == before, "the last good page stands"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"not an archive"])
def test_damaged_overlays(run: Path, content: bytes) -> None:
    (run / "plots" / "overlays.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"overlays\.npz"):
        write_report(run)


@pytest.mark.parametrize("name", ["id", "seed.id", "variant.kind"])
def test_overlays_never_unpickle(run: Path, name: str) -> None:
    with np.load(run / "plots" / "overlays.npz") as held:
        arrays = {name: held[name] for name in held.files}
    np.savez(run / "plots" / "overlays.npz", **(arrays | {name: arrays[name].astype(object)}))
    with pytest.raises(InputError, match=r"overlays\.npz"):
        write_report(run)


@pytest.mark.parametrize("key", ["incremental", "baselines", "rounds", "shortcuts", "totals", "arms"])
def test_a_key_of_the_wrong_shape_is_named(run: Path, key: str) -> None:
    change_metrics(run, **{key: "text"})
    with pytest.raises(InputError, match=key):
        write_report(run)


def test_a_missing_column_is_named(run: Path) -> None:
    pq.write_table(pq.read_table(run / "rounds.parquet").drop_columns(["z_s"]), run / "rounds.parquet")
    with pytest.raises(InputError, match=r"rounds\.parquet.*z_s"):
        write_report(run)


def test_no_such_folder_and_unknown_published(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        write_report(tmp_path / "nowhere")
    configure(run, published="dermatology")
    with pytest.raises(InputError, match=r"report\.published"):
        write_report(run)


def test_a_disk_that_refuses_leaves_the_old_page(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (run / "report.html").read_bytes()

    def full(self: Path, data: bytes) -> int:
        with open(self, "wb") as stream:
            stream.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="No space left"):
        write_report(run)
    assert (run / "report.html").read_bytes() == before
    assert not [name for name in os.listdir(run) if name.endswith(".tmp")]
