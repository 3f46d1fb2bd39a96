"""A logger's secrets go by the environment: no file holds one, and a sweep that goes on says what it lacks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from swag_ray.config.sweep import SweepConfig, load_sweep, to_yaml
from swag_ray.errors import InputError
from swag_ray.sweep.credentials import PASSWORD, USER, with_secrets_in_environment
from swag_ray.sweep.trial_log import check_sweep_directory

LOGGERS: dict[str, Any] = {
    "mlflow": {
        "tracking_uri": "https://someone:hush%2FQUIET@host:5000/x", "tracking_token": "QUIETTOKEN",
        "experiment_name": "study",
    },
    "wandb": {"project": "p", "api_key": "QUIETKEY", "api_key_file": None, "settings": {"token": "QUIETEST"}},
}  # fmt: skip


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (USER, PASSWORD, "MLFLOW_TRACKING_TOKEN", "WANDB_API_KEY"):
        monkeypatch.setenv(name, "")  # so that what the code sets is undone after the test


@pytest.fixture
def sweep() -> SweepConfig:
    base = {"dataset": {"kind": "digit_anatomy"}}
    return SweepConfig.model_validate(
        {"name": "study", "base": base, "search": {"gate.budget": [1, 2]}, "loggers": LOGGERS}
    )


def test_what_the_loggers_are_given_and_what_is_written_holds_no_secret(sweep: SweepConfig) -> None:
    given = with_secrets_in_environment(sweep).loggers
    assert given["mlflow"] == {"tracking_uri": "https://host:5000/x", "experiment_name": "study"}
    assert given["wandb"]["project"] == "p" and "api_key" not in given["wandb"]
    assert (os.environ[USER], os.environ[PASSWORD]) == ("someone", "hush/QUIET")
    assert (os.environ["WANDB_API_KEY"], os.environ["MLFLOW_TRACKING_TOKEN"]) == ("QUIETKEY", "QUIETTOKEN")
    text = to_yaml(sweep)
    assert "QUIET" not in text and "hush" not in text and "experiment_name: study" in text


@pytest.fixture
def held(sweep: SweepConfig, tmp_path: Path) -> Path:
    """The directory of a sweep, as it is found when it goes on."""
    sweep = sweep.model_copy(update={"loggers": {**LOGGERS, "wandb": {"project": "p", "api_key": "QUIETKEY"}}})
    (tmp_path / "sweep.yaml").write_text(to_yaml(sweep))
    return tmp_path


def test_a_sweep_that_goes_on_finds_them_in_the_environment(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (USER, PASSWORD, "MLFLOW_TRACKING_TOKEN", "WANDB_API_KEY"):
        monkeypatch.setenv(name, "given")
    found = load_sweep(held / "sweep.yaml")
    check_sweep_directory(held, found)
    assert with_secrets_in_environment(found).loggers["mlflow"]["tracking_uri"] == "https://host:5000/x"
    assert os.environ["WANDB_API_KEY"] == "given"


def test_or_is_told_what_to_give_in_one_line(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^loggers\.mlflow\.tracking_uri: a sweep's directory keeps no secret; set"):
        with_secrets_in_environment(load_sweep(held / "sweep.yaml"))
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "given")
    with pytest.raises(InputError) as caught:
        with_secrets_in_environment(load_sweep(held / "sweep.yaml"))
    assert str(caught.value).endswith("set WANDB_API_KEY, or give it again with --set loggers.wandb.api_key")
    again = load_sweep(held / "sweep.yaml", ["loggers.wandb.api_key=QUIETKEY"])
    assert "api_key" not in with_secrets_in_environment(again).loggers["wandb"]


def test_a_secret_that_no_variable_holds_is_given_again(sweep: SweepConfig, tmp_path: Path) -> None:
    arguments = {"wandb": {"project": "p", "settings_token": "QUIET"}}
    (tmp_path / "sweep.yaml").write_text(to_yaml(sweep.model_copy(update={"loggers": arguments})))
    with pytest.raises(InputError, match=r"wandb\.settings_token: .*; give it again with --set loggers\.wandb\."):
        with_secrets_in_environment(load_sweep(tmp_path / "sweep.yaml"))
