"""anomalib's PatchCore on given images, in the environment it was installed into.

    python -m tests.benchmarks.peer_patchcore < JSON    with train, test (paths), size, ratio, picks, threads

Answers with a line of JSON: seconds of features, coreset (from its first picks, in proportion) and test, and the
scores of the test images against a bank of those first picks.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from tests.benchmarks.bare_loop import BATCH, build

LAYERS = (2, 3)  # timm's outputs of stride 8 and 16


def main() -> None:
    import torch
    from anomalib.models.components import KCenterGreedy
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    job = json.loads(sys.stdin.read())
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    model = PatchcoreModel(layers=LAYERS, backbone="tf_efficientnet_lite0", pre_trained=False)
    weights = build((8, 16)).state_dict()
    missing = model.feature_extractor.feature_extractor.load_state_dict(weights, strict=False).missing_keys
    if missing:
        raise RuntimeError(f"the peer's backbone has other tensors: {missing[:3]}")
    seconds = {}
    start = time.perf_counter()
    model.train()
    model.feature_extractor.eval()
    with torch.inference_mode():
        for batch in _batches(job["train"], job["size"]):
            model(batch)
        rows = torch.vstack(model.embedding_store)
        model.embedding_store.clear()
        seconds["features"] = time.perf_counter() - start

        start = time.perf_counter()
        sampler = KCenterGreedy(embedding=rows, sampling_ratio=job["ratio"])
        wanted = sampler.coreset_size
        sampler.coreset_size = min(job["picks"], wanted)
        model.memory_bank = sampler.sample_coreset()
        seconds["coreset"] = (time.perf_counter() - start) * wanted / sampler.coreset_size

        start = time.perf_counter()
        model.eval()
        scores = [s for batch in _batches(job["test"], job["size"]) for s in model(batch).pred_score.flatten().tolist()]
        seconds["test"] = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "scores": scores, "rows": len(rows), "wanted": wanted}))


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
