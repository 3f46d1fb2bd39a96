"""What a service is called on its cluster, where another of the same name takes its place."""

from __future__ import annotations

import socket

import pytest

from swag_ray.core.alignment import Alignment
from swag_ray.detector.site import Site
from swag_ray.serve.serve import _name

DETECTOR, HERE = "63d1f0c2a94be715", ("127.0.0.1", 8000)


def site(shift: float = 0.5) -> Site:
    return Site("aligned", DETECTOR, 20, "2026-01-31", alignment=Alignment(shift, 0.1, 0.2), low=0.0, high=1.0)


def test_what_answers_otherwise_or_listens_elsewhere_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    first = _name(DETECTOR, site(), 0.05, HERE)
    assert _name(DETECTOR, site(), 0.05, HERE) == first, "one that is started again finds its own"
    others = [
        _name(DETECTOR[::-1], site(), 0.05, HERE), _name(DETECTOR, None, 0.05, HERE),
        _name(DETECTOR, site(0.6), 0.05, HERE), _name(DETECTOR, site(), 0.1, HERE),
        _name(DETECTOR, site(), 0.05, ("127.0.0.1", 8001)), _name(DETECTOR, site(), 0.05, ("192.0.2.1", 8000)),
    ]  # fmt: skip
    monkeypatch.setattr(socket, "gethostname", lambda: "another-machine")
    others.append(_name(DETECTOR, site(), 0.05, HERE))
    assert len({first, *others}) == 1 + len(others)
