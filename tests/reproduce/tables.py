"""RESULTS.md taken apart, and its figures computed again from the trials' files, by other code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

Table = list[dict[str, str]]


def sections(text: str) -> dict[str, list[Table]]:
    """The tables below each heading, a dict a line; columns of one name get the name of the column before, primed."""
    found: dict[str, list[Table]] = {}
    for part in re.split(r"^#+ ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        tables = []
        for block in re.findall(r"(?:^\|.*\|$\n?)+", body, flags=re.MULTILINE):
            head, _, *lines = ([cell.strip() for cell in line.strip("| ").split(" | ")] for line in _padded(block))
            tables.append([dict(zip(head, line, strict=True)) for line in lines])
        found[title] = tables
    return found


def _padded(block: str) -> list[str]:
    return [line.replace("|  |", "| . |") for line in block.strip().splitlines()]


def number(cell: str) -> float:
    """The first figure of a cell."""
    return float(
        re.findall(r"[+-]?\d*\.?\d+", cell.replace("\N{MINUS SIGN}", "-").replace(",", "").replace("*", ""))[0]
    )


def numbers(cell: str) -> list[float]:
    text = cell.replace("\N{MINUS SIGN}", "-").replace("*", "")
    return [float(found) for found in re.findall(r"[+-]?\d*\.?\d+", re.sub(r"(\d),(\d)", r"\1\2", text))]


class Trials:
    """The trials of one point of a block's folder, by their random seeds."""

    def __init__(self, folder: Path, contamination: float | None) -> None:
        self.rows: list[dict[str, Any]] = []
        for path in sorted((folder / "trials").iterdir()):
            trial = json.loads((path / "trial.json").read_text())
            if trial["point"]["dataset.contamination"] == contamination:
                frame = pq.read_table(path / "scores.parquet").to_pandas()
                metrics = json.loads((path / "metrics.json").read_text())
                self.rows.append({"seed": trial["random_seed"], "frame": frame, "metrics": metrics})
        self.rows.sort(key=lambda row: row["seed"])

    def each(self, figure: Any) -> NDArray[np.float64]:
        """`figure(frame)` of every trial."""
        return np.array([figure(row["frame"]) for row in self.rows])

    def metrics(self, *keys: str) -> NDArray[np.float64]:
        out = []
        for row in self.rows:
            value: Any = row["metrics"]
            for key in keys:
                value = value[key]
            out.append(value)
        return np.array(out, dtype=float)

    def gap(self, method: str, other: Trials | None = None, draws: int = 4000) -> tuple[float, float, float]:
        """Mean difference of `incremental` (of `other`, where given) to `method`, and a naive bootstrap interval."""
        pairs = zip(other.rows if other else self.rows, self.rows, strict=True)
        scores = [(a["frame"]["incremental"].to_numpy(), b["frame"][method].to_numpy()) for a, b in pairs]
        label = self.rows[0]["frame"]["label"].to_numpy()
        generator, low, high = np.random.default_rng(5), np.flatnonzero(~label), np.flatnonzero(label)
        drawn = []
        for _ in range(draws):
            i = np.concatenate([generator.choice(low, len(low)), generator.choice(high, len(high))])
            split = generator.integers(len(scores), size=len(scores))
            drawn.append(np.mean([_auc(scores[r][0][i], scores[r][1][i], label[i]) for r in split]))
        mean = np.mean([_auc(a, b, label) for a, b in scores])
        return float(mean), *(float(x) for x in np.quantile(drawn, [0.025, 0.975]))


def _auc(a: Any, b: Any, label: Any) -> float:
    return float(roc_auc_score(label, a) - roc_auc_score(label, b))


def roc(method: str) -> Any:
    return lambda frame: roc_auc_score(frame["label"], frame[method])


def pr(method: str) -> Any:
    return lambda frame: average_precision_score(frame["label"], frame[method])


def youden(method: str, figure: str) -> Any:
    """Of the highest threshold that parts sensitivity and false-positive rate the most, by trying all."""

    def of(frame: Any) -> float:
        label, score = frame["label"].to_numpy(), frame[method].to_numpy()
        best: tuple[float, float] = (-2.0, 0.0)
        for threshold in np.unique(score):
            flagged = score >= threshold
            index = flagged[label].mean() - flagged[~label].mean()
            if index > best[0] - 1e-12:  # ties: the higher threshold
                best = (index, threshold)
        flagged = score >= best[1]
        tp, fp, fn = (flagged & label).sum(), (flagged & ~label).sum(), (~flagged & label).sum()
        return float(
            {
                "accuracy": (flagged == label).mean(), "precision": tp / (tp + fp), "recall": tp / (tp + fn),
                "F1": 2 * tp / (2 * tp + fp + fn), "false positives": fp,
            }[figure]
        )  # fmt: skip

    return of


def sensitivity_at(specificity: float) -> Any:
    def of(frame: Any) -> float:
        label, score = frame["label"].to_numpy(), frame["incremental"].to_numpy()
        fits = [t for t in np.unique(score) if (score[~label] >= t).mean() <= 1 - specificity + 1e-12]
        return max((float((score[label] >= t).mean()) for t in fits), default=0.0)

    return of


def set_aside_at(sensitivity: float) -> Any:
    def of(frame: Any) -> float:
        label, score = frame["label"].to_numpy(), frame["incremental"].to_numpy()
        fits = [t for t in np.unique(score) if (score[label] >= t).mean() >= sensitivity - 1e-12]
        return max(float((score[~label] < t).mean()) for t in fits)

    return of


def flagged(anomalies: bool) -> Any:
    return lambda frame: float((frame["p"][frame["label"] == anomalies] <= 0.05).mean())
