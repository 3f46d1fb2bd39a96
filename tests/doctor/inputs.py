"""What the tests of `swag-ray doctor` start from, and how they read a finding."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from swag_ray.cluster.capacity import Node
from swag_ray.config import Config
from swag_ray.core.shortcuts import image_statistics
from swag_ray.doctor import Finding
from swag_ray.doctor.machine import Machine
from swag_ray.doctor.requirements import CHANNELS
from swag_ray.experiment.source import feature_spec
from swag_ray.features.shards import shard_table, write_shard
from swag_ray.images.listing import Listing
from swag_ray.store.store import Store

MACHINE = Machine(cores=4, core_limit=None, memory=8 * 10**9, memory_limit=None, memory_free=6 * 10**9)


def node(cpus: int = 4, gpus: int = 0, memory: float = 8e9) -> Node:
    return Node("here", {"CPU": cpus, "GPU": gpus, "memory": memory})


def said(finding: Finding) -> str:
    return f"{finding.state}: {finding.text}" + (f"; {finding.advice}" if finding.advice else "")


def put_features(config: Config, listing: Listing, count: int, name: str = "a") -> Path:
    """A shard as extraction writes it, of the first images of a listing."""
    return put_rows(config, listing.table["sha256"].to_pylist()[:count], name)


def put_rows(config: Config, keys: list[str], name: str) -> Path:
    """A shard of these images or variants."""
    spec, store, generator = feature_spec(config), Store(config.store), np.random.default_rng(0)
    channels = CHANNELS[spec.backbone]
    shape = spec.grid**2
    statistics = image_statistics(generator.integers(0, 255, (64, 64)).astype(np.uint8))
    rows = [
        {"error": None, "width": 64, "height": 64, "statistics": statistics, "features": {
            s: generator.random((shape, channels[s])).astype(np.float16) for s in spec.strides}}
        for _ in keys
    ]  # fmt: skip
    path = store.path("features", spec.fingerprint, f"{name}.parquet")
    write_shard(store, path, shard_table(keys, rows, spec.strides))
    return Path(path)
