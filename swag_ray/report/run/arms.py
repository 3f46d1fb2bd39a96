"""What the score is made of: its arms with their weights and why, and examples of auxiliary anomalies."""

from __future__ import annotations

from collections.abc import Sequence

from swag_ray.record.run_metrics import ArmMetrics
from swag_ray.report.page.markup import Column, Html, decimal, element, join, paragraph, section, table
from swag_ray.report.page.overlay import data_uri, grey_levels
from swag_ray.report.run.pictures import VariantPairs
from swag_ray.report.run.read import RunRecord

ARMS = {"bank": "Memory bank", "auxiliary": "Auxiliary head", "head": "Head of rejects", "fused": "Fused score"}
ABOUT = (
    "The score is a sum of arms, each in standard deviations of the trusted images' scores, times its weight. The "
    "memory bank measures how far an image lies from the trusted ones. The auxiliary head tells trusted images from "
    "variants of them that were altered on purpose. The head of rejects tells them from pool images that are likely "
    "abnormal. No label takes part in a weight."
)
COUNTED = (
    "Test ROC-AUC is that of the arm alone. The auxiliary head counts the more, the less the bank sees of held-out "
    "variants by itself, as long as the head knows them and does not contradict the bank about the train images. The "
    "head of rejects counts the more, the further likely anomalies that it has not seen stand out and the more of them "
    "there are; the other arms share what is left of 1. Admitted images teach no arm; they are in the bank that draws "
    "the heatmaps."
)
KINDS = {
    "foreign_patch": "Foreign patch: a soft ellipse of another trusted image, blended in",
    "foreign_gradients": "Foreign gradients: the edges of another trusted image, mixed into a rectangle",
    "own_patch": "Own patch: a soft ellipse of the image itself, turned and blended in",
    "cut_paste": "Cut and paste: a rectangle of the image, copied to another place of it",
    "opacities": "Opacities: smooth lighter or darker blobs",
}


def arms_section(run: RunRecord) -> Html:
    """A row per arm of the last fit, then the pictures of what the auxiliary head learns."""
    found = {key: arm for key, arm in run.metrics.arms.items() if arm}
    fused = "fused" in found
    if fused and "head" not in found:
        found["head"] = ArmMetrics(weight=0.0, reason=_no_head(run))
    if fused and "auxiliary" not in found:
        found["auxiliary"] = ArmMetrics(weight=0.0, reason="no variants are made (auxiliary.kind is empty)")
    order = [*(key for key in ARMS if key in found), *(key for key in found if key not in ARMS)]
    columns = [
        Column("weight", [decimal(found[key].weight) for key in order]),
        Column("test ROC-AUC", [decimal(found[key].roc_auc) for key in order]),
        Column("why", [_reason(key, found[key]) if fused else None for key in order], text=True),
    ]
    body = table("Arm", [ARMS.get(key, key) for key in order], columns, strong=[key == "fused" for key in order])
    if body and fused:
        body = join(paragraph(ABOUT), element("div", body, class_="arms"), paragraph(COUNTED, class_="note"))
    return section("What the score is made of", body, _examples(run.overlays.variants if run.overlays else None))


def _no_head(run: RunRecord) -> str:
    """Why the last fit has no head, as the row tells that it would have learnt from."""
    rejects = run.metrics.rounds[-1].rejects if run.metrics.rounds else None
    if rejects == 0:
        return "there is none, as no pool image is likely abnormal"
    return "there is none, as it has too little to learn from: see the warnings"


def _reason(key: str, arm: ArmMetrics) -> str | None:
    known = {"bank": "needs nothing but the trusted images, and always counts", "fused": "the sum of the arms"}
    return arm.reason or known.get(key)


def _examples(pairs: VariantPairs | None) -> Html:
    if pairs is None or not pairs.id:
        return Html()
    text = (
        "What the auxiliary head learns to tell apart: each trusted image stands left of what was made of it. A "
        "variant is not meant to look like a disease, only to be altered in one place."
    )
    rows = [
        join(paragraph(KINDS.get(kind, kind)), _row(pairs, [i for i, own in enumerate(pairs.kind) if own == kind]))
        for kind in dict.fromkeys(pairs.kind)
    ]
    return join(element("h3", "Auxiliary anomalies"), paragraph(text), *rows)


def _row(pairs: VariantPairs, shown: Sequence[int]) -> Html:
    cards = []
    for index in shown:
        name = pairs.id[index]
        sides = (("trusted image", pairs.host_nHW), ("variant", pairs.image_nHW))
        drawn = [
            element("img", src=data_uri(grey_levels(image_nHW[index])), alt=f"{what} of {name}")
            for what, image_nHW in sides
        ]
        caption = element("figcaption", element("div", name, class_="name"))
        cards.append(element("figure", element("div", *drawn, class_="strip"), caption, class_="card"))
    return element("div", *cards, class_="cards pairs")
