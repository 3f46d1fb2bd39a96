"""No secret is written or shown, and nothing else is masked."""

from __future__ import annotations

import sys
import traceback

import pytest

from swag_ray.cli.exit import masked_traceback
from swag_ray.config import load_config, parse_config
from swag_ray.errors import InputError
from swag_ray.masking import is_secret, masked, without_secrets
from swag_ray.store.store import Store
from tests.support.command_line import Command

SECRETS = (
    "s3://AKIAX:hush/QUIET@bucket/runs",
    "s3://AKIAX:hush@bucket/runs",
    "s3://bucket/runs?secret_key=hush",
    "s3://bucket/runs?region=eu&session_token=hush",
    "s3://bucket/runs?endpoint_override=someone:hush@host:9000",
    "https://someone:hush/QU@IET@host/x",
    "https://hush@host/x",
)


@pytest.mark.parametrize("address", SECRETS)
def test_no_command_says_a_secret_of_an_address(address: str, command: Command) -> None:
    for arguments in (
        ("store", "list", "--store", address),
        ("run", "demo.yaml", "--set", "name=x", "--set", f"store={address}"),
        ("config", "show", "configs/demo.yaml", "--set", f"store={address}"),
        ("report", address),
        ("run", "configs/demo.yaml", "--out", address),
        ("run", "configs/demo.yaml", "--set", f"dataset.root={address}"),
    ):
        ended = command(*arguments)
        assert ended.code == 2 and ended.complaint
        assert not any(part in ended.out + ended.err for part in ("hush", "QUI")), ended.err


@pytest.mark.parametrize(
    "override",
    [
        "loggers.wandb.api_key=[hush", "loggers.wandb.api_key=hush", "loggers=hush", "loggers.wandb=hush",
        "loggers.mlflow=[https://a:hush@b]", "loggers.wandb.api_key.=hush", "base.store={api_key: hush}",
    ],
)  # fmt: skip
def test_no_command_says_a_secret_that_it_was_given(override: str, command: Command) -> None:
    ended = command("sweep", "configs/ablation_small.yaml", "--set", "name=_", "--set", override)
    assert ended.complaint and "hush" not in ended.out + ended.err, ended.err


def test_an_endpoint_with_a_password_is_not_repeated(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://someone:hush@127.0.0.1:1")
    ended = command("store", "list", "--store", "s3://bucket/x")
    assert "AWS_ENDPOINT_URL" in ended.complaint and "hush" not in ended.err


def test_what_other_libraries_say_is_masked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")
    try:
        raise ValueError("signed with wJalrXUtnFEMI/K7MDENG for http://u:p@h")
    except ValueError as error:
        masked_traceback(type(error), error, error.__traceback__)
        told, plain = capsys.readouterr().err, "".join(traceback.format_exception(error))
    assert told.count("\n") == plain.count("\n") and "wJalr" not in told and "signed with *** for http://***@h" in told
    assert "wJalr" not in str(InputError("store: wJalrXUtnFEMI/K7MDENG", "drop wJalrXUtnFEMI/K7MDENG"))


def test_the_entry_point_masks_tracebacks(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)

    def fail() -> None:
        raise ValueError("a fault of ours")

    monkeypatch.setattr("swag_ray.config.schema", fail)
    with pytest.raises(ValueError, match="of ours"):
        command("config", "schema")
    assert sys.excepthook is masked_traceback


@pytest.mark.parametrize(
    "text",
    [
        "https://user:hu@sh@host/x", "tracking_token='hush1234'", 'api_key="hush hush"', "{'api_key': 'hush hush'}",
        "api_key=hu,hush", "api_key: hush12345", "Authorization: Bearer hushhush", "https://h/x?sig=hush&b=1",
        "X-Amz-Signature=hush", "pwd=hush", "passphrase=hush", "wandb(api_key = 'hush', project='p')",
    ],
)  # fmt: skip
def test_secrets_as_programs_print_them(text: str) -> None:
    told = masked(text)
    assert "hush" not in told and "***" in told, told


@pytest.mark.parametrize(
    "text",
    [
        "the token 'abc' is wrong", "tokens: none", "design=3", "s3://bucket/user@host/runs",
        "set RAY_AUTH_MODE=token and put the token of that cluster into RAY_AUTH_TOKEN",
        "loggers.wandb.api_key: is required", "http://127.0.0.1:9000/a b@c", "/data/a@b/c", "AWS_ACCESS_KEY_ID=AKIA",
        "--set gate.budget=3: must look like section.key=value", "passed=3",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert masked(text) == text


def test_names_of_secrets() -> None:
    named = ("api_key", "tracking_token", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "password", "accountKey")
    assert all(map(is_secret, named))
    others = ("api_key_file", "RAY_AUTH_TOKEN_PATH", "AWS_ACCESS_KEY_ID", "name", "random_seed", "top_fraction")
    assert not any(map(is_secret, others))


def test_a_config_without_secrets_is_written_as_it_is() -> None:
    plain = {"a": [1, 2.5, None, True, "x@y"], "tokens": None, "b": {"store": "s3://bucket/x", "root": "/data/a:b@c"}}
    assert without_secrets(plain) == plain
    held = {"wandb": {"api_key": "k", "project": "p"}, "credentials": {"user": "u", "more": ["x"]}}
    assert without_secrets(held) == {
        "wandb": {"api_key": "***", "project": "p"}, "credentials": {"user": "***", "more": ["***"]},
    }  # fmt: skip


def test_a_store_holds_no_credentials() -> None:
    for address in SECRETS[:5]:
        with pytest.raises(InputError, match="holds no credentials"):
            Store(address)
    with pytest.raises(InputError, match=r"store: .* must hold no credentials") as caught:
        parse_config({"name": "a", "dataset": {"kind": "digit_anatomy"}, "store": SECRETS[0]})
    assert "hush" not in str(caught.value)
    assert load_config("configs/demo.yaml", ["store=s3://bucket/user@host"]).store == "s3://bucket/user@host"
