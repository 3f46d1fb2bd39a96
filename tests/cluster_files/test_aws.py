"""aws.yaml through Ray's own AWS provider, against a mock EC2; the policies against every call that it made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster_files.files import (
    ACCOUNT,
    BUCKET,
    REGION,
    TRIAL_CORES,
    TRIAL_GIB,
    TRIAL_GPUS,
    launcher_config,
    policy,
    policy_text,
)
from tests.cluster_files.iam import allowed

pytestmark = pytest.mark.cluster

boto3 = pytest.importorskip("boto3")
moto = pytest.importorskip("moto")
BaseClient = pytest.importorskip("botocore.client").BaseClient
ParamValidator = pytest.importorskip("botocore.validate").ParamValidator

TAG = "ray-cluster-name"
EC2 = f"arn:aws:ec2:{REGION}:{ACCOUNT}"


class Call(NamedTuple):
    """A call to AWS: the operation's name and its parameters."""

    operation: str
    parameters: dict[str, Any]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Call]]:
    """A mock account, set up as the README says; the list receives every call made from then on."""
    from ray.autoscaler._private.aws import config, utils

    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(key, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("MOTO_ACCOUNT_ID", ACCOUNT)
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes the key pair's key to ~/.ssh
    made: list[Call] = []
    make = BaseClient._make_api_call

    def record(self: Any, operation: str, parameters: dict[str, Any]) -> Any:
        made.append(Call(operation, parameters))
        return make(self, operation, parameters)

    caches = (utils.resource_cache, utils.client_cache, config._get_subnets_or_die)
    for cache in caches:  # clients and answers of another test's account
        cache.cache_clear()
    with moto.mock_aws():
        ec2, iam = boto3.client("ec2"), boto3.client("iam")
        for name in ("swag-ray-head", "swag-ray-worker"):
            iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
            iam.create_instance_profile(InstanceProfileName=name)
            iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        group = ec2.create_security_group(GroupName="swag-ray", Description="swag-ray nodes")["GroupId"]
        inside = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[inside])
        monkeypatch.setattr(BaseClient, "_make_api_call", record)
        yield made
    for cache in caches:
        cache.cache_clear()


def bootstrapped() -> dict[str, Any]:
    """What `ray up` makes of aws.yaml before it launches the head."""
    from ray.autoscaler._private.commands import _bootstrap_config

    return _bootstrap_config(launcher_config("aws"), no_config_cache=True)


def launched(config: dict[str, Any], node_type: str, kind: str) -> tuple[Any, str]:
    """The provider, and the instance that it launched as Ray would."""
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    tags = {
        "ray-node-type": kind,
        "ray-user-node-type": node_type,
        "ray-launch-config": "x",
        "ray-node-name": "y",
        "ray-node-status": "uninitialized",
    }
    (instance,) = provider.create_node(config["available_node_types"][node_type]["node_config"], tags, 1)
    return provider, instance


def granted(statements: list[dict[str, Any]], call: Call, config: dict[str, Any], tags: dict[str, str]) -> bool:
    """Whether a policy allows a call, with everything that AWS would ask of it.

    Args:
        tags: those of the instances that the call is about.
    """
    action, given = f"ec2:{call.operation}", call.parameters
    of_tags = {f"aws:ResourceTag/{key}": value for key, value in tags.items()}
    if call.operation.startswith("Describe"):
        return allowed(statements, action, "*", {"aws:RequestedRegion": REGION})
    if call.operation == "CreateKeyPair":
        return allowed(statements, action, f"{EC2}:key-pair/{given['KeyName']}", {})
    if call.operation == "TerminateInstances":
        return all(allowed(statements, action, f"{EC2}:instance/{i}", of_tags) for i in given["InstanceIds"])
    if call.operation == "CreateTags":
        return all(allowed(statements, action, f"{EC2}:instance/{i}", of_tags) for i in given["Resources"])
    assert call.operation == "RunInstances", call.operation
    new = {tag["Key"]: tag["Value"] for tag in given["TagSpecifications"][0]["Tags"]}
    context = {f"aws:RequestTag/{key}": value for key, value in new.items()}
    context["ec2:InstanceType"] = given["InstanceType"]
    parts = ["network-interface/*", "volume/*", f"subnet/{given['SubnetId']}", f"key-pair/{given['KeyName']}"]
    parts += [f"security-group/{group}" for group in given["SecurityGroupIds"]]
    if given.get("InstanceMarketOptions", {}).get("MarketType") == "spot":
        parts.append("spot-instances-request/*")
    role = f"arn:aws:iam::{ACCOUNT}:role/{given['IamInstanceProfile']['Name']}"  # named like its profile
    parameter = f"arn:aws:ssm:{REGION}::parameter{given['ImageId'].removeprefix('resolve:ssm:')}"
    return (
        allowed(statements, action, f"{EC2}:instance/*", context)
        and all(allowed(statements, action, f"{EC2}:{part}", {}) for part in parts)
        and allowed(statements, action, f"arn:aws:ec2:{REGION}::image/ami-0", {})
        and allowed(statements, "ssm:GetParameters", parameter, {})
        and allowed(statements, "ec2:CreateTags", f"{EC2}:instance/*", {"ec2:CreateAction": action.split(":")[1]})
        and allowed(statements, "iam:PassRole", role, {"iam:PassedToService": "ec2.amazonaws.com"})
    )


