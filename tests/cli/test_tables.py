"""What the tables of the command line say, and what they must not leave out unsaid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.command_line import Command
from tests.support.images import write


@pytest.fixture
def brain(tmp_path: Path) -> Path:
    """The layout of a brain tumour set: classes `no` and `yes`, 50 train normals of which 15 are seeds."""
    seed = 0
    for split, counts in (("train", {"no": 50, "yes": 38}), ("test", {"no": 4, "yes": 4})):
        for name, count in counts.items():
            for number in range(count):
                seed += 1
                write(tmp_path / "brain" / split / name / f"{name}{split}{number}.png", seed)
    return tmp_path / "brain"


def test_a_normal_class_of_any_name_can_be_named(command: Command, brain: Path) -> None:
    """The others are the anomalies; without the name it is asked for."""
    assert re.search(r"^dataset\.normal: .*\(no, yes\)", command("datasets", "check", brain).complaint)
    checked = command("datasets", "check", brain, "--normal", "no", "--json")
    assert checked.code == 0, checked.err
    assert '"class_name": "no", "kind": null, "label": false' in checked.out
    assert '"class_name": "yes", "kind": null, "label": true' in checked.out


def test_the_highest_contamination_that_is_told_is_accepted(command: Command, brain: Path) -> None:
    """38 anomalies beside 35 normals are 52.055 %: rounded up, the next config would be refused."""
    said = command("datasets", "check", brain, "--normal", "no", "--anomaly", "yes").out
    (share,) = re.findall(r"with ([\d.]+)% anomalies", said)
    assert float(share) <= 100 * 38 / 73 < float(share) + 0.1


@pytest.mark.parametrize(("broken", "left"), [(10, None), (13, "and 3 more")])
def test_unreadable_images_that_are_not_listed_are_counted(
    command: Command, brain: Path, broken: int, left: str | None
) -> None:
    for number in range(broken):
        (brain / "test" / "yes" / f"broken{number:02d}.png").write_bytes(b"")
    said = command("datasets", "check", brain, "--normal", "no", "--anomaly", "yes").out
    lines = [line for line in said.splitlines() if "unreadable:" in line]
    assert len([x for x in lines if "empty file" in x]) == 10
    assert [x for x in lines if "more" in x] == ([f"unreadable: {left}; --json lists all"] if left else [])


def test_every_kind_of_dataset_is_checked(command: Command, brain: Path, tmp_path: Path) -> None:
    """Two folders, a manifest, class folders without a split, and a config."""
    trusted, unknown = brain / "train" / "no", brain / "train" / "yes"
    said = command("datasets", "check", trusted, "--pool", unknown).out
    assert "50 seeds, a pool of 38 of which labels are unknown, 0 test images" in said
    assert re.search(r"seed .* normal .* 50 ", said) and re.search(r"pool .* unknown .* 38 ", said)
    manifest = tmp_path / "films.csv"
    rows = [f"{file},{role}" for folder, role in ((trusted, "seed"), (unknown, "pool")) for file in folder.iterdir()]
    manifest.write_text("\n".join(["path,role", *rows]))
    assert "50 seeds, a pool of 38 of which" in command("datasets", "check", manifest).out
    said = command("datasets", "check", brain / "train", "--normal", "no", "--test-fraction", ".2").out
    assert "18 images were drawn" in said and re.search(r"test .* no .* 10 ", said)
    config = tmp_path / "mine.yaml"
    dataset = {"kind": "unlabelled", "seed_root": str(trusted), "pool_root": str(unknown)}
    config.write_text(f"name: mine\nstore: {tmp_path / 'store'}\ndataset: {dataset}\nsplit: {{folds: 4}}\n")
    assert "50 seeds, a pool of 38 of which" in command("datasets", "check", config).out
    assert "under 3; give more seeds" in command("datasets", "check", config, "--set", "split.folds=20").out
    for arguments, refusal in (
        ((config, "--pool", unknown), r"^datasets check: --pool is not read beside a config; use --set"),
        ((brain, "--set", "rounds=2"), r"^datasets check: --set changes a CONFIG"),
        ((trusted, "--pool", unknown, "--test-fraction", ".2"), r"^datasets check: --test-fraction needs labels"),
    ):
        assert re.search(refusal, command("datasets", "check", *arguments).complaint)
