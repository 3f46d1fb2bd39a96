"""anomalib's PatchCore and PaDiM on given images, in the environment it was installed into.

    python -m tests.benchmarks.peer_anomalib < JSON    with train, test (paths), size, ratio, picks, threads

Answers with a line of JSON: per model the seconds of each step and the scores of the test images. PatchCore's coreset
is timed on its first picks, in proportion, and the scores are those against a bank of these picks.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from tests.benchmarks.bare_loop import BATCH, build

BACKBONE = "tf_efficientnet_lite0"
LAYERS = (2, 3)  # timm's outputs of stride 8 and 16
FEATURES = 100  # channels that PaDiM draws of the 152, as its paper does of a small backbone's


def main() -> None:
    import torch

    job = json.loads(sys.stdin.read())
    torch.set_num_threads(job["threads"])
    found = {}
    with torch.inference_mode():
        for name, measure in {"PatchCore": _patchcore, "PaDiM": _padim}.items():
            torch.manual_seed(0)
            found[name] = measure(job)
    print(json.dumps(found))


def _patchcore(job: dict[str, Any]) -> dict[str, Any]:
    import torch
    from anomalib.models.components import KCenterGreedy
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    model = PatchcoreModel(layers=LAYERS, backbone=BACKBONE, pre_trained=False)
    seconds = {"features": _fill(model, job)}
    rows = torch.vstack(model.embedding_store)
    model.embedding_store.clear()

    start = time.perf_counter()
    sampler = KCenterGreedy(embedding=rows, sampling_ratio=job["ratio"])
    wanted = sampler.coreset_size
    sampler.coreset_size = min(job["picks"], wanted)
    model.memory_bank = sampler.sample_coreset()
    seconds["coreset"] = (time.perf_counter() - start) * wanted / sampler.coreset_size
    seconds["test"], scores = _scores(model, job)
    return {"seconds": seconds, "scores": scores, "rows": len(rows), "wanted": wanted}


def _padim(job: dict[str, Any]) -> dict[str, Any]:
    from anomalib.models.image.padim.torch_model import PadimModel

    model = PadimModel(layers=list(LAYERS), backbone=BACKBONE, pre_trained=False, n_features=FEATURES)
    seconds = {"features": _fill(model, job)}
    start = time.perf_counter()
    model.fit()
    seconds["covariances"] = time.perf_counter() - start
    seconds["test"], scores = _scores(model, job)
    return {"seconds": seconds, "scores": scores}


def _fill(model: Any, job: dict[str, Any]) -> float:
    """Has a model keep the features of the train images; returns the seconds."""
    weights = build((8, 16)).state_dict()
    missing = model.feature_extractor.feature_extractor.load_state_dict(weights, strict=False).missing_keys
    if missing:
        raise RuntimeError(f"the peer's backbone has other tensors: {missing[:3]}")
    start = time.perf_counter()
    model.train()
    model.feature_extractor.eval()
    for batch in _batches(job["train"], job["size"]):
        model(batch)
    return time.perf_counter() - start


def _scores(model: Any, job: dict[str, Any]) -> tuple[float, list[float]]:
    """Returns the seconds and the scores of the test images."""
    start = time.perf_counter()
    model.eval()
    scores = [s for batch in _batches(job["test"], job["size"]) for s in model(batch).pred_score.flatten().tolist()]
    return time.perf_counter() - start, scores


def _batches(paths: Sequence[str], size: int) -> Iterator[Any]:
    import torch
    from torchvision.io import ImageReadMode, decode_image, read_file
    from torchvision.transforms.v2.functional import resize

    for start in range(0, len(paths), BATCH):
        images = [
            resize(decode_image(read_file(path), ImageReadMode.RGB), [size, size], antialias=True)
            for path in paths[start : start + BATCH]
        ]
        yield (torch.stack(images).float() / 255 - 0.5) / 0.5


if __name__ == "__main__":
    main()
