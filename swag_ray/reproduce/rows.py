"""The figures of a plan, out of the folders of its blocks: a row for each point, means and spreads over its splits.

Shapes: R splits, T labelled test images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from swag_ray.config.reproduce import Block
from swag_ray.core import metrics
from swag_ray.core.seeding import numpy_generator
from swag_ray.errors import InputError
from swag_ray.record.files import SCORES_FILE, TRIAL_FILE, TRIALS_FOLDER
from swag_ray.report.run.paper_figures import TestSet

NOT_SCORES = ("id", "path", "label", "kind", "p")  # of scores.parquet
OWN, SEED_ONLY, WHOLE = "incremental", "seed_only", "whole"


@dataclass(frozen=True)
class TrialRecord:
    """What an ended trial left.

    Attributes:
        random_seed, point: which it is.
        figures: of its metrics.json, under dotted names.
        seconds: that it took.
        label: (T,), of the labelled test images in the order of their ids.
        scores: method -> (T,).
    """

    random_seed: int
    point: dict[str, Any]
    figures: dict[str, Any]
    seconds: float
    ids: tuple[str, ...]
    label: NDArray[np.bool_]
    scores: dict[str, NDArray[np.float64]]

    @classmethod
    def read(cls, folder: Path) -> TrialRecord:
        row = json.loads((folder / TRIAL_FILE).read_text(encoding="utf-8"))
        path = folder / SCORES_FILE
        if not path.is_file():
            raise InputError(f"'{folder}' holds no {SCORES_FILE}", "it is no trial of reproduce: choose another --out")
        table = pq.read_table(path)
        table = table.filter(table["label"].is_valid()).sort_by("id")
        columns = {
            name: table[name].to_numpy().astype(np.float64) for name in table.column_names if name not in NOT_SCORES
        }
        return cls(
            int(row["random_seed"]), row["point"], row["figures"], float(row["seconds"] or 0),
            tuple(table["id"].to_pylist()), np.asarray(table["label"].to_pylist(), dtype=np.bool_), columns,
        )  # fmt: skip


@dataclass(frozen=True)
class Mean:
    """Over splits: the mean, and the standard deviation between them (None for one split)."""

    mean: float
    sd: float | None

    @classmethod
    def of(cls, values: list[float]) -> Mean:
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)


@dataclass(frozen=True)
class Gap:
    """Mean difference of two ROC-AUCs, with a 95 % interval that resamples splits and test images."""

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        if self.low > 0:
            return "beats"
        return "falls behind" if self.high < 0 else "no difference shown"


@dataclass(frozen=True)
class Row:
    """One point of a block.

    Attributes:
        block, point: which.
        label: the point in words.
        random_seeds: of the splits that are through.
        test: the labelled test images.
        figures: dotted name of metrics.json -> mean over the splits, of those that every split has.
        totals: the same summed.
        gaps: method -> own ROC-AUC minus that method's; `whole`: the whole method's minus this one's.
        seconds: of each trial.
    """

    block: Block
    point: dict[str, Any]
    label: str
    random_seeds: tuple[int, ...]
    test: TestSet
    figures: dict[str, Mean]
    totals: dict[str, float]
    gaps: dict[str, Gap]
    seconds: tuple[float, ...] = field(default=())

    def mean(self, name: str) -> float | None:
        found = self.figures.get(name)
        return None if found is None else found.mean

    @property
    def heads_on(self) -> int | None:
        """Splits in which the head of rejects has a weight; None for a method that has none."""
        on = self.totals.get("heads_on")
        return None if on is None else int(on)

    def plain(self) -> dict[str, Any]:
        """Plain JSON types, six decimals: below, processors differ."""
        return {
            "block": self.block.name, "point": self.point, "label": self.label, "random_seeds": list(self.random_seeds),
            "figures": {n: {"mean": round(m.mean, 6), "sd": _rounded(m.sd)} for n, m in sorted(self.figures.items())},
            "differences": {
                n: {"roc_auc": round(g.mean, 6), "low": round(g.low, 6), "high": round(g.high, 6), "verdict": g.verdict}
                for n, g in sorted(self.gaps.items())
            },
        }  # fmt: skip


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def read_trials(folder: Path) -> list[TrialRecord]:
    """The trials of a block's folder that are done, by their numbers."""
    found = []
    for path in sorted((folder / TRIALS_FOLDER).glob(f"*/{TRIAL_FILE}")):
        if json.loads(path.read_text(encoding="utf-8"))["status"] == "done":
            found.append(TrialRecord.read(path.parent))
    return found


