"""kuberay.yaml, as Ray's autoscaler in the head pod would read it."""

from __future__ import annotations

import re

import pytest
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

from tests.cluster_files.files import (
    CLUSTERS,
    README,
    TRIAL_CORES,
    TRIAL_GIB,
    TRIAL_GPUS,
    constraints,
    manifests,
    ray_cluster,
)

pytestmark = pytest.mark.cluster


def test_rays_autoscaler_reads_it() -> None:
    cluster = ray_cluster()
    cluster["metadata"]["namespace"] = "default"  # filled in by the API server
    config = _derive_autoscaling_config_from_ray_cr(cluster)  # ends with Ray's validate_config
    head, workers = config["available_node_types"]["headgroup"], config["available_node_types"]["gpu"]
    assert "GPU" not in head["resources"]
    assert head["resources"]["CPU"] >= 1
    assert workers["resources"]["CPU"] >= TRIAL_CORES
    assert workers["resources"]["GPU"] >= TRIAL_GPUS
    assert workers["resources"]["memory"] >= TRIAL_GIB * 2**30
    assert 1 <= workers["min_workers"] < workers["max_workers"]
    assert config["idle_timeout_minutes"] == 10


def test_all_pods_have_one_image_and_one_volume() -> None:
    spec = ray_cluster()["spec"]
    pods = [spec["headGroupSpec"]["template"]["spec"], spec["workerGroupSpecs"][0]["template"]["spec"]]
    containers = [pod["containers"][0] for pod in pods]
    assert containers[0]["image"] == containers[1]["image"]
    assert (
        containers[0]["volumeMounts"] == containers[1]["volumeMounts"] == [{"name": "shared", "mountPath": "/shared"}]
    )
    (claim,) = manifests((CLUSTERS / "kuberay.yaml").read_text(encoding="utf-8"))[:1]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod, container in zip(pods, containers, strict=True):
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert pod["restartPolicy"] == "Never"
        assert container["resources"]["requests"] == container["resources"]["limits"], "the autoscaler reads limits"


def test_token_and_versions() -> None:
    spec = ray_cluster()["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["rayVersion"] == constraints()["ray"]
    assert spec["autoscalerOptions"]["version"] == "v2"


def test_the_readmes_job_runs_on_this_cluster() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (job,) = manifests(block)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": ray_cluster()["metadata"]["name"]}
    assert job["spec"]["entrypoint"].startswith("swag-ray run ")


@pytest.mark.parametrize("word", ["--require-hashes", "constraints.txt", "--no-deps", "swag_ray-*.whl"])
def test_the_image_is_made_as_a_node_is(word: str) -> None:
    assert word in (CLUSTERS / "Dockerfile").read_text(encoding="utf-8")
