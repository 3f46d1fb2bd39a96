"""The YAMLs of `ray up`: Ray's own checks, and what every node is told to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import ray.autoscaler
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster_files.files import CLUSTERS, LAUNCHED, README, ROOT, TRIAL_CORES, TRIAL_GPUS, launcher_config

pytestmark = pytest.mark.cluster

INSTALL = ("--require-hashes -r ~/clusters/constraints.txt", "--no-deps ~/dist/swag_ray-*.whl")


@pytest.mark.parametrize("name", LAUNCHED)
def test_rays_own_checks_accept_it(name: str) -> None:
    config = prepare_config(launcher_config(name))
    validate_config(config)
    assert config["head_node_type"] in config["available_node_types"]
    assert config["max_workers"] >= sum(t["min_workers"] for t in config["available_node_types"].values())


def test_the_schema_and_we_refuse_unknown_keys() -> None:
    """Ray's schema has `additionalProperties: false` on top and for node types; the rest is held here."""
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text(encoding="utf-8"))
    for name in LAUNCHED:
        config = launcher_config(name)
        assert set(config) <= set(schema["properties"])
        for section in ("auth", "docker"):
            assert set(config[section]) <= set(schema["properties"][section]["properties"])
        with pytest.raises(Exception, match="bucket"):
            validate_config({**prepare_config(config), "bucket": "x"})


@pytest.mark.parametrize("name", LAUNCHED)
def test_every_node_gets_the_wheel_by_the_yaml_itself(name: str) -> None:
    config = prepare_config(launcher_config(name))
    assert config["file_mounts"]["/home/ray/dist"] == "dist"
    assert "-w dist ." in README
    assert config["file_mounts"]["/home/ray/clusters"] == CLUSTERS.name
    assert (CLUSTERS / "constraints.txt").is_file()
    for kind in ("head_setup_commands", "worker_setup_commands"):
        for part in INSTALL:  # all that it needs, whole and by its hash, and then the wheel
            assert sum(part in command for command in config[kind]) == 1
        assert not any("ray-wheels" in command or "boto3>=" in command for command in config[kind]), "Ray's defaults"
    assert not any("worker_setup_commands" in t for t in config["available_node_types"].values()), "would replace ours"


def test_the_wheels_name_is_what_the_glob_finds() -> None:
    from swag_ray import __version__

    assert Path(f"swag_ray-{__version__}-py3-none-any.whl").match("swag_ray-*.whl")
    assert f"swag-ray:{__version__}" in (CLUSTERS / "kuberay.yaml").read_text(encoding="utf-8")
    assert (ROOT / ".gitignore").read_text(encoding="utf-8").count("/dist/") == 1


@pytest.mark.parametrize("name", LAUNCHED)
def test_every_container_asks_for_the_token(name: str) -> None:
    config = launcher_config(name)
    assert config["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    text = (CLUSTERS / f"{name}.yaml").read_text(encoding="utf-8")
    assert "RAY_AUTH_TOKEN=" not in text, "a token does not belong into a file under version control"


@pytest.mark.parametrize(("name", "path"), [("aws", "/data"), ("gcp", "/shared"), ("onprem", "/shared")])
def test_the_dataset_lies_at_one_path_on_every_node(name: str, path: str) -> None:
    config = launcher_config(name)
    (volume,) = (option for option in config["docker"]["run_options"] if option.startswith("--volume"))
    assert volume.split(":")[1] == path
    assert not {"head_run_options", "worker_run_options"} & set(config["docker"])
    assert f"--set dataset.root={path}/" in README


def trial_fits(resources: dict[str, Any]) -> bool:
    return resources["CPU"] >= TRIAL_CORES and resources["GPU"] >= TRIAL_GPUS


def test_gcp_nodes_hold_a_trial() -> None:
    types = launcher_config("gcp")["available_node_types"]
    assert "GPU" not in types["head"]["resources"]
    for name in ("gpu", "gpu_spot"):
        config, resources = types[name]["node_config"], types[name]["resources"]
        assert trial_fits(resources)
        assert config["guestAccelerators"][0]["acceleratorCount"] == resources["GPU"]
        assert config["machineType"] == f"n1-standard-{resources['CPU']}"  # 3.75 GiB a core: 15 in all
    assert types["gpu_spot"]["node_config"]["scheduling"]["provisioningModel"] == "SPOT"
    assert types["gpu"]["min_workers"] >= 1


def test_gcp_node_configs_are_instances_as_google_describes_them() -> None:
    """Every field, to the depth that is written, is one of the Compute API's, with its type."""
    googleapiclient = pytest.importorskip("googleapiclient")
    path = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents" / "compute.v1.json"
    schemas = json.loads(path.read_text(encoding="utf-8"))["schemas"]

    def check(value: Any, schema: dict[str, Any], where: str) -> None:
        schema = schemas[schema["$ref"]] if "$ref" in schema else schema
        if schema["type"] == "array":
            assert isinstance(value, list), where
            for item in value:
                check(item, schema["items"], where)
        elif schema["type"] == "object":
            assert isinstance(value, dict), where
            for key, item in value.items():
                assert key in schema["properties"], f"{where}.{key}"
                check(item, schema["properties"][key], f"{where}.{key}")
        else:
            kinds: dict[str, tuple[type, ...]] = {"string": (str, int), "integer": (int,), "boolean": (bool,)}
            assert isinstance(value, kinds[schema["type"]]), where  # int64 travels as text
            assert value in schema.get("enum", [value]), where

    for name, node_type in launcher_config("gcp")["available_node_types"].items():
        check(node_type["node_config"], {"$ref": "Instance"}, name)


def test_own_machines_keep_all_their_workers() -> None:
    config = launcher_config("onprem")
    node_type = prepare_config(config)["available_node_types"]["local.cluster.node"]
    assert node_type["min_workers"] == node_type["max_workers"] == len(config["provider"]["worker_ips"])