def test_ray_up_makes_nothing_but_the_key_pair(calls: list[Call], tmp_path: Path) -> None:
    config = bootstrapped()
    changing = {call.operation for call in calls if not call.operation.startswith("Describe")}
    assert changing == {"CreateKeyPair"}
    assert (tmp_path / ".ssh" / "swag-ray.pem").stat().st_mode & 0o777 == 0o600
    groups = {tuple(t["node_config"]["SecurityGroupIds"]) for t in config["available_node_types"].values()}
    assert len(groups) == 1, "all nodes are in the group that was made by hand"
    assert all(granted(policy("launcher"), call, config, {}) for call in calls)


def test_node_types_hold_a_trial(calls: list[Call]) -> None:
    """Cores, GPUs and memory as EC2 describes the instance types, through Ray's own reading of that."""
    config = bootstrapped()
    types = config["available_node_types"]
    assert "GPU" not in types["head"]["resources"]
    assert types["head"]["resources"]["CPU"] >= 2
    described = boto3.client("ec2").describe_instance_types(InstanceTypes=["m6i.xlarge", "g4dn.xlarge"])
    memory = {t["InstanceType"]: t["MemoryInfo"]["SizeInMiB"] / 1024 for t in described["InstanceTypes"]}
    for name, node_type in types.items():
        assert memory[node_type["node_config"]["InstanceType"]] >= TRIAL_GIB
        if name != "head":
            assert node_type["resources"]["CPU"] >= TRIAL_CORES
            assert node_type["resources"]["GPU"] >= TRIAL_GPUS
            assert node_type["resources"]["memory"] >= TRIAL_GIB * 2**30  # what is left beside the object store
    assert types["gpu"]["min_workers"] >= 1, "a run on a cluster without a GPU would stay on the head's cores"
    assert types["gpu_spot"]["max_workers"] + types["gpu"]["max_workers"] <= config["max_workers"]


@pytest.mark.parametrize(
    ("node_type", "kind", "who"),
    [("head", "head", "launcher"), ("gpu", "worker", "head"), ("gpu_spot", "worker", "head")],
)
def test_whoever_launches_a_node_may_do_all_that_ray_calls(
    calls: list[Call], node_type: str, kind: str, who: str
) -> None:
    """Launch, tag, look, end: by the user for the head, by the head for workers; and by nobody else."""
    config = bootstrapped()
    calls.clear()
    provider, instance = launched(config, node_type, kind)
    assert provider.non_terminated_nodes({}) == [instance]
    provider.set_node_tags(instance, {"ray-node-status": "up-to-date"})
    provider.terminate_nodes([instance])
    assert provider.non_terminated_nodes({}) == []
    made = {call.operation for call in calls}
    assert made == {"RunInstances", "CreateTags", "DescribeInstances", "TerminateInstances"}
    own = {TAG: config["cluster_name"]}
    assert all(granted(policy(who), call, config, own) for call in calls)
    (run,) = (call for call in calls if call.operation == "RunInstances")
    assert (run.parameters.get("InstanceMarketOptions", {}).get("MarketType") == "spot") == (node_type == "gpu_spot")
    other = "head" if who == "launcher" else "launcher"
    assert not granted(policy(other), run, config, own)
    assert not granted(policy("worker"), run, config, own)
    for call in calls:
        if call.operation in ("CreateTags", "TerminateInstances"):
            assert not granted(policy(who), call, config, {TAG: "another cluster"})
            assert not granted(policy(who), call, config, {})
            assert not granted(policy("worker"), call, config, own)


