"""The same config with more images: only those are read and extracted, and the run says what changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from swag_ray.experiment.datasets import list_images
from swag_ray.images import known, listing
from swag_ray.run.run import Run, run_experiment
from swag_ray.store.store import Store
from tests.conftest import tiny_config
from tests.support.command_line import figures
from tests.support.html import Page

pytestmark = pytest.mark.ray
LATE = 7


def spread(store: Path, root: Path) -> list[Path]:
    """root/trusted and root/unknown, of the digits; returns images that are in neither."""
    config = tiny_config(store)
    drawn = list_images(config, Store(config.store))
    held: list[Path] = []
    for number, row in enumerate(drawn.table.to_pylist()):
        path = Path(str(drawn.root)) / row["path"]
        if row["split"] == "test":
            held.append(path)
            continue
        folder = root / ("trusted" if not row["label"] and number % 2 else "unknown")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
    return held


def test_more_images_in_the_pool(
    local_ray: None, session_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = spread(session_store, tmp_path)[:LATE]
    places = {"kind": "unlabelled", "seed_root": str(tmp_path / "trusted"), "pool_root": str(tmp_path / "unknown")}
    config = tiny_config(session_store, dataset=places, split={"folds": 3}, controls=[])
    hashed: list[str] = []
    content = listing._content

    def noted(path: Path, called: str) -> known.Content:
        hashed.append(path.name)
        return content(path, called)

    monkeypatch.setattr(listing, "_content", noted)
    monkeypatch.setattr(known, "SETTLED", -1.0)

    def run() -> tuple[Run, int]:
        hashed.clear()
        done = run_experiment(config, tmp_path / "run")
        return done, int(json.loads((tmp_path / "run" / "manifest.json").read_text())["extracted"])

    first, _ = run()
    assert first.changes is None and not (tmp_path / "run" / "changes.csv").exists()
    pool = first.metrics["dataset"]["split"]["pool"]
    for path in late:
        shutil.copy(path, tmp_path / "unknown")
    second, extracted = run()
    assert sorted(hashed) == sorted(path.name for path in late) and extracted <= LATE
    assert second.metrics["dataset"]["split"]["pool"] == pool + LATE
    assert second.changes is not None and second.changes.new == LATE and second.changes.both == pool
    assert second.changes.moved and second.changes.now_rejected is not None
    written = (tmp_path / "run" / "changes.csv").read_bytes()
    text = Page((tmp_path / "run" / "report.html").read_text(encoding="utf-8")).text
    assert "Since the run before" in text and f"{LATE} pool images are new" in text

    fresh = config.model_copy(update={"store": str(tmp_path / "store")})
    alone = run_experiment(fresh, tmp_path / "alone")
    assert figures(second.metrics) == figures(alone.metrics), "as if all had been there from the start"

    third, extracted = run()
    assert not hashed and extracted == 0 and third.changes == second.changes
    assert (tmp_path / "run" / "changes.csv").read_bytes() == written
