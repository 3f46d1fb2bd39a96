"""What `published` refuses before it fits anything; its scores and uncertainties are in `test_fold_scores.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from swag_ray.errors import InputError
from swag_ray.methods.published_fit import Published
from tests.support.made_up_experiment import config, made_up_experiment


def test_the_check_counts_patches_not_images(tmp_path: Path) -> None:
    """64 images of 16 patches are one batch of 1,024, and one step leaves no two snapshots; one image more is two."""
    settings = config("swag.collect_every=1", "adapter.round_epochs=1", method="published")
    experiment, _ = made_up_experiment(tmp_path, settings)
    Published().check(experiment, 65)
    with pytest.raises(InputError, match="a fit of 1 step"):
        Published().check(experiment, 64)
