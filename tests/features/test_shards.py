"""Shard files: what is damage, and what is not and removes nothing."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from swag_ray.errors import InputError
from swag_ray.features.reader import FeatureReader, Rows
from swag_ray.features.shards import DamagedShard, read_shard, shard_table, write_shard
from swag_ray.store.store import Store

CHANNELS = {8: 2, 16: 3}
FIRST_THREE = Rows(np.zeros(3, np.int32), np.arange(3, dtype=np.int32))


def table(images: int = 3) -> pa.Table:
    generator = np.random.default_rng(0)

    def row() -> dict[str, Any]:
        features = {s: generator.normal(size=(4, c)).astype(np.float16) for s, c in CHANNELS.items()}
        statistics = (generator.integers(0, 9, (32, 32), np.uint8), np.zeros(7, np.float32), 0.5)
        return {"error": None, "features": features, "statistics": statistics, "width": 9, "height": 9}

    return shard_table([str(i) for i in range(images)], [row() for _ in range(images)], list(CHANNELS))


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """A shard of three images in a store of its own."""
    write_shard(Store(tmp_path), str(tmp_path / "features" / "f" / "a.parquet"), table())
    return tmp_path / "features" / "f" / "a.parquet"


def read(shard: Path, rows: Rows = FIRST_THREE) -> bytes:
    reader = FeatureReader(str(shard.parents[2]), "f", [shard.name])
    found = reader.patches(rows, list(CHANNELS))
    facts = reader.statistics(rows, np.zeros(len(rows), np.int64))
    arrays = [*found.values(), facts.thumbnail_NHW, facts.grey_NQ, facts.border_N, facts.size_N2]
    return b"".join(array.tobytes() for array in arrays)


def test_a_flipped_bit_is_damage_or_changes_nothing(shard: Path) -> None:
    """In the data, where checksums tell, and in the file's description of itself, which has none."""
    good, expected, store = shard.read_bytes(), read(shard), Store(shard.parents[2])
    description = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    draw, damaged = random.Random(0), 0
    places = [draw.randrange(len(good)) for _ in range(400)]
    for place in [*places, *range(description, len(good), 4)]:
        data = bytearray(good)
        data[place] ^= 1 << draw.randrange(8)
        shard.write_bytes(data)
        try:
            assert read(shard) == expected
        except InputError as damage:
            if not isinstance(damage, DamagedShard):
                assert "newer version" in str(damage), damage  # the bit lay in the number of the format
                continue
            damaged += 1
            damage.remove(store)
            assert not shard.exists(), "a damaged shard that stays would fail every run"
    assert damaged > 200
    shard.write_bytes(good)
    damaged_elsewhere = DamagedShard(str(shard), "as another reader found it")
    damaged_elsewhere.remove(store)
    assert shard.exists(), "made again since"


def test_a_fault_of_ours_is_no_damage(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would remove a good shard, and extract it again for the same end."""
    expected = read(shard)
    with pytest.raises(IndexError):
        read(shard, Rows(np.zeros(1, np.int32), np.array([70], np.int32)))

    def no_memory(*_: Any, **__: Any) -> None:
        raise pa.ArrowMemoryError("malloc of 9 GB failed")

    with monkeypatch.context() as patched, pytest.raises(MemoryError):
        patched.setattr("pyarrow.parquet.read_table", no_memory)
        read(shard)
    assert read(shard) == expected


@pytest.mark.parametrize("columns", [None, ["sha256"]])
def test_a_newer_version_s_shard_is_refused_and_left_alone(shard: Path, columns: list[str] | None) -> None:
    newer = table().replace_schema_metadata({"format": "2", "channels_8": "2", "channels_16": "3"})
    store = Store(shard.parents[2])
    write_shard(store, str(shard), newer if columns is None else newer.select(columns))
    before = shard.read_bytes()
    said = rf"^store: '{shard}' was written by a newer version of swag-ray; update this one, or set another `store`$"
    with pytest.raises(InputError, match=said) as refused:
        read_shard(store, str(shard), ["stride_8"])
    assert not isinstance(refused.value, DamagedShard) and shard.read_bytes() == before
