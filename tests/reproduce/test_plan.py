"""The plan: the shipped one loads and claims what it should; faults are one line; estimates; wrong seeds as links."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from swag_ray.config.reproduce import Block, load_plan
from swag_ray.config.sections import DatasetConfig
from swag_ray.images.folders import list_folder
from swag_ray.reproduce.blocks import START, State, seconds_left
from swag_ray.reproduce.wrong_seeds import with_wrong_seeds
from tests.reproduce.inputs import AWAY, DIGITS, plan, write_plan
from tests.support.command_line import Command
from tests.support.images import small_set

PARTS = {"auxiliary", "rejects", "swag", "second_gate", "whitening", "soft_weights", "admission", "eap", "two_folds"}


def test_the_shipped_plan_is_what_the_readme_claims() -> None:
    shipped = {block.name: block for block in load_plan().blocks}
    chest = shipped["contrast/chest_xray"]
    assert chest.search["dataset.contamination"] == [0.0, 0.02, 0.05, 0.1, 0.3, None]
    assert chest.random_seeds == (0, 1, 2, 3, 4) and chest.count == 30
    assert {name.split("/")[1] for name in shipped if name.startswith("ablation/")} - {"no_folds"} == PARTS
    for name, block in shipped.items():
        if name.startswith("ablation/") and not block.not_run:
            assert block.against == chest.name and block.search == {"dataset.contamination": [0.05, None]}
            assert block.base == chest.base and set(block.random_seeds) <= set(chest.random_seeds)
    assert {name for name, block in shipped.items() if block.not_run} == {
        "ablation/no_folds", "paper/pneumonia", "paper/covid",
    }  # fmt: skip


def test_fewer_seeds_are_the_first() -> None:
    assert {len(block.random_seeds) for block in load_plan(seeds=1).blocks} == {1}
    assert load_plan(seeds=4).blocks[0].random_seeds == (0, 1, 2, 3)


def test_blocks_go_by_their_names_and_groups(tmp_path: Path) -> None:
    loaded = load_plan(write_plan(tmp_path))
    assert [block.name for block in loaded.chosen(["ablation", "contrast"])] == [DIGITS, AWAY, "ablation/rejects"]
    assert [block.name for block in loaded.chosen([AWAY])] == [AWAY]
    assert loaded.chosen([]) == loaded.blocks


def _changed(**fields: Any) -> dict[str, Any]:
    blocks = plan()["blocks"]
    return {"blocks": [blocks[0] | fields, *blocks[1:]]}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (_changed(nmae="x"), f"block {DIGITS}: nmae: unknown key; did you mean name?"),
        (_changed(name="contrast"), "must be GROUP/NAME of lower-case letters"),
        (_changed(name=AWAY), f"blocks: '{AWAY}' stands twice"),
        (_changed(name="other/digits"), "blocks: 'other/digits' is of no group; add groups.other"),
        (_changed(against="contrast/none"), "is against 'contrast/none', which is no block"),
        (_changed(wrong_seeds=0.1), "moves images of a folder (wrong_seeds) and names none (data)"),
        (_changed(search={"gate.bugdet": [1]}), f"block {DIGITS}: trial 0 ("),
        (_changed(search={"gate.budget": 1}), f"block {DIGITS}: search.gate.budget"),
        ({"figure": {"contrast/none": "x"}}, "figure: 'contrast/none' is no block"),
        ({"looked_at": ""}, "looked_at"),
    ],
)
def test_a_faulty_plan_is_one_line(command: Command, tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    path = write_plan(tmp_path, **changed)
    ended = command("reproduce", "--plan", path, "--data", tmp_path, "--out", tmp_path / "out")
    assert said in ended.complaint and str(path) in ended.complaint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["contrats"], "reproduce: 'contrats' is no block; one of contrast, contrast/digits"),
        (["--seeds", "0"], "--seeds: 0; give 1 or more"),
        (["--data", "nowhere"], "--data: 'nowhere' is no folder; give the one that holds chest_xray"),
        (["--data", "nowhere", "--list"], "--data: 'nowhere' is no folder"),
        (["--plan", "absent.yaml"], "absent.yaml: cannot read the config"),
    ],
)
def test_bad_arguments_are_one_line(command: Command, tmp_path: Path, arguments: list[str], said: str) -> None:
    given = ["reproduce", "--plan", write_plan(tmp_path), "--data", tmp_path, "--out", tmp_path / "out", *arguments]
    assert said in command(*given).complaint
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_refused_untouched(command: Command, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "RESULTS.md").write_text("mine")
    given = ("reproduce", "--plan", write_plan(tmp_path), "--data", tmp_path, "--out", tmp_path / "out")
    assert "holds something else ('RESULTS.md')" in command(*given).complaint
    assert [(p.name, p.read_text()) for p in (tmp_path / "out").iterdir()] == [("RESULTS.md", "mine")]


def test_the_estimate_goes_by_the_plan_then_by_the_trials() -> None:
    block = Block.model_validate(plan()["blocks"][0])  # 4 trials of 4 s
    other = block.model_copy(update={"name": "contrast/slow", "seconds": 40.0})
    new = [State(block, (), 0, None), State(other, (), 0, None)]
    assert seconds_left(new, cores=2) == 2 * START + (4 * 4 + 4 * 40) / 2
    half = [replace(new[0], seconds=(8.0, 8.0)), new[1]]  # this machine takes twice as long
    assert seconds_left(half, cores=1) == 2 * START + (2 * 8 + 4 * 80)
    done = [replace(new[0], seconds=(1.0,) * 4), replace(new[1], missing="no folder")]
    assert seconds_left(done) == 0


def test_wrong_seeds_are_moved_as_links_and_the_rest_stays(tmp_path: Path) -> None:
    root = small_set(tmp_path / "set", normals=10, anomalies=6)
    dataset = DatasetConfig(root=str(root), anomaly=("PNEUMONIA",))

    def files(folder: Path) -> dict[str, str]:
        table = list_folder(folder, normal="NORMAL", anomaly=["PNEUMONIA"], group=None).table
        return dict(zip(table["path"].to_pylist(), table["sha256"].to_pylist(), strict=True))

    made = with_wrong_seeds(dataset, 0.2, tmp_path / "made" / "wrong")
    before, after = files(root), files(made)
    moved = {path for path in after if path not in before}
    assert len(moved) == 2 and all(path.startswith("train/NORMAL/pneumonia") for path in moved)
    assert sorted(after.values()) == sorted(before.values()), "each image once, none new"
    assert {p: h for p, h in after.items() if p not in moved}.items() <= before.items()
    assert all(path.is_symlink() for path in made.rglob("*.jpeg")) and not list((tmp_path / "made").glob(".*"))
    again = with_wrong_seeds(dataset, 0.2, tmp_path / "again" / "wrong")
    assert files(again) == after, "the draw is the share's alone"
