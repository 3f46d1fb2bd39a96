"""The detector that a run leaves: the K fold models as one thing that scores images, and its bundle on disk."""

from __future__ import annotations

from swag_ray.detector.bundle import load_backbone, load_detector, save_detector
from swag_ray.detector.detector import Detector, DetectorArm, score_maps, seed_patches

__all__ = ["Detector", "DetectorArm", "load_backbone", "load_detector", "save_detector", "score_maps", "seed_patches"]
