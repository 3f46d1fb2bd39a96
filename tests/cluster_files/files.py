"""The files of clusters/, as the tests read them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
CLUSTERS = ROOT / "clusters"
README = (CLUSTERS / "README.md").read_text(encoding="utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

LAUNCHED = ("aws", "gcp", "onprem")  # by `ray up`
# A trial's actor: one core, one GPU; a process with PyTorch, CUDA and the features of a shard fits in 8 GiB with room.
TRIAL_CORES, TRIAL_GPUS, TRIAL_GIB = 1, 1, 8

BUCKET, ACCOUNT, REGION = "some-bucket", "123456789012", "us-west-2"


def launcher_config(name: str) -> dict[str, Any]:
    """A YAML of `ray up`, as written."""
    return yaml.safe_load((CLUSTERS / f"{name}.yaml").read_text(encoding="utf-8"))


def manifests(text: str) -> list[dict[str, Any]]:
    """The objects of a Kubernetes YAML."""
    return list(yaml.safe_load_all(text))


def ray_cluster() -> dict[str, Any]:
    """The RayCluster of kuberay.yaml."""
    found = manifests((CLUSTERS / "kuberay.yaml").read_text(encoding="utf-8"))
    return next(object_ for object_ in found if object_["kind"] == "RayCluster")


def policy_text(name: str) -> str:
    """A policy, its placeholders filled in as the README's `sed` does."""
    text = (CLUSTERS / "iam" / f"{name}.json").read_text(encoding="utf-8")
    for placeholder, value in (("BUCKET", BUCKET), ("ACCOUNT", ACCOUNT), ("REGION", REGION)):
        text = text.replace(placeholder, value)
    return text


def policy(name: str) -> list[dict[str, Any]]:
    """The statements of a policy."""
    return json.loads(policy_text(name))["Statement"]


def constraints() -> dict[str, str]:
    """{package: version} of constraints.txt."""
    return {name: version for name, version, _ in pins()}


def pins() -> list[tuple[str, str, list[str]]]:
    """Name, version and hashes of every package in constraints.txt."""
    text = (CLUSTERS / "constraints.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    found = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            pin, *hashes = line.split()
            name, version = pin.split("==")
            found.append((name, version, [text.removeprefix("--hash=") for text in hashes]))
    return found


def requirements(extra: str | None = None) -> list[Requirement]:
    """What pyproject.toml asks for on a node: Linux, x86-64, Python 3.11."""
    texts = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    node = {"sys_platform": "linux", "platform_machine": "x86_64", "python_version": "3.11"}
    found = [Requirement(text) for text in texts]
    return [r for r in found if r.marker is None or r.marker.evaluate(node)]


def commands() -> list[str]:
    """Every shell command of the README's indented blocks, without its comment."""
    lines = [
        line.strip() for line in README.splitlines() if line.startswith("    ") and not line.lstrip().startswith("-")
    ]
    return [line.split("  #")[0].strip() for line in lines]
