"""What a trial that fails says: all of it, without secrets; or, of an anonymous sweep, where and what kind alone."""

from __future__ import annotations

import pytest

from swag_ray.cluster.tune.trials import failure
from swag_ray.errors import InputError


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (InputError("dataset.root: cannot read /data/Jane.png", "remove it"), "dataset.root: "),
        (InputError("'/data/Jane.png' changed after it was listed"), "InputError: "),
        (InputError("--out: cannot write to '/data/Jane'"), "--out: "),
        (ValueError("Jane.png: odd"), "ValueError: "),
    ],
)
def test_an_anonymous_trial_says_field_and_kind(error: Exception, shown: str) -> None:
    told = failure(raised(error), anonymous=True)
    assert told["status"] == "failed" and told["error"].startswith(shown) and "Jane" not in str(told)
    named = failure(raised(error), anonymous=False)
    assert "Jane" in named["error"]
    assert ("traceback" in told) == ("traceback" in named) == isinstance(error, ValueError)
    assert "test_failure.py" in told.get("traceback", "test_failure.py"), "the place of a fault of ours"


def test_no_trial_says_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")
    told = failure(raised(OSError("http://u:hush@h refused wJalrXUtnFEMI/K7MDENG")), anonymous=False)
    assert "hush" not in str(told) and "wJalr" not in str(told) and "http://***@h refused ***" in told["error"]
