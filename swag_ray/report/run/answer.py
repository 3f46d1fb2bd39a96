"""What a run says of a pool that nothing is known of: how many look abnormal, which, what was admitted, what to do.

It stands first on the page; what needs labels comes behind, where there are any.
"""

from __future__ import annotations

from collections.abc import Sequence

from swag_ray.record.files import POOL_FILE
from swag_ray.record.run_metrics import RunMetrics
from swag_ray.report.page.markup import (  # fmt: skip
    Column,
    Html,
    decimal,
    element,
    join,
    p_value,
    paragraph,
    percent,
    section,
    table,
    whole,
)
from swag_ray.report.run.overlays import Scales, legend, strips
from swag_ray.report.run.ranking import RankedImage
from swag_ray.report.run.read import RunRecord
from swag_ray.report.run.verdict import admissions

LISTED = 20  # rows of the table of the most suspicious
CHECKED = 10  # of those admitted
FEW_SEEDS = 20  # of a fold, below which a run warns


def answer(run: RunRecord) -> Html:
    """How many of the pool look abnormal, in a sentence; then what stands out, and what was admitted."""
    count = _pool_images(run)
    if count is None:
        return Html()
    return join(
        paragraph(look_abnormal(run.metrics, count), class_="verdict"),
        paragraph(" ".join(text for text in (_standing_out(run), f"{_capital(admissions(run))}.") if len(text) > 1)),
    )


def look_abnormal(metrics: RunMetrics, count: int) -> str:
    """Returns how many of so many pool images look abnormal, by the estimated contamination, with its bound."""
    found = metrics.contamination
    if found.estimate is None:
        return f"How many of the {whole(count)} pool images look abnormal is not known."
    abnormal, least = round(found.estimate * count), int((found.low or 0) * count)
    what = f"of the {whole(count)} pool images"
    if not abnormal and not least:
        return f"None {what} need be abnormal: together they score as the trusted ones do."
    verb = "looks" if abnormal == 1 else "look"
    bound = f"in all likelihood no fewer than {whole(least)}" if least else "though no number of them is certain"
    return f"About {whole(abnormal)} {what} {verb} abnormal ({percent(found.estimate)}), {bound}."


def suspects_section(run: RunRecord) -> Html:
    """The most suspicious images of the pool with their maps, and the head of the ranking."""
    ranking = run.ranking
    cards = _cards(run)
    if ranking is None or not ranking.count:
        return section("The most suspicious of the pool", *cards)
    text = (
        f"All {whole(ranking.count)} images of the pool are ranked in {POOL_FILE}, in this folder, by models that have "
        "not seen them. A score says how unlike the trusted images one is: somebody has to look."
    )
    return section(
        "The most suspicious of the pool", paragraph(text), *cards, element("h3", "Head of the ranking"),
        _ranked(ranking.first[:LISTED], suspicious=True),
    )  # fmt: skip


def admitted_section(run: RunRecord) -> Html:
    """Whom the run took for normal: the ones to check are those at the upper end."""
    held = run.metrics.totals.admitted
    if run.ranking is None or not run.ranking.admitted or not held:
        return Html()
    text = (
        f"The run learned from {whole(held)} images of the pool as if they were trusted ones: admitted in {POOL_FILE}. "
        "Those that score highest are the likeliest mistakes."
    )
    return section("What was admitted", paragraph(text), _ranked(run.ranking.admitted[:CHECKED], suspicious=False))


def next_section(run: RunRecord) -> Html:
    """What somebody can do now, the most useful first."""
    config = run.settings("dataset")
    place = f"runs/{run.config['name']}" if run.config.get("name") else "RUN"
    steps: list[Html] = []
    if run.ranking is not None and run.ranking.count:
        steps.append(join("Look at the pool in the order of ", _code(POOL_FILE), ", from its first row on."))
    if run.seeds is not None:
        steps.append(join("Look at the trusted images that are least like the others. Take out what is not normal, and "
                          "run again."))  # fmt: skip
    if _few_seeds(run):
        steps.append(join("Trust more images: with so few the p-values are coarse (see the warnings)."))
    if not run.tested:
        steps.append(_with_labels(str(config.get("kind"))))
    steps.append(join("Add images to the pool and run the same config again: what is known of the others is kept."))
    steps.append(join("Score further images as they come: ",
                      _code(f"swag-ray score {place} IMAGES --out scores.csv"), "."))  # fmt: skip
    steps.append(join("Where images come from another device or place, move the threshold first: ",
                      _code(f"swag-ray calibrate {place} IMAGES --out SITE.json"), "."))  # fmt: skip
    return section("What to do next", element("ol", *(element("li", step) for step in steps)))


def _with_labels(kind: str) -> Html:
    if kind == "unlabelled":
        how = join("put some into ", _code("TEST/NORMAL"), " and ", _code("TEST/ABNORMAL"), ", set ",
                   _code("dataset.test_root: TEST"), " and ", _code("dataset.anomaly: ABNORMAL"),
                   ", and run again.")  # fmt: skip
    else:
        how = join("give some the role test and a label, and run again.")
    return join("To learn how good this ranking is, it takes images of known label: ", how)


def _standing_out(run: RunRecord) -> str:
    texts = ["The share is estimated without a label; anomalies that look normal cannot be counted."]
    if run.metrics.contamination.estimate is None:
        texts = []
    rejected = run.ranking.rejected if run.ranking is not None else None
    if rejected is not None:
        verb = "stands" if rejected == 1 else "stand"
        texts.append(f"{whole(rejected) if rejected else 'None'} {verb} out clearly.")
    return " ".join(texts)


def _pool_images(run: RunRecord) -> int | None:
    if run.ranking is not None:
        return run.ranking.count
    return run.metrics.dataset.split.get("pool")


def _few_seeds(run: RunRecord) -> bool:
    seeds, folds = run.metrics.dataset.split.get("seed"), run.settings("split").get("folds")
    return not run.metrics.can_flag or (seeds is not None and isinstance(folds, int) and seeds < FEW_SEEDS * folds)


def _cards(run: RunRecord) -> list[Html]:
    overlays = run.overlays
    suspects = overlays.suspects if overlays is not None else None
    if overlays is None or suspects is None or not suspects.id:
        return []
    scales = Scales.of(overlays)
    cards = []
    for index, strip in enumerate(strips(suspects, scales, "image")):
        facts = [f"score {decimal(float(suspects.score_n[index]))}"]
        facts += [
            f"p {'' if text.startswith('<') else '= '}{text}" for text in [p_value(float(suspects.p_n[index]))] if text
        ]
        caption = join(element("strong", f"{index + 1}"), f" \N{MIDDLE DOT} {', '.join(facts)}",
                       element("div", suspects.id[index], class_="name"))  # fmt: skip
        cards.append(element("figure", strip, element("figcaption", caption), class_="card"))
    return [legend(scales), element("div", *cards, class_="cards")]


def _ranked(images: Sequence[RankedImage], *, suspicious: bool) -> Html:
    """A table of ranked images; of the suspicious what was made of them, of those admitted when."""
    columns = [
        Column("rank", [whole(image.rank) for image in images]),
        Column("score", [decimal(image.score) for image in images]),
        Column("p", [p_value(image.p) for image in images]),
    ]
    if suspicious:
        columns.append(
            Column("stands out", [None if x.rejected is None else "yes" if x.rejected else "no" for x in images])
        )
    else:
        columns.append(Column("round", [whole(image.round) for image in images]))
    return table("File", [image.name for image in images], columns)


def _code(text: str) -> Html:
    return element("code", text)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
