from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from swag_ray.images.arrow_strings import factorize, text_bytes
from swag_ray.store.stages import PIECE, digest

NAMES = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4), max_size=30)


@given(NAMES, st.integers(0, 30))
def test_as_python_sorts_numbers_and_hashes(names: list[str], cut: int) -> None:
    column = pa.chunked_array([names[:cut], names[cut:]], pa.string())
    different, number_N = factorize(column)
    assert different.to_pylist() == sorted(set(names))
    assert [different[int(i)].as_py() for i in number_N] == names
    assert text_bytes(column).tolist() == [name.encode() for name in names]
    assert digest(column, different) == digest(names, sorted(set(names)))


def test_a_column_of_several_pieces_has_the_digest_of_its_list() -> None:
    names = [f'{i:x}"' for i in range(2 * PIECE + 1)]
    assert digest(pa.array(names), np.arange(3)) == digest(names, np.arange(3))
    assert text_bytes(pa.array(names)).tolist() == [name.encode() for name in names]
