from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from swag_ray.errors import InputError
from swag_ray.images import digit_anatomy
from swag_ray.images.digit_anatomy import CELL, EDGE, GROUP, KINDS, MARKER, Sizes, draw, generate, list_digit_anatomy
from swag_ray.images.folders import list_folder
from swag_ray.images.split import POOL, SEED, make_split

SMALL = Sizes(12, 4, 4, 8, 12, 12, 20)


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_two_drawings_are_the_same_bytes(tmp_path: Path) -> None:
    generate(tmp_path / "a", random_seed=3, sizes=SMALL)
    generate(tmp_path / "b", random_seed=3, sizes=SMALL)
    generate(tmp_path / "c", random_seed=4, sizes=SMALL)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    first, other = contents(tmp_path / "a"), contents(tmp_path / "c")
    assert first.keys() == other.keys()
    assert not {first[name] for name in first} & {other[name] for name in other}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]  # no drafts left


def test_a_drawn_set_is_left_alone_and_another_refused(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "set"
    generate(target, random_seed=0, sizes=SMALL)
    stamps = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    generate(target, random_seed=0, sizes=SMALL)
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*")} == stamps
    with pytest.raises(InputError, match="other settings"):
        generate(target, random_seed=1, sizes=SMALL)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="no DigitAnatomy set"):
        generate(tmp_path / "mine", random_seed=0, sizes=SMALL)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_half_removed_set_is_drawn_again(tmp_path: Path) -> None:
    target = tmp_path / "set"
    generate(target, random_seed=0, sizes=SMALL)
    whole = contents(target)
    losses = {
        "images": lambda: [path.unlink() for path in sorted(target.rglob("*.png"))[::3]],
        "a class": lambda: shutil.rmtree(target / "train" / "NORMAL"),
        "the marker and more": lambda: [(target / MARKER).unlink(), shutil.rmtree(target / "test")],
        "content": lambda: next(target.rglob("*.png")).write_bytes(b""),
    }
    for lose in losses.values():
        lose()
        assert contents(target) != whole
        generate(target, random_seed=0, sizes=SMALL)
        assert contents(target) == whole
    (target / MARKER).unlink()
    (target / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="no DigitAnatomy set"):
        generate(target, random_seed=0, sizes=SMALL)
    assert (target / "thesis.txt").exists()


def test_what_is_none_of_the_set_is_never_removed(tmp_path: Path) -> None:
    target = tmp_path / "set"
    generate(target, random_seed=0, sizes=SMALL)
    (target / "test" / "notes.txt").write_text("mine")
    (target / "link").symlink_to(tmp_path / "nowhere")
    generate(target, random_seed=0, sizes=SMALL)  # nothing is missing, so nothing is removed
    next(target.rglob("*.png")).unlink()
    for name in ("link", "test/notes.txt"):
        with pytest.raises(InputError, match=f"holds a part of a DigitAnatomy set and {name}"):
            generate(target, random_seed=0, sizes=SMALL)
        (target / name).unlink()
    generate(target, random_seed=0, sizes=SMALL)
    assert all(contents(target).values())


def test_a_failed_drawing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lower them"):
        generate(tmp_path / "set", random_seed=0, sizes=Sizes(test_scans=100))
    assert list(tmp_path.iterdir()) == []


def test_the_default_uses_the_rarest_digit_up() -> None:
    assert Sizes().scans == 174


def test_no_scan_is_on_two_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[bytes, set[str]] = {}
    used: list[tuple[int, bytes]] = []
    pick = digit_anatomy._pick

    def spy(stock: digit_anatomy.Stock, digit: int, generator: np.random.Generator) -> digit_anatomy.Glyph:
        glyph = pick(stock, digit, generator)
        used.append((digit, glyph.tobytes()))
        return glyph

    monkeypatch.setattr(digit_anatomy, "_pick", spy)
    for path, _ in draw(random_seed=0, sizes=SMALL):
        for _, scan in used:
            seen.setdefault(scan, set()).add(Path(path).name.split("-")[0])
        used.clear()
    assert len({side for sides in seen.values() for side in sides}) == 12 + 4 + 1
    assert all(len(sides) == 1 for sides in seen.values())


def test_kinds_differ_from_the_normal_image_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one hand a digit and no jitter, cells can be compared."""
    monkeypatch.setattr(digit_anatomy, "GLYPH_SIDES", (CELL, CELL + 1))
    scans = digit_anatomy._scans(np.random.default_rng(0), 1)

    def cells(kind: str | None, seed: int) -> list[np.ndarray]:
        grid = digit_anatomy._grid(scans, kind, np.random.default_rng(seed))
        starts = [(EDGE + CELL * line, EDGE + CELL * column) for line in range(3) for column in range(3)]
        return [grid[top : top + CELL, left : left + CELL] for top, left in starts]

    normal = cells(None, 0)
    zero = np.asarray(Image.fromarray(scans[0][0]).resize((CELL, CELL), Image.Resampling.BICUBIC))
    for seed in range(40):
        for kind in KINDS:
            found = cells(kind, seed)
            changed = [cell for cell in range(9) if not np.array_equal(found[cell], normal[cell])]
            if kind == "misplaced":
                first, second = changed
                assert np.array_equal(found[first], normal[second])
                assert np.array_equal(found[second], normal[first])
                continue
            (cell,) = changed
            if kind == "missing":
                assert not found[cell].any()
            elif kind == "foreign":
                assert np.array_equal(found[cell], zero)
            else:
                assert cell + 1 in digit_anatomy.MIRRORED
                assert abs(found[cell].astype(int) - normal[cell]).mean() > 10
                assert abs(found[cell][:, ::-1].astype(int) - normal[cell]).max() <= 1


def test_listing_has_kinds_and_splits_by_digit_set(tmp_path: Path) -> None:
    generate(tmp_path / "set", random_seed=0)
    listing = list_digit_anatomy(tmp_path / "set")
    table = listing.table
    assert listing.warnings == ()
    kinds = Counter(zip(table["split"].to_pylist(), table["kind"].to_pylist(), strict=True))
    assert kinds["train", None] == 400
    assert kinds["test", None] == 120
    assert all(kinds["train", kind] == 24 and kinds["test", kind] == 30 for kind in KINDS)
    with Image.open(listing.root / table["path"][0].as_py()) as image:
        assert (image.size, image.mode) == ((224, 224), "L")
    for random_seed in range(3):
        split = make_split(table, seed_fraction=0.3, folds=5, contamination=None, random_seed=random_seed)
        assert split.fold_seeds == (24, 24, 24, 24, 24)
        assert split.warnings == ()
        assert split.highest_contamination > 0.25
        groups = np.array(table["group"].to_pylist())
        assert not set(groups[split.role_N == SEED]) & set(groups[split.role_N == POOL])
    plain = list_folder(tmp_path / "set", normal="NORMAL", anomaly=["ANOMALY"], group=GROUP)
    assert plain.table.drop(["kind"]).equals(table.drop(["kind"]))


def test_listing_refuses_other_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^dataset\.root: .*no generated DigitAnatomy"):
        list_digit_anatomy(tmp_path)
