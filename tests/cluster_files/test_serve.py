"""clusters/serve and docs/serve.md: what they start is there, has these options, and is closed as they say."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster_files.files import CLUSTERS, PROJECT, ROOT, constraints, requirements

pytestmark = pytest.mark.cluster
DOCKERFILE = (CLUSTERS / "serve" / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((CLUSTERS / "serve" / "compose.yaml").read_text(encoding="utf-8"))
DOCS = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")


def instruction(name: str) -> list[str]:
    """The words of the one instruction of that name, in its JSON form."""
    (found,) = re.findall(rf"^{name} (\[.*\])$", DOCKERFILE, re.M)
    return list(yaml.safe_load(found))


def options_of_serve() -> set[str]:
    from typer.main import get_command

    from swag_ray.cli.commands import app

    group: Any = get_command(app)
    return {option for parameter in group.commands["serve"].params for option in parameter.opts}


def test_the_image_has_what_the_service_needs_and_no_rights() -> None:
    assert re.search(r"^FROM python:3\.11-slim$", DOCKERFILE, re.M)
    copied = re.findall(r"^COPY (.+)$", DOCKERFILE, re.M)
    assert copied == ["clusters/constraints.txt dist/swag_ray-*.whl /dist/"]
    assert "--require-hashes -r /dist/constraints.txt" in DOCKERFILE and "--no-deps /dist/swag_ray-*.whl" in DOCKERFILE
    for extra in ("serve", "dicom"):
        assert {r.name for r in requirements(extra)} <= set(constraints())
    assert DOCKERFILE.index("pip install") < DOCKERFILE.index("\nUSER swag\n") < DOCKERFILE.index("ENTRYPOINT")


def test_it_starts_the_command_with_a_token() -> None:
    program, command, bundle, *options = instruction("ENTRYPOINT") + instruction("CMD")
    assert program in {script.name for script in entry_points(group="console_scripts")} | set(PROJECT["scripts"])
    assert (command, bundle) == ("serve", "/bundle")
    given = dict(zip(options[::2], options[1::2], strict=True))
    assert set(given) <= options_of_serve() and given["--token-file"] == "/run/secrets/token"
    assert (given["--host"], given["--port"]) == ("0.0.0.0", "8000") and "EXPOSE 8000" in DOCKERFILE


def test_its_health_is_asked_without_a_token() -> None:
    (found,) = re.findall(r"CMD (\[\"python\".*\])$", DOCKERFILE, re.M)
    program, flag, code = yaml.safe_load(found)
    assert (program, flag) == ("python", "-c") and ":8000/ready'" in code
    compile(code, "HEALTHCHECK", "exec")


def test_the_service_reaches_no_network_and_writes_nowhere() -> None:
    service, proxy = COMPOSE["services"]["swag-ray"], COMPOSE["services"]["proxy"]
    assert service["networks"] == ["inside"] and COMPOSE["networks"]["inside"] == {"internal": True}
    assert "ports" not in service and proxy["ports"] == ["443:443"]
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    (mount,) = service["volumes"]
    assert re.fullmatch(r"\$\{BUNDLE:\?.*\}:/bundle:ro", mount) and service["secrets"] == ["token"]
    assert instruction("CMD") == ["--token-file", f"/run/secrets/{service['secrets'][0]}"]
    assert "swag-ray:8000" in proxy["command"]


def test_the_page_names_the_options_and_metrics_that_there_are() -> None:
    from swag_ray.serve.metrics import Metrics

    for line in re.findall(r"^    swag-ray serve .*$", DOCS, re.M):
        assert {word for word in shlex.split(line) if word.startswith("--")} <= options_of_serve(), line
    table = DOCS[DOCS.index("| option |") : DOCS.index("## What it answers")]
    assert set(re.findall(r"`(--[a-z-]+)", table)) == {option for option in options_of_serve() if option[:2] == "--"}
    counted = {line.split()[2] for line in Metrics().text().decode().splitlines() if line.startswith("# TYPE")}
    named = set(re.findall(r"`(swag_ray_\w+)", DOCS))
    assert named == {name for name in counted if not name.endswith("_created")}


def test_every_file_that_the_page_names_is_there() -> None:
    for path in re.findall(r"clusters/serve/[\w.]+", DOCS):
        assert Path(ROOT / path).is_file(), path
