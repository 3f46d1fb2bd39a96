"""`score` on Ray gives what it gives in one process, to the last bit; many images go there by themselves."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from swag_ray.cluster import streaming
from swag_ray.detector.bundle import bundle_files
from swag_ray.errors import InputError
from swag_ray.score.actors import Shared, work_of
from swag_ray.score.scorer import ImageScorer
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


def test_too_little_memory_is_one_line_in_one_process_too(
    command: Command, bundle: Path, mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def large(data: bytes, *asked: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr("swag_ray.score.scorer.read_grey", large)
    complaint = command("score", bundle, mixed, "--out", mixed.parent / "s.csv").complaint
    assert complaint.startswith(f"memory: too little for scoring (42 images, '{mixed}/")
    assert complaint.endswith("; end other programs, or use nodes with more memory")


def test_a_detector_that_was_replaced_meanwhile_scores_nothing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither before this process has read it, nor before the actors have."""
    monkeypatch.chdir(bundle)
    asked = ImageScorer.load(bundle).digest
    described = json.loads((bundle / "detector.json").read_text())
    described["spec"]["white"] = 4095
    (bundle / "detector.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match=r"^detector: it was replaced while it was read; start again"):
        ImageScorer.load(bundle, asked)
    with pytest.raises(InputError, match=r"^detector: it was replaced while it was read"):
        work_of(Shared(bundle_files(bundle), False, str(bundle), asked))
