"""Whether new images are of the kind that a detector was made for: `core/domain.py` on features and rows of images.

Shapes: n images, P patches, C channels of the finest stride.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from swag_ray.core.domain import Domain, Traits, depth_reason, fit_domain, reasons, texture
from swag_ray.core.mahalanobis import Spread
from swag_ray.features.reader import FeatureReader
from swag_ray.features.spec import FeatureSpec
from swag_ray.models.tasks import ScoreTask
from swag_ray.store.stages import Arrays

MOST = 1000  # seeds that a domain is made of
AT_A_TIME = 100  # seeds whose patches are in memory


def seed_domain(reader: FeatureReader, task: ScoreTask, spec: FeatureSpec) -> Domain:
    """Returns what these seeds are like: read from their features and statistics, nothing is decoded again.

    Args:
        task: seeds, each with its own fold; of more than 1,000 1,000 are taken, evenly.
    """
    some = np.unique(np.linspace(0, len(task.rows) - 1, min(MOST, len(task.rows))).astype(np.int64))
    rows, stride = task.rows.take(some), min(spec.strides)
    parts = [np.arange(start, min(start + AT_A_TIME, len(rows))) for start in range(0, len(rows), AT_A_TIME)]
    textures = [texture(reader.patches(rows.take(part), [stride])[stride]) for part in parts]
    seen = reader.statistics(rows, np.zeros(len(rows), np.int64))
    traits = Traits(seen.thumbnail_NHW, seen.grey_NQ, seen.size_N2, np.concatenate(textures))
    return fit_domain(traits, task.fold[some])


def out_of_domain(domain: Domain, spec: FeatureSpec, rows: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """Returns why each image is unlike anything the detector was made for; None where it is not, or not readable.

    Args:
        rows: of images, as `features.extract.extract` yields them.
    """
    words: list[str | None] = [None] * len(rows)
    good = [i for i, row in enumerate(rows) if row["error"] is None]
    if not good:
        return words
    stride = min(spec.strides)
    traits = Traits(
        np.stack([rows[i]["statistics"][0] for i in good]),
        np.stack([rows[i]["statistics"][1] for i in good]),
        np.array([(rows[i]["width"], rows[i]["height"]) for i in good]),
        texture(np.stack([rows[i]["features"][stride] for i in good])),
    )
    for i, reason in zip(good, reasons(domain, traits), strict=True):
        words[i] = depth_reason(rows[i]["top"], spec.white) or reason
    return words


def domain_arrays(domain: Domain) -> Arrays:
    """Returns its arrays by name, for a bundle; `domain_of` is the inverse."""
    arrays: Arrays = {}
    for field in fields(domain):
        value = getattr(domain, field.name)
        if isinstance(value, Spread):
            arrays |= {f"{field.name}.{own.name}": getattr(value, own.name) for own in fields(value)}
        else:
            arrays[field.name] = value
    return arrays


def domain_of(arrays: Arrays) -> Domain | None:
    """Returns the domain of `domain_arrays`; None for no arrays. Raises TypeError where some are missing."""
    if not arrays:
        return None
    plain: dict[str, Any] = {name: array for name, array in arrays.items() if "." not in name}
    for name in ("grey", "texture"):
        prefix = f"{name}."
        own = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
        plain[name] = Spread(**own)
    return Domain(**plain)
