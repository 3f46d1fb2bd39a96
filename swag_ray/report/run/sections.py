"""The page's tables and explanations, in the order in which they stand. An empty section is left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swag_ray.record.files import MANIFEST_FILE
from swag_ray.record.run_metrics import RoundMetrics
from swag_ray.report.page.figure import Plot, show
from swag_ray.report.page.markup import (  # fmt: skip
    Column,
    Html,
    decimal,
    element,
    join,
    number,
    p_value,
    paragraph,
    percent,
    seconds,
    section,
    table,
    whole,
)
from swag_ray.report.page.reading import nested
from swag_ray.report.page.shortcuts import SHORTCUTS
from swag_ray.report.run import paper_figures as published
from swag_ray.report.run.overlays import gallery
from swag_ray.report.run.read import RunRecord
from swag_ray.report.run.verdict import admission, warnings


def warning_section(run: RunRecord) -> Html:
    found = warnings(run)
    body = element("ul", *(element("li", text) for text in found)) if found else paragraph("Nothing to warn of.")
    return element("section", element("h2", "Warnings"), body, class_="warnings" if found else "")


def rounds_section(run: RunRecord, plots: Mapping[str, Plot]) -> Html:
    return section("Rounds", _totals(run), show(plots, "histogram", "rounds"), _rounds_table(run), _contamination(run))


def _totals(run: RunRecord) -> Html:
    totals = run.metrics.totals
    texts = []
    held, ever = whole(totals.admitted), whole(totals.ever_admitted)
    if held is not None:
        wrong, purity = whole(totals.admitted_anomalies), percent(totals.purity, 2)
        known = [f"anomalies among them: {wrong}"] if wrong is not None else []
        known += [f"purity {purity}"] if purity else []
        detail = f" ({'; '.join(known)})" if known else ""
        texts.append(f"Pool images held at the end: {held}{detail}.")
    if ever is not None:
        were = whole(totals.ever_admitted_anomalies)
        texts.append(f"Ever admitted: {ever}{f' (anomalies: {were})' if were is not None else ''}.")
    if totals.evicted:
        texts.append(f"Evicted again as clear rejects: {whole(totals.evicted)}.")
    labels = totals.labels_used
    if labels is not None:
        texts.append("No label was used." if labels == 0 else f"Labels drawn from the oracle: {whole(labels)}.")
    if totals.exhausted:
        texts.append("The pool was exhausted: the loop ended when nothing more passed the gate.")
    if added := admission(run):
        texts.append(added)
    return paragraph(" ".join(texts))


def _rounds_table(run: RunRecord) -> Html:
    found = run.metrics.rounds
    ranking, admission, rejects = "ROC-AUC", "Admission", "Rejects"
    columns = [
        Column("test", [decimal(row.roc_auc) for row in found], ranking),
        Column("pool", [decimal(row.pool_roc_auc) for row in found], ranking),
        Column("head", [_head(row) for row in found]),
        Column("count", [whole(row.rejects) for row in found], rejects),
        Column("purity", [percent(row.rejects_purity) for row in found], rejects),
        Column("passed distance", [whole(row.passed_distance) for row in found], admission),
        Column("passed both", [whole(row.passed_both) for row in found], admission),
        Column("candidates", [whole(row.candidates) for row in found], admission),
        Column("admitted", [whole(row.admitted) for row in found], admission),
        Column("of them anomalies", [whole(row.admitted_anomalies) for row in found], admission),
        Column("evicted", [whole(row.evicted) for row in found], admission),
        Column("purity without 2nd gate", [percent(row.purity_without_second_gate) for row in found], admission),
        Column("seeds vs. normals, p", [p_value(row.ks_seed_vs_pool_normals) for row in found]),
        Column("time", [seconds(row.seconds) for row in found]),
    ]
    stubs = [whole(row.round) or "" for row in found]
    caption = "Round 0 is what the trusted images alone give."
    if any(row.rejects is not None for row in found):
        caption += (
            " Rejects: pool images that a round's scores make likely abnormal; a head learns them in the next round. "
            "Head: its weight in the score; off: it has none."
        )
    return table("Round", stubs, columns, caption=caption)


def _head(row: RoundMetrics) -> str | None:
    if row.head_on is None:
        return None
    return decimal(row.head_weight, 2) or "on" if row.head_on else "off"


def _contamination(run: RunRecord) -> Html:
    found = run.metrics.contamination
    true, estimate, fitted, low = (percent(x) for x in (found.true, found.estimate, found.fitted, found.low))
    texts = [f"Share of anomalies in the pool: {true} by its labels."] if true else []
    if estimate and low:
        other = f", {fitted} by the shape of the low scores" if fitted else ""
        texts.append(
            f"Estimated without labels: {estimate} by Storey's rule{other}; in all likelihood no less "
            f"than {low}. There may be more: anomalies that look normal cannot be counted."
        )
    return paragraph(" ".join(texts), class_="note")


def overlay_section(run: RunRecord) -> Html:
    rate = number(run.settings("calibration").get("false_positive_rate"))
    if run.answers and run.overlays is not None and run.overlays.suspects is not None and not _tested(run):
        return section("The least suspicious of the pool", gallery(run.overlays, run.scores, rate, lowest_alone=True))
    shown = "test images" if _tested(run) else "images of the pool"
    return section(f"Highest- and lowest-scored {shown}", gallery(run.overlays, run.scores, rate))


def _tested(run: RunRecord) -> bool:
    """Whether there are test images, for all that is known."""
    return run.scores is None or bool(run.scores.id)


def kinds_section(run: RunRecord) -> Html:
    values = sorted((x, kind) for kind, x in run.metrics.roc_auc_by_kind.items())
    counts = {kind: str(run.scores.kind.count(kind)) for _, kind in values} if run.scores is not None else {}
    columns = [
        Column("ROC-AUC", [decimal(x) for x, _ in values]),
        Column("test images", [counts[kind] if counts.get(kind, "0") != "0" else None for _, kind in values]),
    ]
    body = table("Kind", [kind for _, kind in values], columns)
    return section(
        "By kind of anomaly", paragraph("Each kind against all normals, the hardest first.") if body else "", body
    )


def localisation_section(run: RunRecord) -> Html:
    found = run.metrics.localisation
    columns = [Column("Pixel ROC-AUC", [decimal(found.pixel_roc_auc)]), Column("PRO", [decimal(found.pro)]),
               Column("test images", [None if found.images is None else str(found.images)])]  # fmt: skip
    if found.pixel_roc_auc is None:
        return Html()
    about = (
        "Heatmaps against the masks of the manifest: the chance that a marked pixel is hotter than one that is not, and"
        " the mean overlap of marked regions up to a false-positive rate of .3 (PRO)."
    )
    return section("Where heatmaps point", paragraph(about), table("", ["Heatmaps"], columns))


def shortcuts_section(run: RunRecord) -> Html:
    found = run.metrics.shortcuts
    if not found:
        return Html()
    own = run.metrics.incremental.roc_auc
    stubs = [SHORTCUTS.get(key, key) for key in found]
    cells: list[str | None] = [decimal(x) for x in found.values()]
    if own is not None:
        stubs, cells = ["Incremental (this run)", *stubs], [decimal(own), *cells]
    text = (
        "Trivial scores that see nothing of the anatomy, each in whichever direction ranks better (0.5 is chance). "
        "They are reported and never used. A shortcut that scores as high as the method means trouble: normal and "
        "anomalous images then differ in how they were made, and the method may have learned just that."
    )
    strong = [own is not None and index == 0 for index in range(len(stubs))]
    return section("Shortcuts", paragraph(text), table("Score", stubs, [Column("ROC-AUC", cells)], strong=strong))


def calibration_section(run: RunRecord, plots: Mapping[str, Plot]) -> Html:
    conformal = run.metrics.incremental.conformal
    nominal, span = percent(conformal.rate_nominal), conformal.rate_interval
    test, pool = percent(conformal.rate_test_normals), percent(conformal.rate_pool_normals)
    texts = [f"The threshold is set so that {nominal} of normals like the seeds are flagged."] if nominal else []
    if not run.metrics.can_flag:
        texts = [f"At a nominal {nominal} nothing can be flagged, as no p-value of so few seeds is that low."]
    measured = [
        f"{rate} on {where}" for rate, where in ((pool, "the pool's normals"), (test, "the test set's")) if rate
    ]
    if measured:
        texts.append(f"Measured: {' and '.join(measured)}.")
    if span:
        texts.append(f"With this many seeds and normals, chance alone gives {percent(span[0])} to {percent(span[1])}.")
    texts += _aligned(run)
    last = next((p for row in reversed(run.metrics.rounds) if (p := p_value(row.ks_seed_vs_pool_normals))), None)
    if last:
        texts.append(
            "Two-sample test of the seeds' scores against the pool normals', last round: "
            f"p {'' if last[0] == '<' else '= '}{last}; a small p says that seeds no longer score like unseen normals."
        )
    return section("Calibration", paragraph(" ".join(texts)), show(plots, "test_scores", "calibration"))


def _aligned(run: RunRecord) -> list[str]:
    """The threshold where the test images are from, in a sentence for whoever reads films."""
    found = run.metrics.incremental.conformal.aligned
    shift, rate, recall = found.shift, percent(found.rate_test_normals), percent(found.recall)
    if shift is None or not rate or not run.metrics.can_flag:
        return []
    way = "higher" if shift > 0 else "lower"
    text = (
        f"The test images as a whole score {abs(shift):.2f} sd {way} than the trusted ones; a threshold moved by as "
        f"much, which takes no label, flags {rate} of the test set's normals and finds {recall} of its anomalies "
        "(by the site score, which leaves out the head of rejects). At a new site swag-ray calibrate moves it."
    )
    return [text, *([f"Yet this fit is in doubt: {found.doubt}."] if found.doubt else [])]


def origin_section(run: RunRecord, config_text: str) -> Html:
    facts: list[tuple[str, Any]] = [
        (str(key).replace("_", " "), value) for key, value in run.manifest.items() if key != "durations"
    ]
    if run.metrics.dataset.ignored:
        facts.append(("files that were left out", run.metrics.dataset.ignored))
    timing = {key: seconds(value) for key, value in run.metrics.timing.plain().items()}
    recorded = nested(run.folder / MANIFEST_FILE, run.manifest, "durations")
    durations = {str(key): text for key, value in recorded.items() if (text := seconds(value))}
    facts.append(("durations", durations))
    if timing:
        facts.append(("time", timing))
    lines = [
        join(element("dt", key), element("dd", _tree(value))) for key, value in facts if value not in (None, {}, [])
    ]
    listing = element("dl", *lines) if lines else Html()
    text = element("details", element("summary", "Resolved configuration"), element("pre", config_text))
    return section("How it was run", listing, text)


def _tree(value: object) -> Html:
    """Nested tables and lists as they come, one fact a line."""
    if isinstance(value, Mapping):
        pairs = [(str(key), _tree(child)) for key, child in value.items() if child is not None]
        return element("ul", *(element("li", element("span", key, class_="key"), " ", child) for key, child in pairs))
    if isinstance(value, list):
        return element("ul", *(element("li", _tree(child)) for child in value if child is not None))
    if isinstance(value, float):
        return join(f"{value:.6g}")
    return join("yes" if value is True else "no" if value is False else str(value))


def limits_section(run: RunRecord) -> Html:
    items = [
        "Research software, not a medical device. Nothing here may guide the care of a patient.",
        "Difference intervals resample the test images of this one test set; another hospital's images differ by more.",
        "One random seed is one split into seeds and pool, and another split gives other figures: `swag-ray run CONFIG "
        "--repeat N` tells by how much.",
        "A score says how unlike the trusted normals an image is, not what disease it shows.",
    ]
    if run.overlays is not None:
        items.append("The maps show where the score comes from. They are no outline of a finding.")
    if run.published:
        note = published.note(str(run.published_set))
        items.append(f"{note} They come from another split, backbone and code, and carry no interval.")
    return section("Limits", element("ul", *(element("li", item) for item in items)))
