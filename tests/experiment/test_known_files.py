"""The table of known files in the store: whole or not there, left out when asked, and no part of what a run is."""

from __future__ import annotations

from pathlib import Path

import pytest

from swag_ray.config import Config, identity
from swag_ray.experiment.datasets import list_images
from swag_ray.experiment.known_files import known_files
from swag_ray.images import known, listing
from swag_ray.store.pruning import contents
from swag_ray.store.store import Store
from tests.conftest import tiny_config
from tests.support.images import small_set


def configured(root: Path, **dataset: object) -> Config:
    raw = {"kind": "folder", "root": str(root / "set"), "anomaly": ["PNEUMONIA"]} | dataset
    return tiny_config(root / "store", dataset=raw, split={"group": None})


def hashed(config: Config, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many files a listing reads."""
    read: list[Path] = []
    content = listing._content

    def noted(path: Path, called: str) -> known.Content:
        read.append(path)
        return content(path, called)

    store = Store(config.store)
    with monkeypatch.context() as patched:
        patched.setattr(listing, "_content", noted)
        patched.setattr(known, "SETTLED", -1.0)
        with known_files(config, store) as table:
            list_images(config, store, table)
    return len(read)


def test_a_second_listing_reads_nothing_unless_it_is_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_set(tmp_path / "set")
    config, anew = configured(tmp_path), configured(tmp_path, rehash=True)
    assert hashed(config, monkeypatch) == 14 and hashed(config, monkeypatch) == 0
    assert hashed(anew, monkeypatch) == 14 and hashed(config, monkeypatch) == 0
    assert identity(anew) == identity(config), "how a set is listed is no part of what a run is"
    assert [row["kind"] for row in contents(Store(config.store))] == ["files"], "`store prune` can remove it"


def test_a_damaged_table_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_set(tmp_path / "set")
    config = configured(tmp_path)
    hashed(config, monkeypatch)
    (path,) = (tmp_path / "store" / "files").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert hashed(config, monkeypatch) == 14 and hashed(config, monkeypatch) == 0
    path.unlink()
    assert hashed(config, monkeypatch) == 14


def test_of_two_runs_at_a_time_both_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = small_set(tmp_path / "set")
    config, store = configured(tmp_path), Store(str(tmp_path / "store"))
    monkeypatch.setattr(known, "SETTLED", -1.0)
    with known_files(config, store) as one, known_files(config, store) as other:
        first = list_images(config, store, one)
        (root / "train" / "NORMAL" / "normaltrain0.jpeg").unlink()
        second = list_images(config, store, other)
    assert first.table.num_rows == second.table.num_rows + 1
    assert hashed(config, monkeypatch) == 0 and not list((tmp_path / "store" / "tmp").iterdir())


def test_a_listing_that_fails_leaves_the_table_as_it_was(tmp_path: Path) -> None:
    small_set(tmp_path / "set")
    config, store = configured(tmp_path), Store(str(tmp_path / "store"))
    with pytest.raises(KeyboardInterrupt), known_files(config, store) as table:
        list_images(config, store, table)
        raise KeyboardInterrupt
    assert not (tmp_path / "store" / "files").exists()
