"""Arrays of another shape or kind are refused by the argument's name."""

from __future__ import annotations

import numpy as np
import pytest

from swag_ray.core.array_checks import finite, floats, mask


def test_what_fits_comes_back_as_float64_or_as_it_is() -> None:
    assert finite("a", np.ones((2, 3), dtype=np.float32), None, 3).dtype == np.float64
    assert np.isnan(floats("a", np.array([np.nan]), 1)[0])
    flags = np.array([True, False])
    assert mask("a", flags, None) is flags


@pytest.mark.parametrize("shape", [(2,), (None,), (None, 2), (3, 3), (None, None, None)])
def test_another_shape_is_refused(shape: tuple[int | None, ...]) -> None:
    with pytest.raises(ValueError, match=r"score_TK: .*\(2, 3\)"):
        finite("score_TK", np.ones((2, 3)), *shape)
    with pytest.raises(ValueError, match=r"held_TK: .*\(2, 3\)"):
        mask("held_TK", np.ones((2, 3), dtype=bool), *shape)


def test_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="s: 1 of 2 values are not finite"):
        finite("s", np.array([1, np.nan]), 2)
    with pytest.raises(ValueError, match=r"m: .* int64"):
        mask("m", np.array([0, 1]), 2)
