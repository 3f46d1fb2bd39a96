"""An actor works on the GPUs that Ray gave it, and on no others."""

from __future__ import annotations

import os

import ray


def keep_to_own_gpus() -> None:
    """Hides all GPUs from an actor that was given none; to be called before anything asks for one.

    Ray itself hides them only where RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO was set as its node was started.
    """
    if not ray.get_gpu_ids():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
