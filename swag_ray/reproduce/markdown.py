"""RESULTS.md: what was measured, in tables; three decimals, in the plan's order, the clock's figures at the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import swag_ray
from swag_ray.config.reproduce import Block
from swag_ray.report.page.markup import MINUS
from swag_ray.report.run.paper_figures import FIGURES, NOTE, OTHERS, TEST_SETS
from swag_ray.reproduce.rows import OWN, SEED_ONLY, WHOLE, Gap, Mean, Row
from swag_ray.store.stages import VERSIONS
from swag_ray.wording import duration

if TYPE_CHECKING:
    from swag_ray.reproduce.results import Results

NONE = "-"
HOW_TO_READ = """\
Each row is the mean over splits (random seeds: who is trusted, the folds, every draw), ± the standard deviation between
them. A difference stands with its 95 % interval from a bootstrap that resamples the splits and, by class, the test
images (2,000 draws; both scores see the same): with three splits it is somewhat too narrow. *Beats* and *falls behind*
are said where that interval excludes zero, nowhere else. Accuracy to false positives are at Youden's threshold, picked
on the test labels as the published ones are, and the operating points need them too; raw and aligned rates need none.
False positives are of the test set's normals, a mean over splits. An admitted image is wrong where it is an anomaly;
the counts are sums over splits."""
YOUDEN = ("accuracy", "precision", "recall", "f1")
POINTS = (
    ("sensitivity_at_specificity_90", "sensitivity at specificity .90"),
    ("sensitivity_at_specificity_95", "at .95"),
    ("normals_set_aside_at_sensitivity_95", "normals set aside at sensitivity .95"),
    ("normals_set_aside_at_sensitivity_99", "at .99"),
)
RATES = (
    ("conformal.rate_pool_normals", "flagged of the pool's normals"),
    ("conformal.rate_test_normals", "of the test normals, raw"),
    ("conformal.recall", "recall, raw"),
    ("conformal.aligned.rate_test_normals", "of the test normals, aligned"),
    ("conformal.aligned.recall", "recall, aligned"),
)
SHORTCUTS = {
    "thumbnail_1nn": "thumbnail 1-NN", "grey": "grey level", "border": "border", "image_size": "image size",
    "file_bytes": "file size",
}  # fmt: skip


def results_text(results: Results, drawing: str | None) -> str:
    """The file's text.

    Args:
        drawing: name of the figure's file beside it.
    """
    parts = [
        "# Results",
        f"Written by `{results.command}`; not edited by hand. swag-ray {swag_ray.__version__}, stages "
        + ", ".join(f"{name} {version}" for name, version in sorted(VERSIONS.items()))
        + ".",
        "## How the test images were looked at",
        results.plan.looked_at.strip(),
        "## How to read it",
        HOW_TO_READ,
    ]
    if drawing is not None:
        parts += ["## ROC-AUC against the pool's anomalies", _figure_words(results, drawing)]
    for name, group in results.plan.groups.items():
        if blocks := results.blocks(name):
            parts += [f"## {group.title}", group.text.strip(), *_group(results, blocks)]
    if results.not_run:
        rows = [[f"`{name}`", reason] for name, reason in results.not_run.items()]
        parts += ["## Not run", _table(["block", "why"], rows)]
    parts += [
        "## Seconds",
        "Of each trial, on the machine that wrote this; what the store held already took none.",
        _seconds(results),
    ]
    return "\n\n".join(parts) + "\n"


def _figure_words(results: Results, drawing: str) -> str:
    earlier = results.plan.earlier
    words = f"![ROC-AUC against the share of anomalies in the pool]({drawing})\n\nMean over splits, bars one sd."
    if earlier is None:
        return words
    shown = ", ".join(f"{decimal(y)} at {100 * x:g} %" for x, y in sorted(earlier.roc_auc.items()))
    return f"{words} {earlier.name[0].upper()}{earlier.name[1:]} ({earlier.source}): {shown}."


def _group(results: Results, blocks: Sequence[Block]) -> Iterable[str]:
    parts = [block for block in blocks if block.against is not None]
    if parts:
        yield _parts(results, parts)
    for block in blocks:
        if block.against is not None:
            continue
        rows = results.rows[block.name]
        if len(blocks) > 1:
            yield f"### {block.title}"
        yield _ranking(rows)
        if any(set(row.gaps) > {SEED_ONLY} for row in rows):
            yield _controls(rows)
        yield _decisions(rows, _published_beside(results, block))
        yield _operating(rows)
        if shortcuts := _shortcuts(rows):
            yield shortcuts


def _ranking(rows: Sequence[Row]) -> str:
    heads = any(row.heads_on is not None for row in rows)
    head = ["pool", "splits", "seed-only", "incremental", "difference", "verdict", "admitted wrongly"]
    lines = []
    for row in rows:
        cells = [
            row.label, str(len(row.random_seeds)), _spread(row.figures.get(f"baselines.{SEED_ONLY}.roc_auc")),
            f"**{_spread(row.figures.get(f'{OWN}.roc_auc'))}**", *_gap(row.gaps.get(SEED_ONLY)), _admitted(row),
        ]  # fmt: skip
        lines.append(cells + ([_of(row.heads_on, len(row.random_seeds))] if heads else []))
    return _table(head + (["head of rejects counts in"] if heads else []), lines)


def _controls(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        for name, gap in row.gaps.items():
            if name not in (SEED_ONLY, WHOLE):
                control = row.figures.get(f"baselines.{name}.roc_auc")
                lines.append([row.label, name.replace("_", " "), _spread(control), *_gap(gap)])
    return _table(["pool", "control", "its ROC-AUC", "incremental minus it", "verdict"], lines)


def _decisions(rows: Sequence[Row], published: str | None) -> str:
    def line(name: str, row: Row, of: str) -> list[str]:
        shares = [_mean(row, f"{of}.{figure}") for figure in ("roc_auc", "pr_auc", *(f"youden.{f}" for f in YOUDEN))]
        return [name, *shares, _count(row.mean(f"{of}.youden.fp"))]

    lines = [line(f"incremental, {row.label}", row, OWN) for row in rows]
    alike = {round(row.mean(f"baselines.{SEED_ONLY}.roc_auc") or 0, 6) for row in rows}
    for row in rows[: 1 if len(alike) == 1 else None]:
        name = "seed-only" if len(alike) == 1 else f"seed-only, {row.label}"
        lines.append(line(name, row, f"baselines.{SEED_ONLY}"))
    if published is not None:
        for p in FIGURES[published]:
            shares = (p.roc_auc, p.pr_auc, p.accuracy, p.precision, p.recall, p.f1)
            lines.append([f"*{p.name}*", *(decimal(share) for share in shares), str(p.fp)])
        lines += [[f"*{other.name}*", decimal(other.roc_auc), *[NONE] * 6] for other in OTHERS.get(published, ())]
    text = _table(["", "ROC-AUC", "PR-AUC", "accuracy", "precision", "recall", "F1", "false positives"], lines)
    return f"{text}\n\n{NOTE}{_other_set(published, rows[0])}" if published is not None else text


def _published_beside(results: Results, block: Block) -> str | None:
    """The published set of which the figures stand in this block's table: once for each of the figure's blocks."""
    own, drawn = _published_set(block), results.plan.figure
    told = {_published_set(other) for other in results.plan.blocks if other.name in drawn}
    return own if block.name in drawn or own not in told else None


def _other_set(published: str, row: Row) -> str:
    there, here = TEST_SETS[published], row.test
    same = (there.normals, there.anomalies) == (here.normals, here.anomalies) and there.names in (None, here.names)
    counts = (f"{test.normals} normals and {test.anomalies} anomalies" for test in (there, here))
    return "" if same else " Those are of another test set ({}) than ours ({}): no comparison.".format(*counts)


def _operating(rows: Sequence[Row]) -> str:
    names = [f"{OWN}.operating_points.{name}.value" for name, _ in POINTS] + [f"{OWN}.{name}" for name, _ in RATES]
    lines = [[row.label, *(_mean(row, name) for name in names)] for row in rows]
    return _table(["pool", *(words for _, words in (*POINTS, *RATES))], lines)


def _shortcuts(rows: Sequence[Row]) -> str:
    found = {words: _mean(rows[0], f"shortcuts.{name}") for name, words in SHORTCUTS.items()}
    told = [f"{words} {value}" for words, value in found.items() if value != NONE]
    return (
        f"Shortcut scores on the same test images (two-sided ROC-AUC, never used): {', '.join(told)}." if told else ""
    )


def _parts(results: Results, blocks: Sequence[Block]) -> str:
    """A line a part and pool: what is left without it, and the whole method's lead on the same splits."""
    rows = [(block.title, row) for block in blocks for row in results.rows[block.name]]
    lines = []
    for label in dict.fromkeys(row.label for _, row in rows):
        for title, row in rows:
            if row.label == label:
                own, gap = row.figures.get(f"{OWN}.roc_auc"), row.gaps.get(WHOLE)
                whole = decimal(own.mean + gap.mean) if own is not None and gap is not None else NONE
                lines.append([label, title, _spread(own), whole, *_gap(gap), _admitted(row)])
    head = ["pool", "without", "ROC-AUC", "the whole, same splits", "whole minus it", "the whole", "admitted wrongly"]
    return _table(head, lines)


