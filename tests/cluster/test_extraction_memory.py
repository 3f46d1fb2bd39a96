"""An extraction actor takes the memory of a few large films, whatever the length of the shard."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from swag_ray.cluster.extraction import ShardExtractor
from swag_ray.features.recipe import Recipe
from swag_ray.features.spec import FeatureSpec
from swag_ray.features.weights import weights_digest
from tests.benchmarks.extraction import free_backbone
from tests.features.inputs import shards
from tests.support.images import encoded

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
FILMS, SIDE, MOST = 192, 2900, 300  # of 10 MB each; MiB


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("decoders", "kind"), [(0, ""), (2, ""), (0, "foreign_patch")])
def test_a_shard_of_large_films_takes_the_memory_of_a_few(decoders: int, kind: str, tmp_path: Path) -> None:
    """In a process of its own: this one's memory has holes already. A variant needs its donor's film besides."""
    arguments = f"{str(tmp_path)!r}, {decoders}, {kind!r}"
    code = f"from tests.cluster.test_extraction_memory import peak; print(peak({arguments}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr
    assert 20 < float(done.stdout) < MOST


def peak(folder: str, decoders: int, kind: str = "") -> float:
    """MiB above what the actor takes without any work."""
    noise_HW = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), np.uint8)
    data = encoded(Image.fromarray(noise_HW), "JPEG", quality=97)
    film, sha256 = Path(folder) / "film.jpg", hashlib.sha256(data).hexdigest()
    film.write_bytes(data)
    lends = (str(film), sha256) if kind else ()
    name = "tf_efficientnet_lite0"
    spec = FeatureSpec(name, "bundled", weights_digest(name, "bundled"), 256, (8, 16, 32), 8)
    worker = ShardExtractor(f"{folder}/store", spec, decoders)
    worker.backbone = free_backbone(spec)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    done = worker(shards(a=[Recipe(str(film), sha256, kind, *lends)] * FILMS))
    assert not done["problem"][0], done["problem"][0]
    return _status("VmHWM") - before


def _status(name: str) -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024
