"""model_card.json and model_card.md: in a run's folder and in its bundle, and read again from either."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swag_ray.errors import InputError
from swag_ray.record.files import CARD_FILE, CARD_TEXT_FILE, DETECTOR_FOLDER
from swag_ray.record.remote import local_copy
from swag_ray.report.card.markdown import markdown
from swag_ray.report.card.record import ModelCard
from swag_ray.report.page.reading import damaged, read_mapping


def card_files(folder: Path, card: ModelCard) -> dict[Path, str]:
    """Returns what a run's folder holds of its card, by path: twice where it has its bundle, which travels alone."""
    texts = {CARD_FILE: json.dumps(card.plain(), indent=2, allow_nan=False) + "\n", CARD_TEXT_FILE: markdown(card)}
    folders = [folder / DETECTOR_FOLDER] if (folder / DETECTOR_FOLDER).is_dir() else []
    return {place / name: text for place in (folder, *folders) for name, text in texts.items()}


def read_card(place: str | Path) -> tuple[ModelCard, Mapping[str, Any]]:
    """Reads the card of a run directory, its s3:// address, or a copied bundle.

    Returns:
        The card, and all that its file holds.

    Raises:
        InputError: there is none, or it is damaged.
    """
    with local_copy(place, "card", CARD_FILE, f"{DETECTOR_FOLDER}/{CARD_FILE}") as folder:
        found = next((at for at in (folder, folder / DETECTOR_FOLDER) if (at / CARD_FILE).is_file()), None)
        if found is None:
            raise InputError(
                f"card: '{place}' holds no {CARD_FILE}",
                "give a run directory or its detector/; for a run of an older version, swag-ray report RUN writes it",
            )
        plain = read_mapping(found, CARD_FILE)
        try:
            return ModelCard.read(plain), plain
        except InputError:
            raise damaged(found / CARD_FILE, "not a model card") from None
