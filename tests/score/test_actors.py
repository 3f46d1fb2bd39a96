"""`score` on Ray gives what it gives in one process, to the last bit; many images go there by themselves."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from swag_ray.cluster import streaming
from tests.support.command_line import Command

pytestmark = pytest.mark.ray


@pytest.fixture
def mixed(tests: Path, tmp_path: Path) -> Path:
    """40 images, a broken one and two that cannot be read."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for image in sorted(tests.rglob("*.png"))[:40]:
        shutil.copy(image, folder / f"{image.parent.name}-{image.name}")
    (folder / "broken.png").write_bytes((folder / f"{image.parent.name}-{image.name}").read_bytes()[:100])
    (folder / "empty.jpg").write_bytes(b"")
    return folder


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many chunks each stream was given."""
    given: list[int] = []
    stream = streaming.stream_chunks

    def told(make: Any, shared: Any, chunks: Any, session: Any) -> Any:
        given.append(len(chunks))
        return stream(make, shared, chunks, session)

    monkeypatch.setattr(streaming, "stream_chunks", told)
    return given


def rows(out: Path) -> list[dict[str, Any]]:
    return pq.read_table(out).drop_columns("seconds").to_pylist()


def test_on_ray_as_in_one_process(
    command: Command, bundle: Path, mixed: Path, streams: list[int], local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are given as they are below this process's folder, which the actors were not started in."""
    monkeypatch.setattr("swag_ray.score.chunks.CHUNK", 8)
    ended = {}
    with contextlib.chdir(mixed.parent):
        for name, options in (("here", ()), ("address", ("--address", "auto")), ("many", ())):
            if name == "many":
                monkeypatch.setattr("swag_ray.score.actors.MANY", 41)
            ended[name] = command(
                "score", bundle, mixed.name, "--out", f"{name}.parquet", "--heatmaps", name, *options, "--quiet"
            )
    assert streams == [6, 6], "42 images on Ray, twice"
    here = rows(mixed.parent / "here.parquet")
    assert len(here) == 42 and [row["status"] == "scored" for row in here] == [True] * 40 + [False] * 2
    pictures = {path.name: path.read_bytes() for path in (mixed.parent / "here").iterdir()}
    assert len(pictures) == 40
    for name in ("address", "many"):
        assert ended[name].code == 0 and ended[name].err == ended["here"].err
        assert rows(mixed.parent / f"{name}.parquet") == here
        assert {path.name: path.read_bytes() for path in (mixed.parent / name).iterdir()} == pictures
