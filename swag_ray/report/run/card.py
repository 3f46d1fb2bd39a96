"""The model card on the page: what stands in model_card.md, for whoever is handed the report alone."""

from __future__ import annotations

from swag_ray.record.files import CARD_TEXT_FILE, DETECTOR_FOLDER
from swag_ray.report.card.outline import Part, outline
from swag_ray.report.card.record import ModelCard
from swag_ray.report.page.markup import Html, element, join, paragraph, section


def card_section(card: ModelCard) -> Html:
    """A short section, its card to be opened."""
    note = (
        f"What the detector was made from, what it is for and what it is worth, as {CARD_TEXT_FILE} says it in this "
        f"folder and in {DETECTOR_FOLDER}/, for those who are given a copy of that alone."
    )
    parts = (_part(part) for part in outline(card))
    return section("Model card", paragraph(note), element("details", element("summary", "The whole card"), *parts))


def _part(part: Part) -> Html:
    sentences = element("ul", *(element("li", text) for text in part.sentences)) if part.sentences else Html()
    pairs = (join(element("dt", name), element("dd", text)) for name, text in part.facts)
    facts = element("dl", *pairs) if part.facts else Html()
    return join(element("h3", part.title), sentences, facts)
