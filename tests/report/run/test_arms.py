"""What the score is made of: arms, their weights and why, and the examples of auxiliary anomalies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swag_ray.errors import InputError
from swag_ray.report.run.arms import KINDS
from swag_ray.report.run.page import write_report
from tests.report.run.fixture import change_metrics, metrics, page

CHANCES = "held-out variants rank above seeds with chance 0.71 by the bank, 0.98 by the head"


def rows(run: Path) -> list[list[str]]:
    """The cells of the table of arms."""
    markup = write_report(run).read_text(encoding="utf-8")
    start = markup.index("What the score is made of")
    body = markup[markup.index("<tbody>", start) : markup.index("</tbody>", start)]
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in body.split("</tr>")[:-1]]


def test_every_arm_has_its_weight_its_rank_and_its_reason(run: Path) -> None:
    found = rows(run)
    own = metrics(run)["arms"]["fused"]["roc_auc"]
    assert [row[:3] for row in found] == [
        ["Memory bank", "0.071", "0.893"], ["Auxiliary head", "0.043", "0.861"], ["Head of rejects", "0.900", "0.957"],
        ["Fused score", "", f"{own:.3f}"],
    ]  # fmt: skip
    assert found[1][3] == CHANCES and "324.9 certain ones" in found[2][3]
    assert "always counts" in found[0][3] and found[3][3] == "the sum of the arms"


def test_arms_stand_in_their_own_order_and_unknown_ones_last(run: Path) -> None:
    found = metrics(run)["arms"]
    change_metrics(run, arms={"another": {"roc_auc": 0.7, "weight": 0.1}} | dict(reversed(found.items())))
    assert [row[0] for row in rows(run)] == ["Memory bank", "Auxiliary head", "Head of rejects", "Fused score",
                                             "another"]  # fmt: skip


@pytest.mark.parametrize(
    ("rejects", "said"), [(0, "no pool image is likely abnormal"), (3, "too little to learn from")]
)
def test_a_head_that_was_not_fitted_has_a_row_that_says_why(run: Path, rejects: int, said: str) -> None:
    found, loop = metrics(run)["arms"], metrics(run)["rounds"]
    del found["head"]
    loop[-1]["rejects"] = rejects
    change_metrics(run, arms=found, rounds=loop)
    (head,) = (row for row in rows(run) if row[0] == "Head of rejects")
    assert head[1:3] == ["0.000", ""] and said in head[3]


def test_without_variants_the_auxiliary_head_says_so(run: Path) -> None:
    found = metrics(run)["arms"]
    del found["auxiliary"]
    change_metrics(run, arms=found)
    assert "auxiliary.kind is empty" in rows(run)[1][3]


def test_method_published_has_the_bank_alone(run: Path) -> None:
    change_metrics(run, arms={"bank": {"roc_auc": 0.88}})
    change(run, without="variant.")
    assert rows(run) == [["Memory bank", "0.880"]]
    assert "auxiliary" not in page(run).text.lower() and "sum of arms" not in page(run).text


def change(run: Path, without: str = "nothing", **arrays: Any) -> None:
    """Writes overlays.npz with other arrays; `__` stands for the dot in a name."""
    path = run / "plots" / "overlays.npz"
    with np.load(path) as file:
        held = {name: file[name] for name in file.files if not name.startswith(without)}
    np.savez(path, **(held | {name.replace("__", "."): array for name, array in arrays.items()}))


def test_hosts_stand_beside_their_variants_kind_by_kind(run: Path) -> None:
    markup = write_report(run).read_text(encoding="utf-8")
    start, end = markup.index("<h3>Auxiliary anomalies"), markup.index("<h2>Rounds")
    said = [re.sub("<[^>]*>", "", text) for text in re.findall(r"<p>(.*?)</p>", markup[start:end])]
    assert said[1:] == [KINDS["foreign_patch"], KINDS["opacities"]]
    pictures = re.findall(r'src="([^"]*)" alt="(trusted image|variant) of (seed\d+)', markup[start:end])
    assert [(what, name) for _, what, name in pictures] == [
        (what, name) for name in ("seed0000", "seed0001") * 2 for what in ("trusted image", "variant")
    ]
    hosts, variants = pictures[::2], pictures[1::2]
    assert all(host[0] != altered[0] for host, altered in zip(hosts, variants, strict=True))
    assert hosts[0][0] == hosts[2][0] and hosts[0][0] != hosts[1][0]


def test_a_kind_without_words_goes_by_its_name(run: Path) -> None:
    change(run, variant__kind=np.array(["vanishing"] * 4))
    assert "vanishing" in page(run).text


def test_every_kind_that_can_be_made_has_words() -> None:
    from swag_ray.core.auxiliary import KINDS as MADE

    assert set(KINDS) == set(MADE)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"variant__kind": np.array(["opacities"])}, "kind: not one entry"),
     ({"variant__host": np.zeros((4, 8), np.uint8)}, "host: wrong shape"),
     ({"seed__image": np.zeros((2, 8, 8), np.uint8)}, "image: not one entry"),
     ({"seed__distance": np.zeros(8, np.float32)}, "distance: wrong shape")],
)  # fmt: skip
def test_pictures_of_another_shape_are_refused(run: Path, wrong: dict[str, Any], said: str) -> None:
    change(run, **wrong)
    with pytest.raises(InputError, match=rf"overlays\.npz.*{said}"):
        write_report(run)