def _seconds(results: Results) -> str:
    lines = []
    for name, rows in results.rows.items():
        each = [s for row in rows for s in row.seconds]
        mean = sum(each) / len(each)
        lines.append(
            [f"`{name}`", str(len(each)), f"{mean:.0f}", f"{min(each):.0f} to {max(each):.0f}", duration(sum(each))]
        )
    return _table(["block", "trials", "mean", "range", "all"], lines)


def _published_set(block: Block) -> str | None:
    report = block.base.get("report") if isinstance(block.base, dict) else None
    name = report.get("published") if isinstance(report, dict) else None
    return name if name in FIGURES else None


def _admitted(row: Row) -> str:
    held, wrong = row.totals.get("totals.ever_admitted"), row.totals.get("totals.ever_admitted_anomalies")
    return NONE if held is None or wrong is None else _of(int(wrong), int(held))


def _of(part: int | None, whole: int) -> str:
    return NONE if part is None else f"{part:,} of {whole:,}"


def _gap(gap: Gap | None) -> list[str]:
    if gap is None:
        return [NONE, NONE]
    return [f"{_signed(gap.mean)} [{_signed(gap.low)}, {_signed(gap.high)}]", gap.verdict]


def _spread(found: Mean | None) -> str:
    if found is None:
        return NONE
    return decimal(found.mean) + (f" ± {decimal(found.sd)}" if found.sd is not None else "")


def _mean(row: Row, name: str) -> str:
    value = row.mean(name)
    return NONE if value is None else decimal(value)


def _count(mean: float | None) -> str:
    """A mean of counts."""
    return NONE if mean is None else f"{mean:.1f}"


def decimal(value: float) -> str:
    """A figure without the zero before its point, as the README writes it."""
    text = f"{value:.3f}"
    return text[1:] if text.startswith("0.") else text


def _signed(value: float) -> str:
    text = f"{abs(value):.3f}".removeprefix("0")
    return text if text == ".000" else ("+" if value > 0 else MINUS) + text


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    return "\n".join([line(head), line(["---"] * len(head)), *(line(row) for row in rows)])
