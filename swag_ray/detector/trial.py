"""A loaded detector tried on one made-up image: whatever of its arrays does not belong together shows here.

A bundle may come from anywhere, so what is in it need not be what a run wrote. One image takes some milliseconds, and
the faiss indices that it needs are kept for the images that follow.
"""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np

from swag_ray.detector.detector import Detector
from swag_ray.features.reader import Patches

SIDES = range(1, 4097)  # of images and grids, more than any config allows


def try_out(detector: Detector) -> None:
    """Scores an image without contrast by all that the detector holds.

    Raises:
        Exception: of whatever kind, where something of it is not as a run leaves it.
    """
    spec, bank = detector.spec, detector.bank
    _check(
        detector.score_used in ("fused", "bank", "seed_bank")
        and (detector.score_used == "fused") == bool(detector.arms)
    )
    _check(0 < detector.rate < 1 and spec.image_size in SIDES and spec.grid in SIDES[:64])
    _check(0 < len(spec.strides) <= 8 and set(bank.strides) <= set(spec.strides) and bank.strides)
    _check(detector.head is None or detector.head.strides == spec.strides)
    _check(bank.neighbours > 0 and all(arm.sd > 0 for arm in detector.arms))
    n = len(detector.seed_s)
    _check(detector.seed_s.shape == detector.seed_fold.shape == (n,) and detector.seed_fold.dtype == np.int8)
    _check(all(arm.seed_s.shape == (n,) for arm in detector.arms))
    patches = _image(detector)
    score_1K, site_1K = detector.scores_and_site(patches)
    _check(score_1K.shape == (1, len(detector.models)) and np.isfinite((score_1K, site_1K)).all())
    _check(0 < detector.p_values(score_1K)[0] <= 1)
    detector.distance_maps(patches)
    detector.evidence_maps(patches)
    grey = (np.zeros((32, 32), np.uint8), np.zeros(7, np.float32), 0.0)
    own = {stride: x[0] for stride, x in patches.items()}
    row: dict[str, Any] = {"error": None, "statistics": grey, "features": own, "width": 64, "height": 64, "top": None}
    detector.out_of_domain([row])
    _check(detector.typical is None or detector.typical.shape == (64,))
    if detector.heat is not None:
        _check(np.isfinite(detector.heatmaps(patches)).all() and detector.heat.low < detector.heat.high)
    if detector.trusted is not None:
        _check(np.isfinite([one.distance for one in detector.trusted.nearest(patches, 3)[0]]).all())


def _image(detector: Detector) -> Patches:
    """Features of one image, all 0, with the channels that the detector reads."""
    spec, heads = detector.spec, [arm for arm in detector.arms if arm.name != "bank"]
    fold = detector.models[0]
    channels = {stride: fold[f"raw.{stride}"].shape[1] for stride in detector.bank.strides}
    others = [stride for stride in spec.strides if stride not in channels]
    if detector.domain is not None and min(spec.strides) in others:
        channels[others.pop(0)] = len(astuple(detector.domain.texture)[0])
    if others and heads and detector.head is not None:  # a head reads all of them side by side: it knows the sum
        pooled = len(heads[0].models[0]["mean"]) // detector.head.grid**2
        left = pooled - sum(channels.values()) - len(others)
        channels |= {stride: 1 + (left if stride == others[0] else 0) for stride in others}
    return {stride: np.zeros((1, spec.grid**2, channels.get(stride, 1)), np.float16) for stride in spec.strides}


def _check(as_left: object) -> None:
    if not as_left:
        raise ValueError("not as a run leaves it")
