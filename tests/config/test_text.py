"""A config's file: what is not YAML, no mapping or cannot be read is named; what is written reads back the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swag_ray.config import load_config
from swag_ray.config.sections import GateConfig
from swag_ray.config.text import dump_yaml, read_yaml
from swag_ray.errors import InputError


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("name: a\nname: b\n", "line 2, column 1: the key 'name' stands twice"),
        ("gate:\n  budget: 1\n  budget: 2\n", "line 3, column 3: the key 'budget' stands twice"),
        ("- a\n- b\n", "not list"),
        ("", "not NoneType"),
        ("just text", "not str"),
        ("a: [1, 2\nb: 3", "not valid YAML: line 2"),
        ("a: !!python/object/apply:os.system ['false']", "not valid YAML"),
        ("a: 2024-13-45", "not valid YAML"),
        ("1: x\nname: a\n", ": "),
        ("a\x00: 1", "not valid YAML"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_config(path)
    assert part in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml: cannot read the config: No such file"):
        load_config(tmp_path / "nowhere.yaml")
    with pytest.raises(InputError, match="cannot read the config: Is a directory"):
        load_config(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("name: übung".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        load_config(tmp_path / "latin.yaml")


def test_a_section_whose_lines_are_commented_out_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("name: a\ndataset: {root: /x, anomaly: B}\ngate:\n  # budget: 1\nadapter:\n", encoding="utf-8")
    assert load_config(path).gate == GateConfig()


@given(
    st.floats(allow_nan=False, allow_infinity=False), st.from_regex(r"[-+]?[0-9.]{1,4}[eE][-+]?[0-9]", fullmatch=True)
)
def test_numbers_stay_numbers_and_text_stays_text(
    tmp_path_factory: pytest.TempPathFactory, number: float, text: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "plain.yaml"
    file.write_text(dump_yaml({"number": number, "text": text}), encoding="utf-8")
    assert read_yaml(file) == {"number": number, "text": text}
