"""Figures as text, as shares and as ticks."""

from __future__ import annotations

import numpy as np
import pytest

from swag_ray.report.page.figure import figure
from swag_ray.report.page.markup import decimal, element, p_value, percent, seconds, whole
from swag_ray.report.run.paper_figures import FIGURES
from swag_ray.report.run.plots import flagged_share


def test_flagged_share_counts_ties_as_flagged() -> None:
    share = flagged_share(np.array([0.05, 0.05, 0.2, 0.9]), np.array([0.0, 0.05, 0.5, 1.0]))
    assert share.tolist() == [0, 0.5, 0.75, 1]


@pytest.mark.parametrize(
    "text, expected",
    [
        (decimal(0.9996), ">0.999"),
        (decimal(1.0), "1.000"),
        (decimal(-0.0001, signed=True), "0.000"),
        (decimal(-0.012, signed=True), "\N{MINUS SIGN}0.012"),
        (decimal(float("nan")), None),
        (decimal(True), None),
        (decimal("0.5"), None),
        (percent(0.0), "0.0\u202f%"),
        (percent(0.0001), "0.01\u202f%"),
        (percent(None), None),
        (p_value(0.0), "<0.001"),
        (p_value(0.05), "0.050"),
        (p_value(0.0498), "0.0498"),
        (p_value(0.05003), "0.05003"),
        (p_value(0.0412), "0.041"),
        (whole(12345), "12,345"),
        (seconds(59.4), "59.4\u202fs"),
        (seconds(3725), "1\u202fh 02\u202fmin"),
        (element("p", "<b>", class_='"'), '<p class="&quot;">&lt;b&gt;</p>'),
    ],
)
def test_figures_as_text(text: str | None, expected: str | None) -> None:
    assert text == expected


@pytest.mark.parametrize("row", [row for rows in FIGURES.values() for row in rows], ids=lambda row: row.name)
def test_published_rows_agree_with_themselves(row: object) -> None:
    """F1 and the number of anomalies follow from precision, recall and false positives."""
    f1 = 2 * row.precision * row.recall / (row.precision + row.recall)  # type: ignore[attr-defined]
    assert f1 == pytest.approx(row.f1, abs=2e-4)  # type: ignore[attr-defined]
    found = row.fp * row.precision / (1 - row.precision)  # type: ignore[attr-defined]
    anomalies = found / row.recall  # type: ignore[attr-defined]
    correct = found + row.test_normals - row.fp  # type: ignore[attr-defined]
    assert correct / (anomalies + row.test_normals) == pytest.approx(row.accuracy, abs=2e-3)  # type: ignore[attr-defined]


def test_figures_near_one_are_ticked_as_they_are() -> None:
    with figure(2) as (drawing, (axis,)):
        axis.plot([0, 1], [0.99994, 0.99998])
        drawing.draw_without_rendering()
        labels = [label.get_text() for label in axis.get_yticklabels()]
    assert axis.yaxis.get_offset_text().get_text() == "" and all(label.startswith("0.9999") for label in labels[1:-1])