def rows_of(block: Block, trials: list[TrialRecord], whole: list[TrialRecord]) -> Iterator[Row]:
    """A block's rows, in the order of its points.

    Args:
        trials: its own.
        whole: of the block that it is `against`.
    """
    points: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        if trial.random_seed in block.random_seeds:
            points.setdefault(_key(trial.point), []).append(trial)
    for key in map(_key, _points(block)):
        if key in points:
            own = sorted(points[key], key=lambda trial: trial.random_seed)
            yield _row(block, own, [trial for trial in whole if _key(trial.point) == key])


def _row(block: Block, trials: list[TrialRecord], whole: list[TrialRecord]) -> Row:
    point, label = trials[0].point, trials[0].label
    if any(trial.ids != trials[0].ids for trial in trials):
        raise InputError(f"block {block.name}: its trials were judged on other test images", "choose another --out")
    shared = [name for name in trials[0].figures if all(_is_number(t.figures.get(name)) for t in trials)]
    figures = {name: Mean.of([float(t.figures[name]) for t in trials]) for name in shared}
    totals = {name: float(sum(t.figures[name] for t in trials)) for name in shared if name.startswith("totals.")}
    if "last_round.head_on" in trials[0].figures:
        totals["heads_on"] = float(sum((t.figures.get("arms.head.weight") or 0) > 0 for t in trials))
    gaps = {
        name: _gap(block, point, name, label, [t.scores[OWN] for t in trials], [t.scores[name] for t in trials])
        for name in trials[0].scores
        if name != OWN and all(name in t.scores for t in trials)  # a control may be absent where labels do not allow it
    }
    by_seed = {trial.random_seed: trial for trial in whole}
    pairs = [(by_seed[t.random_seed], t) for t in trials if t.random_seed in by_seed]
    if pairs and all(a.ids == trials[0].ids for a, _ in pairs):
        gaps[WHOLE] = _gap(
            block, point, WHOLE, label, [a.scores[OWN] for a, _ in pairs], [b.scores[OWN] for _, b in pairs]
        )
    # An id is the file's stem and 8 digits of its digest: the stem is what a test set is known by.
    test = TestSet.of([f"{name[:-9]}.image" for name in trials[0].ids], [int(anomaly) for anomaly in label])
    return Row(
        block, point, _label(block, point, figures), tuple(t.random_seed for t in trials), test, figures, totals, gaps,
        tuple(t.seconds for t in trials),
    )  # fmt: skip


def _gap(
    block: Block, point: Mapping[str, Any], name: str, label_T: NDArray[np.bool_],
    a_RT: list[NDArray[np.float64]], b_RT: list[NDArray[np.float64]],
) -> Gap:  # fmt: skip
    generator = numpy_generator(0, "reproduce", block.name, _key(point), name)
    if len(a_RT) == 1:
        return Gap(*metrics.paired_difference(label_T, a_RT[0], b_RT[0], generator))
    return Gap(*metrics.repeated_difference(label_T, np.stack(a_RT), np.stack(b_RT), generator))


def _label(block: Block, point: Mapping[str, Any], figures: Mapping[str, Mean]) -> str:
    parts = []
    for name, value in point.items():
        if name == "dataset.contamination":
            true = figures.get("contamination.true")
            share = f" ({100 * true.mean:.0f} %)" if true is not None else ""
            parts.append(f"{100 * value:g} %" if value is not None else f"all{share}")
        elif name == "split.seed_fraction" and "dataset.split.seed" in figures:
            parts.append(f"{figures['dataset.split.seed'].mean:.0f} trusted")
        else:
            parts.append(f"{name} {json.dumps(value)}")
    return ", ".join(parts) or block.title


def _points(block: Block) -> Iterator[dict[str, Any]]:
    points: list[dict[str, Any]] = [{}]
    for name, values in block.search.items():
        points = [point | {name: value} for point in points for value in values]
    yield from points


def _key(point: Mapping[str, Any]) -> str:
    return json.dumps(point, sort_keys=True)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
