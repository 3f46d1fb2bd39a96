"""What the trivial scores of metrics.json are called, and when one of them says too much."""

from __future__ import annotations

from swag_ray.record.run_metrics import RunMetrics

SHORTCUTS = {
    "thumbnail_1nn": "Nearest normal among small thumbnails",
    "grey": "Grey-level statistics",
    "border": "Border of the image",
    "image_size": "Size of the image in pixels",
    "file_bytes": "Size of the file in bytes",
}
# A trivial score this near to the method's own makes the method's figure say little about disease.
NEAR = 0.01


def telling_shortcuts(metrics: RunMetrics) -> dict[str, float]:
    """Returns the trivial scores that rank the test images about as well as the run's detector, by their keys."""
    method = metrics.incremental.roc_auc
    if method is None:
        return {}
    return {key: score for key, score in metrics.shortcuts.items() if score >= method - NEAR}
