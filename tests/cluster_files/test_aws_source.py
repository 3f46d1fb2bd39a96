"""Every call in the source of Ray's AWS provider is allowed by a policy, or not needed for a reason that holds."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.cluster_files.files import CLUSTERS, README, launcher_config, policy
from tests.cluster_files.iam import actions

pytestmark = pytest.mark.cluster

boto3 = pytest.importorskip("boto3")
xform_name = pytest.importorskip("botocore").xform_name

SOURCE = Path(ray.__file__).parent / "autoscaler" / "_private" / "aws"
MODULES = ("node_provider.py", "config.py", "utils.py")

PROFILES = "every node type names its instance profile"
NO_STOPPING = "cache_stopped_nodes is false"
GROUP = "the README makes the security group, with rules, beforehand"
NOT_NEEDED = {
    "CreateInstanceProfile": PROFILES,
    "GetInstanceProfile": PROFILES,
    "AddRoleToInstanceProfile": PROFILES,
    "GetRole": PROFILES,
    "CreateRole": PROFILES,
    "AttachRolePolicy": PROFILES,
    "StartInstances": NO_STOPPING,
    "StopInstances": NO_STOPPING,
    "CreateSecurityGroup": GROUP,
    "AuthorizeSecurityGroupIngress": GROUP,
    "DescribeImages": "only with a CloudWatch agent, and none is configured",
    "DescribeLaunchTemplateVersions": "no node type has a launch template",
}


# Resources whose methods Ray calls; `load` is what every one of them calls its own look-up.
RESOURCES = {"ec2": ("Instance", "SecurityGroup"), "iam": ("Role", "InstanceProfile")}
LOAD = {"GetRole", "GetInstanceProfile"}


def operations_by_name() -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """{Python name: API operations} of methods (of clients and resources) and of collections."""
    methods: dict[str, set[str]] = {"load": LOAD}
    collections: dict[str, set[str]] = {}
    session = boto3.session.Session(region_name="us-west-2")
    for service, resources in RESOURCES.items():
        for name, operation in session.client(service).meta.method_to_api_mapping.items():
            methods.setdefault(name, set()).add(operation)
        model = session._loader.load_service_model(service, "resources-1", None)
        for owner in [model["service"], *(model["resources"][name] for name in resources)]:
            for names, kind in ((methods, "actions"), (collections, "hasMany")):
                for name, entry in owner.get(kind, {}).items():
                    names.setdefault(xform_name(name), set()).add(entry["request"]["operation"])
    return methods, collections


def called() -> dict[str, set[str]]:
    """{API operation: names in the source} over Ray's provider: `x.method`, and `x.collection.all` or `.filter`."""
    methods, collections = operations_by_name()
    found: dict[str, set[str]] = {}
    for module in MODULES:
        for node in ast.walk(ast.parse((SOURCE / module).read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Attribute):
                continue
            names = methods
            if node.attr in ("all", "filter") and isinstance(node.value, ast.Attribute):
                node, names = node.value, collections
            if node.attr in names and _is_aws(node.value):
                for operation in names[node.attr]:
                    found.setdefault(operation, set()).add(node.attr)
    return found


def _is_aws(owner: ast.expr) -> bool:
    """Whether an expression is one of those that hold a client or a resource in Ray's source."""
    text = ast.unparse(owner).split("(")[0]
    return text.split(".")[-1] in {
        "ec2", "ec2_fail_fast", "client", "iam", "role", "profile", "node", "target_security_group",
    }  # fmt: skip


def test_the_reader_sees_what_ray_is_known_to_call() -> None:
    found = set(called())
    assert {"RunInstances", "DescribeInstances", "CreateTags", "TerminateInstances", "DescribeSubnets"} <= found
    assert {"DescribeKeyPairs", "CreateKeyPair", "DescribeInstanceTypes", "DescribeSecurityGroups"} <= found
    assert {"StopInstances", "StartInstances", "CreateRole", "AuthorizeSecurityGroupIngress"} <= found


def test_every_call_is_allowed_or_not_needed() -> None:
    may = actions(policy("launcher")) | actions(policy("head"))
    found = called()
    missing = {o: n for o, n in found.items() if f"ec2:{o}" not in may and o not in NOT_NEEDED}
    assert not missing, f"Ray calls what no policy allows: {missing}"
    assert set(NOT_NEEDED) <= set(found), "reasons for calls that Ray no longer makes"
    assert not {f"ec2:{o}" for o in NOT_NEEDED} & may, "allowed although not needed"


def test_the_policies_allow_nothing_else() -> None:
    compute = {
        action for who in ("launcher", "head", "worker") for action in actions(policy(who)) if "s3:" not in action
    }
    assert compute - {f"ec2:{operation}" for operation in called()} == {"iam:PassRole", "ssm:GetParameters"}
    assert not any("*" in action for action in compute)
    assert all(action.startswith("s3:") for action in actions(policy("worker")))


def test_the_reasons_hold() -> None:
    config: dict[str, Any] = launcher_config("aws")
    nodes = [node_type["node_config"] for node_type in config["available_node_types"].values()]
    assert all(node["IamInstanceProfile"]["Name"].startswith("swag-ray-") for node in nodes)
    assert config["provider"]["cache_stopped_nodes"] is False
    assert config["provider"]["security_group"] == {"GroupName": "swag-ray"}
    assert "aws ec2 create-security-group --group-name swag-ray " in README
    assert README.count("aws ec2 authorize-security-group-ingress") == 2
    assert "cloudwatch" not in config["provider"]
    assert not any("LaunchTemplate" in node for node in nodes)


def test_passing_roles_is_limited_to_one_each() -> None:
    for who, role in (("launcher", "swag-ray-head"), ("head", "swag-ray-worker")):
        (rule,) = (s for s in policy(who) if s["Action"] == "iam:PassRole")
        assert rule["Resource"].endswith(f":role/{role}")
        assert rule["Condition"] == {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}
    trust = json.loads((CLUSTERS / "iam" / "trust.json").read_text(encoding="utf-8"))["Statement"]
    assert [s["Principal"] for s in trust] == [{"Service": "ec2.amazonaws.com"}]
