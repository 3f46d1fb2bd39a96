"""Generators depend on their names alone, and on every one of them."""

from __future__ import annotations

import torch

from swag_ray.core.seeding import derive, numpy_generator, torch_generator


def test_the_same_names_give_the_same_draws_on_every_machine() -> None:
    assert derive(0, "head", 1, 2) == derive(0, "head", 1, 2) < 2**63
    assert numpy_generator(0, "a").integers(10**9) == numpy_generator(0, "a").integers(10**9)
    draws = [torch.randn(3, generator=torch_generator(0, "a")) for _ in range(2)]
    assert torch.equal(*draws)


def test_every_part_and_its_place_count() -> None:
    names = [
        (0, "head", 1, 2),
        (0, "head", 2, 1),
        (1, "head", 1, 2),
        (0, "adapter", 1, 2),
        (0, "head", 12),
        (0, "head", 1),
    ]
    assert len({derive(*parts) for parts in names}) == len(names)
