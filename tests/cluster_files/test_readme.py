"""The README's commands: files that exist, and commands and flags that exist."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest

from tests.cluster_files.files import CLUSTERS, README, ROOT, commands

pytestmark = pytest.mark.cluster


def split(text: str) -> list[list[str]]:
    """The simple commands of a line, as words: parted at `;`, `&&` and `|`; `$(...)` becomes one word."""
    lexer = shlex.shlex(re.sub(r"\$\([^()]*\)", "VALUE", text), posix=True, punctuation_chars=";&|")
    lexer.whitespace_split, lexer.commenters = True, ""
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set(";&|"):
            found.append([])
        else:
            found[-1].append(word)
    return found


def lines_of(program: str) -> list[list[str]]:
    """Every use of a program in the README, in `$(...)` and in inline code too."""
    inline = [text for text in re.findall(r"`([^`\n]+)`", README) if text.startswith(f"{program} ")]
    texts = [*commands(), *inline]
    texts += [inner for text in texts for inner in re.findall(r"\$\(([^()]*)\)", text)]
    return [line for text in texts for line in split(text) if line and line[0] == program]


def test_every_file_that_is_named_is_there() -> None:
    named = set(re.findall(r"clusters/[\w./-]*\w", README)) - {"clusters/iam/"}
    assert {"clusters/aws.yaml", "clusters/gcp.yaml", "clusters/onprem.yaml", "clusters/kuberay.yaml"} <= named
    for path in named:
        assert (ROOT / path).exists() or path == "tests/cluster_files", path
    for file in {*CLUSTERS.glob("*.yaml"), *CLUSTERS.glob("*.txt"), CLUSTERS / "Dockerfile", *CLUSTERS.glob("serve/*")}:
        assert file.name in README
    for name in ("trust", "launcher", "head", "worker"):
        assert (CLUSTERS / "iam" / f"{name}.json").is_file()
        assert name in README
    assert (ROOT / "configs" / "pneumonia.yaml").is_file()


def test_swag_ray_has_these_commands_and_flags() -> None:
    from typer.main import get_command

    from swag_ray.cli.commands import app

    group: Any = get_command(app)
    used = [w[w.index("swag-ray") :] for w in lines_of("ray") if "swag-ray" in w] + lines_of("swag-ray")
    assert {w[1] for w in used} >= {"run", "sweep", "doctor", "store"}
    for line in used:
        command, rest = group, line[1:]
        while rest and getattr(command, "commands", None) and rest[0] in command.commands:
            command, rest = command.commands[rest[0]], rest[1:]
        assert command is not group, line
        options = {option for parameter in command.params for option in getattr(parameter, "opts", [])}
        assert {word for word in rest if word.startswith("--")} <= options, line
        if line[1] in ("run", "sweep") and not line[2].startswith("-"):
            assert (ROOT / "configs" / line[2].rpartition("/")[2]).is_file()


def test_ray_has_these_commands_and_flags() -> None:
    from ray.scripts import scripts

    found = lines_of("ray")
    assert {w[1] for w in found} >= {
        "up",
        "down",
        "exec",
        "dashboard",
        "job",
        "get-auth-token",
        "rsync-up",
        "rsync-down",
    }
    for line in found:
        if line[1] == "job":
            continue
        command = scripts.cli.commands[line[1]]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in line[2:] if word.startswith("-")} <= options, line


def test_ray_job_has_these_commands_and_flags() -> None:
    cli = pytest.importorskip("ray.dashboard.modules.job.cli")
    found = [w for w in lines_of("ray") if w[1] == "job"]
    assert {w[2] for w in found} >= {"submit", "list", "logs", "stop"}
    for line in found:
        command = cli.job_cli_group.commands[line[2]]
        options = {option for parameter in command.params for option in parameter.opts}
        own = line[3 : line.index("--")] if "--" in line else line[3:]
        assert {word for word in own if word.startswith("--")} <= options, line


def test_aws_has_these_commands_and_flags() -> None:
    """The AWS CLI names commands and flags after the API's operations and members."""
    boto3 = pytest.importorskip("boto3")
    xform_name = pytest.importorskip("botocore").xform_name
    ours = {"region", "query", "output", "max-items"}  # the CLI's own, for every command
    ours_here = {"authorize-security-group-ingress": {"protocol", "port", "cidr", "source-group"}}
    found = lines_of("aws")
    assert len(found) >= 14
    for line in found:
        _, service, operation, *rest = line
        if service == "s3":
            assert operation == "sync", line
            continue
        client = boto3.client({"s3api": "s3"}.get(service, service), region_name="us-west-2")
        name = client.meta.method_to_api_mapping[operation.replace("-", "_")]
        shape = client.meta.service_model.operation_model(name).input_shape
        members = {xform_name(member, "-") for member in shape.members}
        flags = {word.removeprefix("--") for word in rest if word.startswith("--")}
        assert flags <= members | ours | ours_here.get(operation, set()), line
        required = {xform_name(member, "-") for member in shape.required_members}
        assert required <= flags, line


def test_the_policies_are_filled_in_as_the_readme_says() -> None:
    (line,) = (command for command in commands() if command.startswith("sed ") and "iam" in command)
    for placeholder in ("BUCKET", "ACCOUNT", "REGION"):
        assert f"s/{placeholder}/" in line
        assert any(placeholder in file.read_text(encoding="utf-8") for file in (CLUSTERS / "iam").glob("*.json"))


def test_what_sed_replaces_is_in_the_file() -> None:
    edits = [line for line in lines_of("sed") if line[1] == "-i"]
    assert len(edits) == 3
    for _, _, script, path in edits:
        for part in script.split("; "):
            assert part.split(part[1])[1] in (ROOT / path).read_text(encoding="utf-8"), part


def test_every_mark_for_the_user_is_explained() -> None:
    marks = {file.name: file.read_text(encoding="utf-8").count("<--") for file in CLUSTERS.glob("*.yaml")}
    assert marks == {"aws.yaml": 1, "gcp.yaml": 2, "onprem.yaml": 1, "kuberay.yaml": 2}
    assert "marked" in README
