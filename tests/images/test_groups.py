from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swag_ray.images.groups import assign_patients, join_groups, patients_of, suggest_patients

PATTERN = r"^(p\d)"


def assign_groups(names: list[str], digests: list[str | None], pattern: str) -> list[str]:
    return assign_patients(names, digests, patients_of(names, pattern))


def test_patients_and_copies_join_across_both() -> None:
    names = ["p1_a", "p1_b", "p2_a", "loose", "x", "y"]
    digests = ["aa", "bb", "bb", "aa", "cc", None]
    groups = assign_groups(names, digests, PATTERN)
    assert groups[:4] == ["p1"] * 4  # p1_b = p2_a in bytes, loose = p1_a
    assert len({groups[0], groups[4], groups[5]}) == 3


def test_optional_group_that_took_no_part_is_no_patient() -> None:
    groups = assign_groups(["xa", "xb"], ["1", "2"], r"^(p\d)?x")
    assert groups[0] != groups[1]


@given(st.lists(st.tuples(st.sampled_from("0123"), st.sampled_from("abcdef"), st.booleans()), max_size=25))
def test_groups_are_the_connected_parts_in_any_order(files: list[tuple[str, str, bool]]) -> None:
    names = [f"p{patient}_{index}" if named else f"n{index}" for index, (patient, _, named) in enumerate(files)]
    digests = [digest for _, digest, _ in files]
    groups = assign_groups(names, digests, PATTERN)
    assert assign_groups(names[::-1], digests[::-1], PATTERN) == groups[::-1]
    # By brute force: join until nothing changes.
    label = list(range(len(files)))
    for _ in files:
        for first in range(len(files)):
            for second in range(len(files)):
                same_patient = files[first][2] and files[second][2] and files[first][0] == files[second][0]
                if same_patient or digests[first] == digests[second]:
                    label[first] = label[second] = min(label[first], label[second])
    for first in range(len(files)):
        for second in range(len(files)):
            assert (groups[first] == groups[second]) == (label[first] == label[second])


def test_series_and_plain_numbers_are_no_patients() -> None:
    assert suggest_patients([f"scan2020_{number}.png" for number in range(100)]) is None
    assert suggest_patients([f"image{number}.png" for number in range(100)]) is None
    assert suggest_patients([]) is None
    assert suggest_patients([f"person{number // 2}_bacteria_{number}.jpeg" for number in range(40)]) is not None


def test_groups_are_joined_and_called_by_a_patient() -> None:
    groups = ["bytes:1", "p2", "bytes:3", "p1", "p1", "file:x", "p9"]
    assert join_groups(groups, [[0, 1], [1, 3], [2, 5]]) == ["p1", "p1", "bytes:3", "p1", "p1", "bytes:3", "p9"]
    assert join_groups(groups, []) == groups
    assert join_groups(groups, [[], [6]]) == groups
