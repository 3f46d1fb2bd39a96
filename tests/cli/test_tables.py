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
