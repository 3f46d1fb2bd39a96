"""The GPU runs the code of the CPU: same draws, figures equal but for rounding. Skipped where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from swag_ray.core import swag
from swag_ray.core.head import HeadSettings, fit_head, sample_weights
from swag_ray.core.seeding import torch_generator
from swag_ray.features.backbone import build_backbone
from swag_ray.features.extract import GPU_BATCH, extract
from swag_ray.system.device import device, is_out_of_gpu_memory, shortage
from tests.support.images import blocks, encoded

CPU = torch.device("cpu")
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")


def test_the_device_is_what_torch_sees() -> None:
    assert device().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_whoever_asks_for_the_device_computes_in_float32() -> None:
    """Features of a GPU and of the CPU have one name, so they must not differ in what a GPU drops by default."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    device()
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


def test_only_what_the_gpu_lacks_is_out_of_gpu_memory() -> None:
    assert is_out_of_gpu_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert not is_out_of_gpu_memory(RuntimeError("shapes differ")) and not is_out_of_gpu_memory(MemoryError())
    assert str(shortage(MemoryError(), "scoring")).startswith("memory: too little for scoring; end other programs")
    assert str(shortage(torch.OutOfMemoryError(), "it")) == "GPU memory: too little for it; free the GPU"
    with pytest.raises(RuntimeError, match="shapes differ"):
        shortage(RuntimeError("shapes differ"), "scoring")


@on_gpu
def test_a_gpu_that_is_full_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as found:
        torch.empty(2**50, dtype=torch.uint8, device="cuda")
    assert is_out_of_gpu_memory(found.value)


def head_on(where: torch.device | None) -> swag.State:
    generator = np.random.default_rng(0)
    rejected = np.arange(200) < 80
    x = generator.normal(0, 1, (200, 30)).astype(np.float32) + 0.5 * rejected[:, None].astype(np.float32)
    return fit_head(x, rejected, HeadSettings(1e-2), torch_generator("head"), where)


def test_no_device_is_the_cpu() -> None:
    assert torch.equal(head_on(None).mean["weight"], head_on(CPU).mean["weight"])


@on_gpu
def test_a_head_fitted_on_the_gpu_is_the_cpus() -> None:
    here, there = head_on(CPU), head_on(torch.device("cuda"))
    assert there.mean["weight"].is_cuda
    torch.testing.assert_close(there.mean["weight"].cpu(), here.mean["weight"], rtol=1e-3, atol=1e-5)
    draws = [sample_weights(state, [torch_generator("sample", s) for s in range(3)]) for state in (here, there)]
    np.testing.assert_allclose(draws[1][0], draws[0][0], rtol=1e-2, atol=1e-4)


@on_gpu
def test_features_extracted_on_the_gpu_are_the_cpus() -> None:
    backbone = build_backbone("tf_efficientnet_lite0", "bundled", (8, 16), 4)
    images = [encoded(blocks(i, 64)) for i in range(GPU_BATCH + 3)]
    here = list(extract(backbone, images, 64))
    there = list(extract(backbone.to(device()), images, 64))
    for a, b in zip(here, there, strict=True):
        for stride in (8, 16):
            scale = np.abs(a["features"][stride]).max()
            assert np.abs(a["features"][stride] - b["features"][stride]).max() < 0.02 * scale