def test_ray_down_ends_workers_with_the_users_policy(calls: list[Call]) -> None:
    config = bootstrapped()
    provider, instance = launched(config, "gpu", "worker")
    calls.clear()
    provider.terminate_nodes([instance])
    own = {TAG: config["cluster_name"]}
    assert all(granted(policy("launcher"), call, config, own) for call in calls)


@pytest.mark.parametrize("node_type", ["head", "gpu", "gpu_spot"])
def test_botocore_accepts_every_node_config(calls: list[Call], node_type: str) -> None:
    """The call's parameters, exactly as Ray's provider sends them, against EC2's own description of RunInstances."""
    config = bootstrapped()
    calls.clear()
    launched(config, node_type, "head" if node_type == "head" else "worker")
    (run,) = (call for call in calls if call.operation == "RunInstances")
    shape = boto3.client("ec2").meta.service_model.operation_model("RunInstances").input_shape
    report = ParamValidator().validate(run.parameters, shape)
    assert not report.has_errors(), report.generate_report()
    wrong = {**run.parameters, "MetadataOptions": {"HttpToken": "required"}}
    assert ParamValidator().validate(wrong, shape).has_errors(), "the check would notice a wrong name"


def test_iam_takes_the_policies(calls: list[Call]) -> None:
    """As documents, and within IAM's sizes: 6,144 characters a policy, 10,240 in a role, white space aside."""
    iam = boto3.client("iam")
    iam.create_role(RoleName="trusted", AssumeRolePolicyDocument=policy_text("trust"))
    for name, size in (("launcher", 6144), ("head", 10240), ("worker", 10240)):
        iam.create_policy(PolicyName=name, PolicyDocument=policy_text(name))
        assert len("".join(policy_text(name).split())) < size
    with pytest.raises(iam.exceptions.MalformedPolicyDocumentException):
        iam.create_policy(PolicyName="wrong", PolicyDocument=policy_text("head").replace('"Effect"', '"Efect"'))


def test_disks_need_no_hand_work_and_leave_nothing() -> None:
    for node_type in launcher_config("aws")["available_node_types"].values():
        (disk,) = node_type["node_config"]["BlockDeviceMappings"]
        assert disk["DeviceName"] == "/dev/sda1", "the root volume of Ubuntu's images"
        assert disk["Ebs"] == {"VolumeSize": 200, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
        assert node_type["node_config"]["MetadataOptions"] == {"HttpTokens": "required"}


def test_the_bucket_is_named_once_and_used_everywhere() -> None:
    config = launcher_config("aws")
    validate_config(prepare_config(config))
    first, *others = config["initialization_commands"]
    assert first == "echo my-swag-ray-bucket > ~/bucket"
    assert not any("my-swag-ray-bucket" in command for command in others)
    assert any('aws s3 sync --only-show-errors "s3://$(cat ~/bucket)/data" ~/data' in command for command in others)


@pytest.mark.parametrize("role", ["head", "worker"])
def test_roles_reach_one_bucket_and_cannot_change_the_dataset(role: str) -> None:
    bucket, rules = f"arn:aws:s3:::{BUCKET}", policy(role)
    assert allowed(rules, "s3:ListBucket", bucket, {})
    assert allowed(rules, "s3:GetObject", f"{bucket}/data/chest_xray/train/NORMAL/a.jpeg", {})
    assert not allowed(rules, "s3:PutObject", f"{bucket}/data/chest_xray/train/NORMAL/a.jpeg", {})
    for key in ("store/stages/fit/x/arrays.npz", "runs/pneumonia/metrics.json"):
        for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"):
            assert allowed(rules, action, f"{bucket}/{key}", {})
            assert not allowed(rules, action, f"arn:aws:s3:::another/{key}", {})
    assert not allowed(rules, "s3:DeleteBucket", bucket, {})
